"""llama.cpp's sampler chain, applied to the few candidates that matter."""

from __future__ import annotations

import ctypes

import numpy as np

from spec_local.llama.backend import lib
from spec_local.sampling import Ids, SamplerChain
from spec_local.types import Logits, Sampling

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
assert _CANDIDATE.itemsize == ctypes.sizeof(lib.llama_token_data)


class Chain:
    """Penalties, top-k, typical, top-p, min-p, temperature, in llama.cpp's order; no draw.

    Samplers that would change nothing are left out.
    """

    def __init__(self, sampling: Sampling, *, n_vocab: int, n_ctx: int) -> None:
        self._stateful = sampling.penalizes
        self._handle = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for sampler in _samplers(sampling, n_vocab, n_ctx):
            lib.llama_sampler_chain_add(self._handle, sampler)
        self._settings = (sampling, n_vocab, n_ctx)

    def apply(self, ids: Ids, logits: Logits) -> tuple[Ids, Logits]:
        """Ids (n,) and logits (n,) of the candidates left, logits divided by the temperature."""
        data = np.empty(len(ids), _CANDIDATE)
        data["id"] = ids
        data["logit"] = logits
        array = lib.llama_token_data_array()
        array.data = ctypes.cast(data.ctypes.data, type(array.data))
        array.size = len(data)
        array.selected = -1
        lib.llama_sampler_apply(self._handle, ctypes.byref(array))
        # A sampler may shrink the array, reorder it, and let `data` point to a part of it.
        address = ctypes.cast(array.data, ctypes.c_void_p).value or 0
        first = (address - data.ctypes.data) // _CANDIDATE.itemsize
        left = data[first : first + array.size]
        return left["id"], left["logit"]

    def accept(self, token: int) -> None:
        """The token was emitted."""
        lib.llama_sampler_accept(self._handle, token)

    def copy(self) -> Chain:
        sampling, n_vocab, n_ctx = self._settings
        twin = Chain(sampling, n_vocab=n_vocab, n_ctx=n_ctx)
        twin.follow(self)
        return twin

    def follow(self, other: SamplerChain) -> None:
        """Take over the state of a chain made by the same settings."""
        assert isinstance(other, Chain)
        if self._stateful:
            lib.llama_sampler_copy(other._handle, self._handle)

    def close(self) -> None:
        """Free the chain; twice is harmless."""
        handle, self._handle = self._handle, None
        if handle is not None:
            lib.llama_sampler_free(handle)


def _samplers(s: Sampling, n_vocab: int, n_ctx: int) -> list[ctypes.c_void_p]:
    samplers = []
    if s.penalizes:
        window = n_ctx if s.repeat_last_n < 0 else s.repeat_last_n
        samplers.append(
            lib.llama_sampler_init_penalties(
                n_vocab, window, s.repeat_penalty, s.frequency_penalty, s.presence_penalty
            )
        )
    if s.temperature == 0:
        return samplers  # what is left to do is an argmax
    if s.top_k > 0:
        samplers.append(lib.llama_sampler_init_top_k(s.top_k))
    if s.typical_p < 1:
        samplers.append(lib.llama_sampler_init_typical(s.typical_p, 1))
    if s.top_p < 1:
        samplers.append(lib.llama_sampler_init_top_p(s.top_p, 1))
    if s.min_p > 0:
        samplers.append(lib.llama_sampler_init_min_p(s.min_p, 1))
    samplers.append(lib.llama_sampler_init_temp(s.temperature))
    return samplers
