"""What would be drawn at a position, what without that, and so on: the siblings of a tree.

The greatest n of log p(x) + g(x), with Gumbel noise g, are n draws without replacement from p, the
first one first (Gumbel top-k: Kool et al., arXiv 1903.06059). With keyed noise they are what the
target is likeliest to draw instead: its own scores differ from these by how its distribution
differs, so the smaller the gap between two scores, the likelier their order is another one there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spec_local.sampling.blocks import Blocks
from spec_local.sampling.distribution import Distribution, Ids
from spec_local.sampling.types import Logits, Proposal

_FAR = np.float32(7.0)
"""A logit so much below the best is that of a token 1,000 times less probable, and never worth a
branch."""


def most_probable(row: Logits, first: int, banned: Ids, count: int) -> list[Proposal]:
    """The `first` token, then the most probable others: at most `count`, and none that is banned.

    row: logits (n_vocab,), by which they have their probabilities.
    """
    blocks = Blocks.of(row, 4096)
    best = blocks.best()
    ids = blocks.reaching(best - _FAR).astype(np.int32)
    weights = np.exp(row[ids].astype(np.float64) - best)
    total = weights.sum()
    order = np.argsort(-weights, kind="stable")
    others = [int(i) for i in order if ids[i] != first and ids[i] not in banned][: count - 1]
    chance = float(np.exp(float(row[first]) - best) / total)
    rest = [Proposal(int(ids[i]), float(weights[i] / total), None) for i in others]
    return [Proposal(first, chance, None), *rest]


def drawn_with_noise(drawn: Distribution, noise: NDArray[np.float64], count: int) -> list[Proposal]:
    """At most `count` tokens, the greatest log p + g first.

    Confidences are the softmax of these scores: what the target's own noise, which is the same,
    leaves open. noise: g (n,) of the distribution's tokens.
    """
    scores = np.log(drawn.probabilities) + noise
    weights = np.exp(scores - scores.max())
    order = np.argsort(-scores, kind="stable")[:count]
    total = weights.sum()
    return [Proposal(int(drawn.ids[i]), float(weights[i] / total), None) for i in order]


def drawn_apart(drawn: Distribution, noise: NDArray[np.float64], count: int) -> list[Proposal]:
    """The same tokens, each with what it was drawn from: the distribution without those before.

    Confidences never ask what was drawn, because a tree must not take or leave a drawn token for
    what it is: that of the most probable token left, if those before are wrong.
    """
    order = np.argsort(-(np.log(drawn.probabilities) + noise), kind="stable")[:count]
    proposals, left, open_ = list[Proposal](), np.ones(len(drawn.ids), bool), 1.0
    for i in order:
        rest = Distribution.of_weights(drawn.ids[left], drawn.probabilities[left])
        chance = open_ * float(rest.probabilities.max())
        proposals.append(Proposal(int(drawn.ids[i]), chance, rest))
        left[i], open_ = False, open_ - chance
    return proposals
