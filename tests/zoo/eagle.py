"""A tiny EAGLE-3 head for the zoo's models, which often guesses what they write (`headed.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

from tests.tiny_gguf import LETTERS, add_vocabulary
from tests.zoo.headed import FIRST_LETTER, FOLLOWERS, embeddings_of, output_of

N_EMBD, N_HEAD, N_KV, HEAD, N_FF = 64, 4, 2, 16, 96
_OF_OTHERS = 0.3
TARGETS = (
    *("bailingmoe3", "deepseek4", "gemma4", "gpt-oss", "lfm2", "lfm2moe", "llama", "mimo2"),
    *("minimax-01", "minimax-m2", "nanbeige", "nemotron_h", "nemotron_h_moe"),
    *("qwen3", "qwen35", "qwen35moe", "qwen3moe", "qwen3next"),
)
"""Architectures of the zoo that such a head can be for."""


def write_eagle(
    path: Path,
    *,
    layers: Sequence[int] = (0, 1, 1),
    known: Sequence[int] | None = None,
    own_embeddings: bool = True,
) -> Path:
    """layers: of the target, that it reads. known: tokens it knows; None: all.

    own_embeddings: whether they are in the file.
    """
    writer = gguf.GGUFWriter(path, "eagle3")
    rng = np.random.default_rng(1)
    writer.add_context_length(4096)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(1)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_array("eagle3.target_layers", list(layers))
    writer.add_uint32("eagle3.target_hidden_size", N_EMBD)
    writer.add_bool("eagle3.norm_before_residual", True)
    n_vocab = add_vocabulary(writer, LETTERS)

    def tensor(name: str, *shape: int, scale: float = 1.0) -> None:
        noise = rng.normal(size=shape) * scale / np.sqrt(shape[-1])
        writer.add_tensor(name, noise.astype(np.float32))

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(N_EMBD, np.float32))

    # The first layer is given a token's embedding; that of its follower comes out.
    embeddings = embeddings_of(n_vocab, N_EMBD)
    letters = embeddings[FIRST_LETTER : FIRST_LETTER + len(LETTERS)]
    following = np.linalg.lstsq(letters, embeddings[FOLLOWERS], rcond=None)[0].T
    others = rng.normal(size=(N_EMBD, 2 * N_EMBD)) * _OF_OTHERS / np.sqrt(2 * N_EMBD)
    writer.add_tensor("fc.weight", np.hstack([following, others]).astype(np.float32))
    output = output_of(embeddings, np.zeros_like(embeddings))
    if own_embeddings:
        writer.add_tensor("token_embd.weight", embeddings)
    if known is not None:
        ids = np.array(known)
        writer.add_tensor("d2t", ids.astype(np.int64))
        output = output[ids]
    writer.add_tensor("output.weight", output)
    ones("output_norm.weight")
    for name in ("attn_norm", "attn_norm_2", "ffn_norm"):
        ones(f"blk.0.{name}.weight")
    for name, rows in (("attn_q", N_HEAD * HEAD), ("attn_k", N_KV * HEAD)):
        tensor(f"blk.0.{name}.weight", rows, 2 * N_EMBD, scale=3.0)
    tensor("blk.0.attn_v.weight", N_KV * HEAD, 2 * N_EMBD)
    tensor("blk.0.attn_output.weight", N_EMBD, N_HEAD * HEAD, scale=0.5)
    for name in ("ffn_gate", "ffn_up"):
        tensor(f"blk.0.{name}.weight", N_FF, N_EMBD)
    tensor("blk.0.ffn_down.weight", N_EMBD, N_FF, scale=0.3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
