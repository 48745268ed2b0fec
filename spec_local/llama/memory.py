"""Whether a context fits into memory, asked before llama.cpp tries: Linux would kill the process.

The operating system promises more memory than it has, so an oversized KV cache fails not when it is
allocated but when it is first written.
"""

from __future__ import annotations

import psutil

from spec_local.errors import ContextTooLarge
from spec_local.llama.cache_bytes import token_bytes
from spec_local.llama.model import Model
from spec_local.llama.weights import layers_left

_SPARSEST_FULL_ATTENTION = 6
"""Every so many layers of a sliding-window model at most, one keeps the whole context (Gemma 3)."""


def kv_cache_bytes(model: Model, n_ctx: int) -> int:
    """Bytes of a KV cache for n_ctx tokens that are on no GPU; with a sliding window at least."""
    header = model.header
    heads = header.hyperparameter("attention.head_count")
    kv_heads = header.hyperparameter("attention.head_count_kv", heads)
    layers = layers_left(header, model.options)
    if model.sliding_window:
        layers //= _SPARSEST_FULL_ATTENTION
    return round(n_ctx * layers * token_bytes(header, model.options, kv_heads))


def require_memory(model: Model, n_ctx: int) -> None:
    """Raise ContextTooLarge if the cache cannot fit into what memory is free.

    Recurrent models have no such cache, and a GPU's allocator says no by itself.
    """
    if model.is_recurrent:
        return
    needed, free = kv_cache_bytes(model, n_ctx), psutil.virtual_memory().available
    if needed > free:
        raise ContextTooLarge(
            f"A context of {n_ctx:,} tokens needs {needed / 1e9:,.1f} GB of memory and "
            f"{free / 1e9:,.1f} GB are free",
            "ask for a smaller one with --ctx-size",
            of_machine=True,
        )
