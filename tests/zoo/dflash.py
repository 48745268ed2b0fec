"""A tiny DFlash or DSpark head for the zoo's models of 64 numbers (`headed.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

from tests.tiny_gguf import LETTERS, add_vocabulary
from tests.zoo.headed import FIRST_LETTER, FOLLOWERS, embeddings_of, output_of

N_EMBD, N_HEAD, N_KV, HEAD, N_FF, RANK = 64, 4, 2, 16, 96, 64
MASK, BLOCK = 0, 6


def write_dflash(
    path: Path,
    *,
    layers: Sequence[int] = (0, 1),
    mask: int | None = MASK,
    markov: bool = False,
    from_pending: bool = True,
    selector: int = 0,
) -> Path:
    """layers: of the target, that it reads. markov: it is a DSpark head.

    from_pending: such a one guesses from the pending token's row on. selector: of DFlash 2.
    """
    writer = gguf.GGUFWriter(path, "dflash")
    rng = np.random.default_rng(1)
    writer.add_context_length(4096)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(1)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_KV)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_array("dflash.target_layers", list(layers))
    writer.add_uint32("dflash.block_size", BLOCK)
    if selector:
        writer.add_uint32("dflash.selector_top_k", selector)
    n_vocab = add_vocabulary(writer, LETTERS)
    if mask is not None:
        writer.add_mask_token_id(mask)

    def tensor(name: str, *shape: int, scale: float = 1.0) -> None:
        noise = rng.normal(size=shape) * scale / np.sqrt(shape[-1])
        writer.add_tensor(name, noise.astype(np.float32))

    def ones(name: str, length: int = N_EMBD) -> None:
        writer.add_tensor(name, np.ones(length, np.float32))

    embeddings = embeddings_of(n_vocab, N_EMBD)
    tensor("fc.weight", N_EMBD, len(layers) * N_EMBD)
    ones("enc.output_norm.weight")
    ones("output_norm.weight")
    writer.add_tensor("token_embd.weight", embeddings)
    output = output_of(embeddings, np.zeros_like(embeddings))
    writer.add_tensor("output.weight", output)
    if markov:
        # What mostly stands behind a letter is most of what is added for it.
        writer.add_bool("dflash.sample_from_anchor", from_pending)
        follows = np.zeros((n_vocab, RANK), np.float32)
        follows[FIRST_LETTER : FIRST_LETTER + len(LETTERS), : len(LETTERS)] = np.eye(len(LETTERS))
        adds = rng.normal(size=(n_vocab, RANK)).astype(np.float32)
        adds[FOLLOWERS, : len(LETTERS)] += 3 * np.eye(len(LETTERS), dtype=np.float32)
        writer.add_tensor("markov_w1.weight", follows)
        writer.add_tensor("markov_w2.weight", adds)
    for name in ("attn_norm", "ffn_norm"):
        ones(f"blk.0.{name}.weight")
    for name in ("attn_q_norm", "attn_k_norm"):
        ones(f"blk.0.{name}.weight", HEAD)
    for name, rows in (("attn_q", N_HEAD * HEAD), ("attn_k", N_KV * HEAD), ("attn_v", N_KV * HEAD)):
        tensor(f"blk.0.{name}.weight", rows, N_EMBD, scale=2.0)
    tensor("blk.0.attn_output.weight", N_EMBD, N_HEAD * HEAD)
    for name in ("ffn_gate", "ffn_up"):
        tensor(f"blk.0.{name}.weight", N_FF, N_EMBD)
    tensor("blk.0.ffn_down.weight", N_EMBD, N_FF)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
