"""How far a draft model goes in one round: optimal stopping, solved backwards.

Early stopping by the draft's own confidence, as in llama.cpp's `p_min`, but with a price. Having
taken i tokens that all survive with probability S, the drafter may stop, or draft one more for d,
see its confidence bucket b, and leave it or take it. Times are in plain tokens. With r the tokens
that such a time is worth, h_b how often a drafted token falls into bucket b and a_b how often such
a token is accepted, the value of going on optimally is

    W_i(S) = max( -r V(i + 1),
                  -r d + Σ_b h_b max( -r V(i + 1),  S a_b + W_{i+1}(S a_b) ) )

and the longest draft must stop. So drafts end where confidence is low, and go on to the end of a
plateau of V, where more tokens cost nothing.

Of a tree a level is an evaluation, whose nodes are known with all that their children may add; E(w)
is what one of w tokens costs the draft model.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from spec_local.control.acceptance import Acceptance
from spec_local.control.constants import Tuning
from spec_local.control.odds import Odds

_GRID = np.geomspace(Tuning().least_survival, 1.0, Tuning().survival_points)
"""Survival probabilities for which W is computed; between them it is interpolated."""

_POINTS: list[float] = _GRID.tolist()

_SLOPES = 1.0 / np.diff(_GRID)
"""Slopes of the lines between its points, shape (points - 1,)."""


class DraftPace:
    """Decides, while a model drafts, after every token: is it part of the draft, and go on?

    Both answers depend on the tokens before and the distribution at hand alone, never on a later
    token: a token that is taken stays. Every verification rule stays lossless with that.
    """

    def __init__(
        self,
        acceptance: Acceptance,
        row: Sequence[float],
        step: float,
        rate: float,
        limit: int,
        probe: bool = False,
        shape: Sequence[float] = (0.0, 1.0),
    ) -> None:
        """row: V(w) / V(1) for every width w; step: d; rate: r; limit: the longest draft.

        probe: draft up to the limit whatever it promises, to find out what the drafter is worth.
        shape: in steps, an evaluation of w tokens by the draft model, which trees need.
        """
        self.limit = limit
        self.taken = 0
        self._acceptance, self._probe = acceptance, probe
        self._row, self._rate, self._shape = row, rate, shape
        self._stop = [-rate * cost for cost in row[1 : limit + 2]]
        self._survival = 1.0
        cost = self._cost = rate * step
        shares, rates = acceptance.shares, acceptance.rates
        reached = (_GRID[:, None] * rates).ravel()  # survival after taking a token
        after = _taking(reached, cost)
        # W_i on the grid, for i from 0 to the limit, filled from the end; and a 1 for `after`.
        values = np.ones((limit + 1, len(_GRID) + 1))
        self._values = values[:, :-1]
        self._values[limit] = self._stop[limit]
        # Four calls of numpy a step, into memory that is there already: 3 µs instead of 6.
        taking = np.empty_like(reached)
        by_point = taking.reshape(len(_GRID), -1)
        for taken in range(limit - 1, -1, -1):
            stop, best = self._stop[taken], self._values[taken]
            np.dot(after, values[taken + 1], out=taking)
            np.maximum(taking, stop - cost, out=taking)
            np.dot(by_point, shares, out=best)  # shares sum to 1, so the cost stays the cost
            np.maximum(best, stop, out=best)

    def again(self, limit: int) -> DraftPace:
        """A pace for the next draft by the same values, and no longer than this one."""
        twin = object.__new__(DraftPace)
        shorter = min(limit, self.limit)
        twin.__dict__.update(self.__dict__, limit=shorter, taken=0, _survival=1.0)
        return twin

    @property
    def value(self) -> float:
        """W_0(1): tokens expected of the draft, less what everything costs, verification too."""
        return float(self._values[0, -1])

    def more(self) -> bool:
        """Whether to draft another token."""
        if self._probe or self.taken == self.limit:
            return self.taken < self.limit
        return self._value(self.taken, self._survival) > self._stop[self.taken]

    def take(self, confidence: float) -> bool:
        """Whether the token just drafted is to be verified; if not, the draft ends before it."""
        self._acceptance.drafted(confidence)
        survival = self._survival * self._acceptance.rate(confidence)
        with_it = survival + self._value(self.taken + 1, survival)
        if with_it <= self._stop[self.taken] and not self._probe:
            return False
        self.taken, self._survival = self.taken + 1, survival
        return True

    def level(self, tokens: Sequence[float]) -> int:
        """The w with the greatest Σ tokens - r E(w), of the first w nodes; 0 if none is above 0."""
        if self._probe:
            return len(tokens)
        costs = zip(accumulate(tokens), self._shape[1:], strict=False)
        gains = [0.0, *(expected - self._cost * cost for expected, cost in costs)]
        return gains.index(max(gains))

    def nodes(self, confidences: Sequence[float], parents: Sequence[int], chain: int) -> int:
        """The k with the greatest Σ chances - r V, of the k likeliest nodes; V as in `Odds`."""
        for confidence in confidences[:chain]:
            self._acceptance.drafted(confidence)
        if self._probe:
            return min(self.limit, len(parents))
        odds, row = Odds.of(self._acceptance.rate, confidences, parents), self._row
        expected, costs = (0.0, *accumulate(odds.chances)), (row[1], *odds.costs(row))
        each = zip(expected[: self.limit + 1], costs, strict=False)
        gains = [tokens - self._rate * cost for tokens, cost in each]
        return gains.index(max(gains))

    def _value(self, taken: int, survival: float) -> float:
        above = bisect_right(_POINTS, survival)
        value = self._values.item
        if above == 0 or above == len(_POINTS):  # the grid ends there
            return value(taken, min(above, len(_POINTS) - 1))
        low, high = _POINTS[above - 1 : above + 1]
        share = (survival - low) / (high - low)
        before, after = value(taken, above - 1), value(taken, above)
        return before + (after - before) * share  # exactly that of stopping, where both are


def _taking(survivals: NDArray[np.float64], cost: float) -> NDArray[np.float64]:
    """The matrix that takes W on the grid, and a 1, to S + W(S) - cost at these survivals S (n,).

    Shape (n, grid + 1). W is interpolated.
    """
    points = np.maximum(survivals, _GRID[0])
    below = np.minimum(_GRID.searchsorted(points, side="right") - 1, len(_GRID) - 2)
    share = (points - _GRID[below]) * _SLOPES[below]  # of the grid's point above
    # By columns: then the product, of which every step takes one, costs BLAS half as much.
    matrix, each = np.zeros((len(points), len(_GRID) + 1), order="F"), np.arange(len(points))
    matrix[each, below], matrix[each, below + 1] = 1.0 - share, share
    matrix[:, -1] = survivals - cost
    return matrix
