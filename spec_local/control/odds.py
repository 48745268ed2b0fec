"""How many tokens of a draft that is there will be accepted, by how much of it is submitted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import mul
from typing import NamedTuple

ROOT = -1


class Odds(NamedTuple):
    """Of the tokens in the order in which they are submitted: of a tree, the likeliest first."""

    chances: list[float]
    """That each is accepted, and so all before it on its path: their sum is what is expected."""
    depths: list[int] | None = None
    """How many tokens lead to each in a tree, itself included; None in a chain."""
    aside: list[float] | None = None
    """In a tree, of the first 1, 2 … tokens: how many are accepted in the mean that are not of the
    chain of first children. They are evaluated again, with the next round. None in a chain."""

    @classmethod
    def of(
        cls,
        rate: Callable[[float], float],
        confidences: Sequence[float],
        parents: Sequence[int] | None,
    ) -> Odds:
        """rate: how often a token of a confidence is accepted, if those before it are.

        parents: of each token in a tree, ROOT after the text; None: a chain.
        """
        if parents is None:
            return cls(list(accumulate(map(rate, confidences), mul)))
        chances, depths, beside, chain = list[float](), list[int](), list[float](), ROOT
        for node, (parent, confidence) in enumerate(zip(parents, confidences, strict=False)):
            above = (1.0, 0) if parent == ROOT else (chances[parent], depths[parent])
            chances.append(above[0] * rate(confidence))
            depths.append(above[1] + 1)
            beside.append(0.0 if parent == chain else chances[node])
            chain = node if parent == chain else chain
        order = sorted(range(len(chances)), key=lambda node: -chances[node])
        aside = list(accumulate(beside[node] for node in order))
        return cls([chances[node] for node in order], [depths[node] for node in order], aside)

    def costs(self, row: Sequence[float]) -> Sequence[float]:
        """V of a round with the first 1, 2 … tokens, given V(w) of every width w from 0 on.

        A round after one like it is as much wider as that has left to be evaluated again; V between
        two widths is on the line.
        """
        if self.aside is None:
            return row[2:]
        return [_between(row, k + 1 + aside) for k, aside in enumerate(self.aside, start=1)]

    def survivals(self, k: int) -> list[float]:
        """Probabilities that at least 1, 2 … of the first k tokens are accepted.

        Of siblings at most one can be, so the chances of a depth add up.
        """
        if self.depths is None:
            return self.chances[:k]
        found = [0.0] * max(self.depths[:k], default=0)
        for chance, depth in zip(self.chances[:k], self.depths, strict=False):
            found[depth - 1] += chance
        return [min(1.0, each) for each in found]


def _between(row: Sequence[float], width: float) -> float:
    """V at that width, which need not be whole; beyond the widest one what that costs."""
    below, widest = int(width), len(row) - 1
    low, high = row[min(below, widest)], row[min(below + 1, widest)]
    return low + (high - low) * (width - below)
