"""The hidden states a target leaves behind, for what drafts from them.

llama.cpp gives them for every token of a batch once it is asked to (src/llama-ext.h).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spec_local.llama import extension
from spec_local.llama.backend import lib

HELD = 1024
"""Hidden states kept of the last tokens: as 32-bit floats, 20 MB where a state has 5,120 numbers.
What drafts from them reads no more of a text than this; all of a long prompt would be gigabytes."""


class HiddenStates:
    """Of the last tokens of one context: row p is the state after the token at position p.

    What a row holds is the last evaluation's of that position; whoever asks for it knows which
    positions the context holds.
    """

    def __init__(self, context: lib.llama_context_p, width: int, *, masked: bool = False) -> None:
        """Begin to keep those of a context. width: numbers in a state.

        masked: only those of tokens whose logits were asked for.
        """
        self.width, self.masked = width, masked
        self.first = self.end = 0
        """Positions [first, end) are kept."""
        self._context = context
        self._ring = np.zeros((HELD, width), np.float32)
        extension.call("llama_set_embeddings_nextn", context, True, masked)

    def take(self, start: int, count: int, rows: int) -> None:
        """Keep what the evaluation of `count` tokens from `start` on left; it had so many rows."""
        kept = min(rows if self.masked else count, HELD)
        if kept == 0:
            return
        given = rows if self.masked else count
        found = extension.call("llama_get_embeddings_nextn", self._context)
        states = np.ctypeslib.as_array(found, (given, self.width))[-kept:]
        end = start + count
        begin = end - kept
        self._ring[np.arange(begin, end) % HELD] = states
        if not self.first <= begin <= self.end:  # nothing is known of what lies between
            self.first = begin
        self.first, self.end = max(self.first, end - HELD), end

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """The states at positions [start, stop), (stop - start, width).

        One before the first token is zero, as llama.cpp has it.
        """
        found = self._ring[np.arange(start, stop) % HELD]
        found[: max(0, -start)] = 0.0
        return found

    def forget(self) -> None:
        """What the context holds was not evaluated by it."""
        self.first = self.end = 0
