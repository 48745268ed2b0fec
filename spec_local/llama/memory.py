"""Whether a context fits into memory, asked before llama.cpp tries: Linux would kill the process.

The operating system promises more memory than it has, so an oversized KV cache fails not when it is
allocated but when it is first written.
"""

from __future__ import annotations

from typing import NamedTuple

import psutil

from spec_local.errors import ContextOverflow
from spec_local.llama.backend import lib
from spec_local.llama.model import Model


class KVStorage(NamedTuple):
    """A type the KV cache can have: ggml's number and its size in bytes per element."""

    number: int
    bytes: float


KV_TYPES = {
    "f32": KVStorage(lib.GGML_TYPE_F32, 4),
    "f16": KVStorage(lib.GGML_TYPE_F16, 2),
    "bf16": KVStorage(30, 2),  # GGML_TYPE_BF16, which llama_cpp does not name
    "q8_0": KVStorage(lib.GGML_TYPE_Q8_0, 34 / 32),
    "q5_1": KVStorage(lib.GGML_TYPE_Q5_1, 24 / 32),
    "q5_0": KVStorage(lib.GGML_TYPE_Q5_0, 22 / 32),
    "q4_1": KVStorage(lib.GGML_TYPE_Q4_1, 20 / 32),
    "q4_0": KVStorage(lib.GGML_TYPE_Q4_0, 18 / 32),
}

_SPARSEST_FULL_ATTENTION = 6
"""Every so many layers of a sliding-window model at most, one keeps the whole context (Gemma 3)."""


def kv_cache_bytes(model: Model, n_ctx: int) -> int:
    """Bytes of a KV cache for n_ctx tokens; for sliding-window models a lower bound."""
    header = model.header
    heads = header.hyperparameter("attention.head_count")
    head_size = header.hyperparameter("embedding_length") // max(1, heads)
    kv_heads = header.hyperparameter("attention.head_count_kv", heads)
    k_size = header.hyperparameter("attention.key_length", head_size)
    v_size = header.hyperparameter("attention.value_length", head_size)
    layers = header.hyperparameter("block_count")
    if model.sliding_window:
        layers //= _SPARSEST_FULL_ATTENTION
    k_bytes = k_size * KV_TYPES[model.options.kv_type_k].bytes
    v_bytes = v_size * KV_TYPES[model.options.kv_type_v].bytes
    return round(n_ctx * layers * kv_heads * (k_bytes + v_bytes))


def require_memory(model: Model, n_ctx: int) -> None:
    """Raise ContextOverflow if the cache cannot fit into what memory is free.

    Recurrent models have no such cache, and a GPU's allocator says no by itself.
    """
    on_gpu = lib.llama_supports_gpu_offload() and model.options.n_gpu_layers != 0
    if model.is_recurrent or on_gpu:
        return
    needed, free = kv_cache_bytes(model, n_ctx), psutil.virtual_memory().available
    if needed > free:
        raise ContextOverflow(
            f"A context of {n_ctx:,} tokens needs {needed / 1e9:,.1f} GB of memory and "
            f"{free / 1e9:,.1f} GB are free; ask for a smaller one with --ctx-size."
        )
