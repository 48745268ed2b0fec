"""What stands between measured costs: straight lines, drawn again whenever a cost has changed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import exp

import numpy as np
from numpy.typing import NDArray


class Lines:
    """V(width) / V(1): measured, else on the line between the nearest widths measured.

    Beyond the widest one measured, the cost per token stays what it was there: pessimistic, as
    wider evaluations are cheaper per token on every backend known.
    """

    def __init__(self, known: Sequence[tuple[int, int]], most: int) -> None:
        """known: ascending widths above 1, with the places of log V(width) / V(1) in a state.

        most: the widest width that `row` tells.
        """
        self._known = known
        self.widest = known[-1][0] if known else 1
        self._places = np.array([place for _width, place in known], np.intp)
        # A line is linear in its ends: so much does each measured cost weigh, V(1) before them.
        knots = [1, *(width for width, _place in known)]
        beyond = max(most, 2 * self.widest)
        ends = np.eye(len(knots), len(knots) + 1)
        ends[-1, -1] = beyond / self.widest
        widths = range(1, most + 1)
        self._of_plain, *weights = [np.interp(widths, [*knots, beyond], end) for end in ends]
        self._weights = np.array(weights).reshape(-1, most).T

    def row(self, state: NDArray[np.float64]) -> NDArray[np.float64]:
        """The costs (most,) of the widths from 1 on."""
        return np.asarray(self._of_plain + self._weights @ np.exp(state[self._places]))

    def at(self, width: int, state: NDArray[np.float64]) -> float:
        """The cost of any width."""
        above = bisect_left(self._known, (width, 0))
        low, cost = 1, 1.0
        if above > 0:
            low, place = self._known[above - 1]
            cost = exp(state.item(place))
        if above == len(self._known):
            return cost / low * width
        high, place = self._known[above]
        return cost + (exp(state.item(place)) - cost) * (width - low) / (high - low)
