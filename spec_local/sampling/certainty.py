"""Would a draw be the same if every logit were a little different?

Only differences between logits count, so d on each of them is 2 d between two. The worst cases of a
drawn token x are few, because top-k, top-p and min-p keep the first tokens of an order:

- x falls by 2 d against all others: a token that is kept as well overtakes it;
- those above x, and those that may come above it, rise by 2 d: x is cut off;
- those above a token y that was cut off fall by 2 d: y is kept, and its noise wins.

The samplers that keep other sets (typical, XTC, top-n-sigma) see the same cases, without a proof.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spec_local.sampling.distribution import Distribution, Ids
from spec_local.sampling.noise import keyed_gumbel
from spec_local.sampling.prefilter import margin
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits

MOST_RIVALS = 8
"""Tokens cut off whose noise could win; with more of them nothing is certain."""


def worst_cases(row: Logits, token: int, rivals: Ids, difference: float) -> Iterator[Logits]:
    """Logits (n_vocab,) like those of a row, as bad for the drawn token as they can be.

    rivals: tokens (n,) cut off that would win if they were not.
    """
    gap = np.float32(2 * difference)
    fallen = row.copy()
    fallen[token] -= gap
    yield fallen
    risen = np.where(row > row[token] - gap, row + gap, row)
    risen[token] = row[token]
    yield risen
    for rival in rivals:
        yield np.where(row > row[rival], row - gap, row)


def cut_rivals(
    row: Logits,
    token: int,
    kept: Distribution,
    shifted: Ids,
    sampling: Sampling,
    position: int,
    difference: float,
) -> Ids:
    """Tokens (n,) cut off that could win against the drawn one were they kept.

    shifted: tokens whose logits the chain shifts, so that those in the row say little.
    """
    heat = sampling.temperature + sampling.dynatemp_range
    reach = margin(sampling)
    if sampling.min_p > 0:
        reach = min(reach, -np.log(sampling.min_p))
    reach += 4 * difference
    near = np.flatnonzero(row >= row.max() - reach).astype(np.int32)
    ids: Ids = np.setdiff1d(near, kept.ids, assume_unique=True)
    plain = np.setdiff1d(kept.ids, shifted)
    chance = kept.probability(token)
    if not len(ids) or not len(plain) or chance == 0:
        return ids
    unit = row[plain[0]] / heat - np.log(kept.probability(int(plain[0])))
    own = keyed_gumbel(sampling.seed, position, np.array([token], np.int32))[0]
    score = np.log(chance) + unit + own
    scores = row[ids] / heat + keyed_gumbel(sampling.seed, position, ids)
    within: Ids = ids[scores > score - 2 * difference / heat]
    return within
