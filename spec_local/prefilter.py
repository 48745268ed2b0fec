"""Which few of the vocabulary's tokens can survive the sampler chain.

llama.cpp's samplers work on every token they are given; a vocabulary of 150,000 costs them several
times what finding the hundred that matter costs numpy. What is left out here would not have
survived either, or weighs nothing: the prefilter must be invisible.
"""

from __future__ import annotations

import math

import numpy as np

from spec_local.distribution import Ids
from spec_local.settings import Sampling
from spec_local.types import Logits

NEGLIGIBLE_NATS = 25.0
"""Tokens this far below the maximum are dropped: 150,000 of them weigh less than 2.1e-6."""

_BLOCKS_PER_CANDIDATE = 32
"""How many strided blocks the vocabulary is cut into, per token that top-k keeps."""

NO_IDS: Ids = np.empty(0, np.int32)


def candidates(row: Logits, sampling: Sampling, shifted: Ids = NO_IDS) -> Ids:
    """Ids (n,), ascending, that can survive the chain: a superset small enough to be cheap.

    `shifted` ids are always among them; the cut is taken over the other tokens, because a penalty
    or a bias can move a logit either way. What is left out is either certain to be removed by top-k
    or min-p, or lies more than NEGLIGIBLE_NATS below the maximum.
    """
    if needs_all(sampling):
        return np.arange(len(row), dtype=np.int32)
    if len(shifted):
        row = row.copy()
        row[shifted] = -np.inf
    blocks = sampling.top_k * _BLOCKS_PER_CANDIDATE
    if 0 < blocks <= len(row) // 2:
        kept = _reach_top_k(row, sampling.top_k, blocks)
    else:
        kept = np.flatnonzero(row >= row.max() - margin(sampling)).astype(np.int32)
    return np.union1d(kept, shifted) if len(shifted) else kept


def needs_all(sampling: Sampling) -> bool:
    """Whether a sampler of the chain looks at the whole vocabulary, however improbable.

    top-n-sigma takes the deviation of all logits; a dynamic temperature divides by the entropy of
    as many tokens as are left, which are all where nothing truncates.
    """
    if sampling.greedy and not sampling.reorders:
        return False
    return sampling.top_n_sigma > 0 or (sampling.dynatemp_range > 0 and not sampling.truncates)


def margin(sampling: Sampling) -> float:
    """Logits this far below the maximum do not matter."""
    hottest = sampling.temperature + sampling.dynatemp_range
    nats = NEGLIGIBLE_NATS * max(1.0, hottest)
    if sampling.min_p > 0 and sampling.top_p == sampling.typical_p == 1:
        nats = min(nats, 1e-3 - math.log(sampling.min_p))  # 1e-3: rounding in the chain
    return nats


def _reach_top_k(row: Logits, k: int, blocks: int) -> Ids:
    """The top k ids and a few more, in one pass over the row.

    At least k tokens reach the k-th largest of the maxima of disjoint blocks, so every token of the
    top k does. Blocks are columns of the row written as a table, which numpy reduces at memory
    speed; only columns whose maximum reaches the cut are looked into.
    """
    whole = len(row) // blocks * blocks
    table = row[:whole].reshape(-1, blocks)
    maxima = table.max(axis=0)
    cut = np.partition(maxima, -k)[-k]
    columns = np.flatnonzero(maxima >= cut)
    lines, hits = np.nonzero(table[:, columns] >= cut)
    rest = np.flatnonzero(row[whole:] >= cut)
    return np.concatenate((lines * blocks + columns[hits], whole + rest)).astype(np.int32)
