"""Which widths the target is evaluated at, and how a narrower batch becomes one of them.

A batch whose width is not allowed is padded to the next one that is. Without an exact mode every
width is allowed and nothing is padded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from spec_local.control.costs import MAX_WIDTH


@dataclass(frozen=True, slots=True)
class Widths:
    """Allowed widths, ascending and never empty."""

    allowed: tuple[int, ...] = tuple(range(1, MAX_WIDTH + 1))

    def __post_init__(self) -> None:
        assert self.allowed
        assert all(a < b for a, b in pairwise((0, *self.allowed)))

    @property
    def narrowest(self) -> int:
        """What a single token is evaluated at."""
        return self.allowed[0]

    @property
    def widest(self) -> int:
        """The widest width allowed."""
        return self.allowed[-1]

    @property
    def most_padding(self) -> int:
        """Most tokens that are added to a batch."""
        return max(b - a - 1 for a, b in pairwise((0, *self.allowed)))

    def at_least(self, width: int) -> int:
        """The width at which so many tokens, at most the widest, are evaluated."""
        return self.allowed[bisect_left(self.allowed, width)]

    def costs(self, shape: Sequence[float]) -> Sequence[float]:
        """V(w) / V(1) of every width from 0 on with padding, given what it is without."""
        if len(self.allowed) == self.widest:  # nothing is padded
            return shape[: self.widest + 1]
        plain = shape[self.narrowest]
        return [shape[width] / plain for width in _padded(self)]


@cache
def _padded(widths: Widths) -> tuple[int, ...]:
    """For every width from 0 to the widest allowed one, the width at which it is evaluated."""
    return (0, *map(widths.at_least, range(1, widths.widest + 1)))


ANY = Widths()
"""Every width, none of them padded."""
