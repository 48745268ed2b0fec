"""llama.cpp's batch: what one evaluation is given, written through numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spec_local.llama.backend import lib
from spec_local.llama.state import SEQUENCE


class Batch:
    """Room for so many tokens of a session; `close` frees it."""

    def __init__(self, size: int, sequences: int) -> None:
        """sequences: most that a token can be of."""
        self.struct = lib.llama_batch_init(size, 0, sequences)
        self._tokens = np.ctypeslib.as_array(self.struct.token, (size,))
        self._positions = np.ctypeslib.as_array(self.struct.pos, (size,))
        self._outputs = np.ctypeslib.as_array(self.struct.logits, (size,))
        self._counts = np.ctypeslib.as_array(self.struct.n_seq_id, (size,))
        self._placed = size
        """How many of its places, from the first, are not set to the one sequence."""

    def fill(self, tokens: Sequence[int], start: int, rows: int) -> None:
        """These tokens from position `start` on; logits are wanted of the last `rows` of them."""
        for i in range(self._placed):
            self._counts[i], self.struct.seq_id[i][0] = 1, SEQUENCE
        self._placed, count = 0, len(tokens)
        self._tokens[:count] = tokens
        self._positions[:count] = np.arange(start, start + count)
        self._outputs[: count - rows] = 0
        self._outputs[count - rows : count] = 1
        self.struct.n_tokens = count

    def place(
        self, first: int, positions: Sequence[int], sequences: Sequence[Sequence[int]]
    ) -> None:
        """Where the tokens from `first` on stand instead, and of which sequences each is.

        The tokens before them are of all these sequences, and have to be.
        """
        everywhere = sorted(set().union(*sequences))
        self._positions[first : first + len(positions)] = positions
        for i, each in enumerate([*[everywhere] * first, *sequences]):
            self._counts[i] = len(each)
            for j, sequence in enumerate(each):
                self.struct.seq_id[i][j] = sequence
        self._placed = first + len(positions)

    def close(self) -> None:
        """Free it."""
        lib.llama_batch_free(self.struct)
