"""Structured output: a GBNF grammar as a constraint on the generated text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spec_local.errors import ConfigError
from spec_local.llama.backend import collected_errors, lib
from spec_local.llama.chain import CANDIDATE, candidate_array
from spec_local.llama.vocab import Vocabulary
from spec_local.sampling.constraints import Constraint
from spec_local.sampling.distribution import Ids
from spec_local.sampling.gbnf import require_harmless
from spec_local.sampling.gbnf_reader import require_readable
from spec_local.sampling.gbnf_size import require_small

_ROOT = b"root"


class Grammar:
    """Which tokens may come next, by llama.cpp's grammar sampler.

    llama.cpp ends the process when a grammar is moved past a token it does not allow, so `accept`
    is for tokens that `allows` has let through.
    """

    def __init__(self, text: str, vocab: Vocabulary) -> None:
        """text: GBNF with a rule `root`. Raises ConfigError with a reason."""
        require_harmless(text)
        require_readable(text)
        require_small(text)
        self._vocab = vocab
        with collected_errors() as errors:
            handle = lib.llama_sampler_init_grammar(vocab.handle, text.encode(), _ROOT)
        if not handle:
            reason = next(iter(errors), "llama.cpp gave no reason").strip(". \n")
            raise ConfigError(f"The grammar cannot be used: {reason[:200]}.")
        self._handle: lib.llama_sampler_p_ctypes | None = handle

    def allows(self, ids: Ids) -> NDArray[np.bool_]:
        data = np.zeros(len(ids), CANDIDATE)
        data["id"] = ids
        lib.llama_sampler_apply(self._handle, lib.byref(candidate_array(data)))
        allowed: NDArray[np.bool_] = data["logit"] == 0
        for i in np.flatnonzero(allowed):
            allowed[i] = self._is_written(int(ids[i]))
        return allowed

    def _is_written(self, token: int) -> bool:
        """Whether the text shows it; llama.cpp would take a control token's name for text."""
        return self._vocab.plain_piece(token) != b"" or self._vocab.is_end(token)

    def accept(self, token: int) -> None:
        lib.llama_sampler_accept(self._handle, token)

    def copy(self) -> Grammar:
        twin = object.__new__(type(self))
        twin._vocab = self._vocab
        twin._handle = lib.llama_sampler_clone(self._handle)
        return twin

    def follow(self, other: Constraint) -> None:
        assert isinstance(other, Grammar)
        lib.llama_sampler_copy(other._handle, self._handle)

    def close(self) -> None:
        """Free the grammar; twice is harmless."""
        handle, self._handle = self._handle, None
        lib.llama_sampler_free(handle)
