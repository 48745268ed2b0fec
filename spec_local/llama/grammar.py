"""Structured output: a GBNF grammar as a constraint on the generated text."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from spec_local.constraints import Constraint
from spec_local.distribution import Ids
from spec_local.errors import ConfigError
from spec_local.llama.backend import collected_errors, lib
from spec_local.llama.chain import CANDIDATE, candidate_array
from spec_local.llama.vocab import Vocabulary

_ROOT = b"root"


class Grammar:
    """Which tokens may come next, by llama.cpp's grammar sampler.

    llama.cpp ends the process when a grammar is moved past a token it does not allow, so `accept`
    is for tokens that `allows` has let through.
    """

    def __init__(self, text: str, vocab: Vocabulary) -> None:
        """text: GBNF with a rule `root`. Raises ConfigError with llama.cpp's reason."""
        with collected_errors() as errors:
            handle = lib.llama_sampler_init_grammar(vocab.handle, text.encode(), _ROOT)
        if not handle:
            reason = errors[0].strip() if errors else "llama.cpp gave no reason"
            raise ConfigError(f"The grammar cannot be used: {reason.removesuffix('.')}.")
        self._handle: ctypes.c_void_p | None = handle

    def allows(self, ids: Ids) -> NDArray[np.bool_]:
        data = np.zeros(len(ids), CANDIDATE)
        data["id"] = ids
        lib.llama_sampler_apply(self._handle, ctypes.byref(candidate_array(data)))
        allowed: NDArray[np.bool_] = data["logit"] == 0
        return allowed

    def accept(self, token: int) -> None:
        lib.llama_sampler_accept(self._handle, token)

    def copy(self) -> Grammar:
        twin = object.__new__(type(self))
        twin._handle = lib.llama_sampler_clone(self._handle)
        return twin

    def follow(self, other: Constraint) -> None:
        assert isinstance(other, Grammar)
        lib.llama_sampler_copy(other._handle, self._handle)

    def close(self) -> None:
        """Free the grammar; twice is harmless."""
        handle, self._handle = self._handle, None
        lib.llama_sampler_free(handle)
