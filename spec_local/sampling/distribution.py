"""A probability distribution over the few tokens that can be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
"""Token ids, shape (n,), each once."""

Probabilities = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """Token ids (n,) and their probabilities (n,), all above 0; every other token has 0."""

    ids: Ids
    probabilities: Probabilities

    @classmethod
    def of_logits(cls, ids: Ids, logits: NDArray[np.floating]) -> Distribution:
        """Softmax over tokens (n,) of logits (n,); tokens at -inf are dropped, one must remain."""
        weights = np.exp(logits.astype(np.float64) - logits.max())
        return cls.of_weights(ids, weights)

    @classmethod
    def of_weights(cls, ids: Ids, weights: Probabilities) -> Distribution:
        """Weights (n,) of 0 or more, not all 0, brought to the sum 1."""
        possible = weights > 0
        if not possible.all():
            ids, weights = ids[possible], weights[possible]
        return cls(ids, weights / weights.sum())

    @classmethod
    def point(cls, token: int) -> Distribution:
        """All mass on one token."""
        return cls(np.array([token], np.int32), np.ones(1))

    def probability(self, token: int) -> float:
        """Probability of a token; 0 for one that cannot be drawn."""
        place = (self.ids == token).argmax()
        return float(self.probabilities[place]) if self.ids[place] == token else 0.0


_NEARBY_NATS = 10.0
"""Tokens further below the maximum are left out of a sum that only has to rank confidences."""


def top_probability(row: NDArray[np.float32]) -> float:
    """About the probability of the most probable token, by a logits row (n_vocab,).

    A whole softmax takes several times as long and tells the controller nothing more.
    """
    best = row.max()
    nearby = row[row > best - _NEARBY_NATS]
    return 1.0 / float(np.exp(nearby - best).sum())


def on_common_support(p: Distribution, q: Distribution) -> tuple[Ids, Probabilities, Probabilities]:
    """The union of both supports (n,) and the two probabilities (n,) of each token in it."""
    ids = np.union1d(p.ids, q.ids)
    spread = []
    for distribution in (p, q):
        weights = np.zeros(len(ids))
        weights[np.searchsorted(ids, distribution.ids)] = distribution.probabilities
        spread.append(weights)
    return ids, spread[0], spread[1]
