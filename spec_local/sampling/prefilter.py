"""Which few of the vocabulary's tokens can survive the sampler chain.

llama.cpp's samplers work on every token they are given; a vocabulary of 150,000 costs them several
times what finding the hundred that matter costs numpy. What is left out here would not have
survived either, or weighs nothing: the prefilter must be invisible.
"""

from __future__ import annotations

import math

import numpy as np

from spec_local.sampling.blocks import Blocks
from spec_local.sampling.distribution import Ids
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits

NEGLIGIBLE_NATS = 25.0
"""Tokens this far below the maximum are dropped: 150,000 of them weigh less than 2.1e-6."""

_BLOCKS_PER_CANDIDATE = 32
"""How many strided blocks the vocabulary is cut into, per token that top-k keeps."""

NO_IDS: Ids = np.empty(0, np.int32)


def candidates(row: Logits, sampling: Sampling, shifted: Ids = NO_IDS) -> Ids:
    """Ids (n,), ascending, that can survive the chain: a superset small enough to be cheap.

    The cut is taken over the tokens that are not `shifted`, because a penalty or a bias moves
    those; of the shifted ones all are kept that may end up above it. What is left out is either
    certain to be removed by top-k or min-p, or lies more than NEGLIGIBLE_NATS below the maximum.
    Where min-p is sure to leave one token only, which in most texts is most rows, it is alone.
    """
    if needs_all(sampling, len(row)):
        return np.arange(len(row), dtype=np.int32)
    others = row
    if len(shifted):
        others = row.copy()
        others[shifted] = -np.inf
    if _in_blocks(sampling, len(row)):
        alone = sampling.min_p > 0 and sampling.typical_p == 1 and not len(shifted)
        spread = _min_p_nats(sampling) if alone else 0.0
        kept, cut = _reach_top_k(others, sampling.top_k, spread)
    else:
        cut = float(others.max() - margin(sampling))
        kept = np.flatnonzero(others >= cut).astype(np.int32)
    if not len(shifted):
        return kept
    if not sampling.raises:  # what is below the cut already only falls further
        shifted = shifted[row[shifted] >= cut]
    return np.union1d(kept, shifted)


def needs_all(sampling: Sampling, n_vocab: int) -> bool:
    """Whether a sampler of the chain looks at the whole vocabulary, however improbable.

    top-n-sigma takes the deviation of all logits; a dynamic temperature divides by the greatest
    entropy that as many tokens as are left can have, so their number must be exact.
    """
    if sampling.greedy and not sampling.reorders:
        return False
    counts = sampling.dynatemp_range > 0 and not _in_blocks(sampling, n_vocab)
    return sampling.top_n_sigma > 0 or counts


def _in_blocks(sampling: Sampling, n_vocab: int) -> bool:
    """Whether top-k keeps so few tokens that they are found by blocks."""
    return 0 < sampling.top_k * _BLOCKS_PER_CANDIDATE <= n_vocab // 2


def margin(sampling: Sampling) -> float:
    """Logits this far below the maximum do not matter."""
    hottest = sampling.temperature + sampling.dynatemp_range
    nats = NEGLIGIBLE_NATS * max(1.0, hottest)
    if sampling.min_p > 0 and sampling.top_p == sampling.typical_p == 1:
        nats = min(nats, _min_p_nats(sampling))
    return nats


def _min_p_nats(sampling: Sampling) -> float:
    """What lies so far below the best token is removed by min-p, if that token gets there."""
    return 1e-3 - math.log(sampling.min_p)  # 1e-3: rounding in the chain


def _reach_top_k(row: Logits, k: int, spread: float) -> tuple[Ids, float]:
    """The top k ids and a few more, in one pass over the row, and the logit they all reach.

    spread: the best one alone, if all others are further below it than that; 0.0: all the same.
    At least k tokens reach the k-th largest of the maxima of disjoint blocks, so every token of the
    top k does.
    """
    blocks = Blocks.of(row, k * _BLOCKS_PER_CANDIDATE)
    if spread:
        cut = blocks.best() - np.float32(spread)
        if np.count_nonzero(blocks.maxima >= cut) == 1:
            found = blocks.reaching(cut)
            if len(found) == 1:
                return found.astype(np.int32), float(cut)
    cut = np.partition(blocks.maxima, -k)[-k]
    return blocks.reaching(cut).astype(np.int32), float(cut)
