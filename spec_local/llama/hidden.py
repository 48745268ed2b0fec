"""The hidden states a target leaves behind, for what drafts from them.

llama.cpp gives them for every token of a batch once it is asked to (src/llama-ext.h).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
        self._begin()

    def _begin(self) -> None:
        extension.call("llama_set_embeddings_nextn", self._context, True, self.masked)

    def _given(self, count: int) -> NDArray[np.float32]:
        """The states of the last evaluation, (count, width)."""
        found = extension.call("llama_get_embeddings_nextn", self._context)
        return np.ctypeslib.as_array(found, (count, self.width))

    def take(self, start: int, count: int, rows: int) -> None:
        """Keep what the evaluation of `count` tokens from `start` on left; it had so many rows."""
        given = rows if self.masked else count
        kept = min(given, HELD)
        if kept == 0:
            return
        end = start + count
        begin = end - kept
        self._ring[np.arange(begin, end) % HELD] = self._given(given)[-kept:]
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


class LayerInputs(HiddenStates):
    """What some of the layers were given, side by side."""

    def __init__(self, context: lib.llama_context_p, n_embd: int, layers: Sequence[int]) -> None:
        """layers: by number, from 0 on. n_embd: numbers that each is given."""
        self._layers, self._n_embd = layers, n_embd
        super().__init__(context, n_embd * len(layers))

    def _begin(self) -> None:
        for layer in self._layers:
            extension.call("llama_set_embeddings_layer_inp", self._context, layer, True)

    def _given(self, count: int) -> NDArray[np.float32]:
        found: list[Any] = [
            extension.call("llama_get_embeddings_layer_inp", self._context, layer)
            for layer in self._layers
        ]
        return np.hstack([np.ctypeslib.as_array(each, (count, self._n_embd)) for each in found])
