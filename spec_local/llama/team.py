"""The threads of one context: fewer beside others, where that changes no bit of what is computed.

On a processor that others leave free, one thread writes half as fast again as two that take turns
there. What llama.cpp computes may depend on the number of threads in one place only: flash
attention divides the cache between them when a single token is evaluated, its keys and values have
the same type of f16 and f32, and at least 512 cells are looked at
(`ggml_compute_forward_flash_attn_ext_f16` in ggml-cpu/ops.cpp). Cells are looked at by 256, so up
to 256 tokens the number is free, and with other caches it always is (docs/threads.md).
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

from spec_local.llama.backend import computing, lib
from spec_local.llama.options import LoadOptions

_UNDIVIDED_TOKENS = 256
_JOINED_CACHES = frozenset({"deepseek4"})
"""Architectures that look at two caches at once, 512 cells from the first token on."""
_DIVIDED_TYPES = ("f16", "f32")
_COMPARED_MACHINES = ("x86_64", "AMD64")
"""Elsewhere a kernel may take two rows of weights at once, if a thread's share of them is even."""


class Team:
    """How many threads evaluate, by what else the machine does and what the context holds."""

    def __init__(self, context: lib.llama_context_p, options: LoadOptions, arch: str) -> None:
        """context: made with those options; it has as many threads as are wanted at most.

        arch: the model's architecture.
        """
        self._context = context
        self._threads = self._in_use = lib.llama_n_threads(context)
        self._free_until = tokens_of_any_team(options, arch)
        self.beyond = 0
        """Cells that the context's cache has in use beyond its tokens."""

    @contextmanager
    def computing(self, tokens: int) -> Iterator[None]:
        """Around an evaluation after which so many tokens are held."""
        is_free = tokens + self.beyond <= self._free_until
        with computing(self._threads, may_be_fewer=is_free) as threads:
            if threads != self._in_use:
                lib.llama_set_n_threads(self._context, threads, threads)
                self._in_use = threads
            yield


def tokens_of_any_team(options: LoadOptions, arch: str) -> float:
    """Up to how many tokens held every number of threads computes the same bits."""
    if platform.machine() not in _COMPARED_MACHINES:
        return 0
    same = options.kv_type_k == options.kv_type_v and options.kv_type_k in _DIVIDED_TYPES
    if not same or options.flash_attention == "off":
        return float("inf")
    return 0 if arch in _JOINED_CACHES else _UNDIVIDED_TOKENS
