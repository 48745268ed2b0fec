"""A probability distribution over the few tokens that can be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spec_local.sampling.blocks import Blocks

Ids = NDArray[np.int32]
"""Token ids, shape (n,), each once."""

Probabilities = NDArray[np.float64]

_CERTAIN: Probabilities = np.ones(1)
"""Of the only token there is; shared, so it must not be written to."""
_CERTAIN.flags.writeable = False


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """Token ids (n,) and their probabilities (n,), all above 0; every other token has 0."""

    ids: Ids
    probabilities: Probabilities

    @classmethod
    def of_logits(cls, ids: Ids, logits: NDArray[np.floating]) -> Distribution:
        """Softmax over tokens (n,) of logits (n,); tokens at -inf are dropped, one must remain."""
        if len(ids) == 1:
            return cls(ids, _CERTAIN)
        weights = logits.astype(np.float64)
        weights -= weights.max()
        return cls.of_weights(ids, np.exp(weights, out=weights))

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
        return cls(np.array([token], np.int32), _CERTAIN)

    def probability(self, token: int) -> float:
        """Probability of a token; 0 for one that cannot be drawn."""
        place = (self.ids == token).argmax()
        return float(self.probabilities[place]) if self.ids[place] == token else 0.0


_BLOCKS = 4096
"""As many as are reduced fastest: a line of so many is 16 KB."""


def top_token(row: NDArray[np.float32]) -> tuple[int, float]:
    """The most probable token by a logits row (n_vocab,), and about its probability.

    Of equal ones the first, as argmax has it.
    """
    blocks = Blocks.of(row, _BLOCKS)
    best = blocks.best()
    if not best > -np.inf:  # nothing to choose from, or not numbers
        return int(row.argmax()), 0.0
    return int(blocks.reaching(best)[0]), _best_share(blocks, best)


def top_tokens(row: NDArray[np.float32], count: int) -> list[int]:
    """The most probable tokens by a logits row (n_vocab,), at most `count`, the best first."""
    blocks, count = Blocks.of(row, _BLOCKS), min(count, len(row))
    maxima = np.concatenate((blocks.maxima, blocks.rest))
    if count < len(maxima):  # so many logits reach the count-th greatest maximum, or more
        ids = blocks.reaching(np.partition(maxima, -count)[-count])
    else:
        ids = np.arange(len(row))
    order = np.lexsort((ids, -row[ids]))  # of equal ones the first
    found: list[int] = ids[order[:count]].tolist()
    return found


def top_probability(row: NDArray[np.float32]) -> float:
    """About the probability of the most probable token, by a logits row (n_vocab,)."""
    blocks = Blocks.of(row, _BLOCKS)
    best = blocks.best()
    return _best_share(blocks, best) if best > -np.inf else 0.0


def _best_share(blocks: Blocks, best: np.float32) -> float:
    """About the probability of the most probable token: its share among the best of each block.

    Two tokens that matter are rarely in one block. A whole softmax takes several times as long and
    tells the controller nothing more.
    """
    rest = float(np.exp(blocks.rest - best).sum()) if len(blocks.rest) else 0.0
    return 1.0 / (float(np.exp(blocks.maxima - best).sum()) + rest)


def on_common_support(p: Distribution, q: Distribution) -> tuple[Ids, Probabilities, Probabilities]:
    """The union of both supports (n,) and the two probabilities (n,) of each token in it."""
    ids = np.union1d(p.ids, q.ids)
    spread = []
    for distribution in (p, q):
        weights = np.zeros(len(ids))
        weights[np.searchsorted(ids, distribution.ids)] = distribution.probabilities
        spread.append(weights)
    return ids, spread[0], spread[1]
