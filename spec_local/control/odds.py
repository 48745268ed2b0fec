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
        chances, depths = list[float](), list[int]()
        for parent, confidence in zip(parents, confidences, strict=False):
            above = (1.0, 0) if parent == ROOT else (chances[parent], depths[parent])
            chances.append(above[0] * rate(confidence))
            depths.append(above[1] + 1)
        order = sorted(range(len(chances)), key=lambda node: -chances[node])
        return cls([chances[node] for node in order], [depths[node] for node in order])

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
