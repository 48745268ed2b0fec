"""A tiny assistant for the zoo's Gemma 4 (`headed.py`)."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from tests.tiny_gguf import LETTERS, add_vocabulary
from tests.zoo.headed import embeddings_of, output_of

BACKBONE, N_EMBD, N_HEAD, N_FF = 64, 32, 4, 48
HEADS = (16, 32)
"""Numbers of a head of the target's layers with a window, and of the others."""


def write_assistant(path: Path, *, backbone: int = BACKBONE) -> Path:
    """Of a target whose states have so many numbers."""
    writer = gguf.GGUFWriter(path, "gemma4-assistant")
    rng = np.random.default_rng(1)
    writer.add_context_length(4096)
    writer.add_embedding_length(N_EMBD)
    writer.add_embedding_length_out(backbone)
    writer.add_block_count(2)
    writer.add_uint32("gemma4-assistant.nextn_predict_layers", 2)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_sliding_window(32)
    writer.add_array("gemma4-assistant.attention.sliding_window_pattern", [True, False])
    writer.add_rope_freq_base(10000.0)
    writer.add_float32("gemma4-assistant.rope.freq_base_swa", 10000.0)
    for suffix, size in zip(("_swa", ""), HEADS, strict=True):
        writer.add_uint32(f"gemma4-assistant.attention.key_length{suffix}", size)
        writer.add_uint32(f"gemma4-assistant.attention.value_length{suffix}", size)
        writer.add_uint32(f"gemma4-assistant.rope.dimension_count{suffix}", size)
    n_vocab = add_vocabulary(writer, LETTERS)

    def tensor(name: str, *shape: int, scale: float = 1.0) -> None:
        noise = rng.normal(size=shape) * scale / np.sqrt(shape[-1])
        writer.add_tensor(name, noise.astype(np.float32))

    def ones(name: str, length: int = N_EMBD) -> None:
        writer.add_tensor(name, np.ones(length, np.float32))

    # The target's embedding of a token, made narrower, answered as the target would.
    narrow = rng.normal(size=(N_EMBD, backbone)).astype(np.float32) / np.float32(backbone**0.5)
    embeddings = embeddings_of(n_vocab, backbone) @ narrow.T
    writer.add_tensor("token_embd.weight", output_of(embeddings, np.zeros_like(embeddings)))
    others = rng.normal(size=(N_EMBD, backbone)).astype(np.float32) / np.float32(backbone**0.5)
    writer.add_tensor("nextn.pre_projection.weight", np.hstack([narrow / 16, others]))
    tensor("nextn.post_projection.weight", backbone, N_EMBD)
    ones("output_norm.weight")
    for i, size in enumerate(HEADS):
        block = f"blk.{i}."
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            ones(f"{block}{name}.weight")
        ones(f"{block}attn_q_norm.weight", size)
        writer.add_tensor(f"{block}layer_output_scale.weight", np.ones(1, np.float32))
        tensor(f"{block}attn_q.weight", N_HEAD * size, N_EMBD)
        tensor(f"{block}attn_output.weight", N_EMBD, N_HEAD * size, scale=1.5)
        tensor(f"{block}ffn_gate.weight", N_FF, N_EMBD)
        tensor(f"{block}ffn_up.weight", N_FF, N_EMBD)
        tensor(f"{block}ffn_down.weight", N_EMBD, N_FF, scale=1.5)
    ones("rope_freqs.weight", HEADS[1] // 2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
