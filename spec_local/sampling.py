"""From logits to a token: candidate prefilter, keyed Gumbel noise, the keyed draw.

Gumbel-max: if the g(x) are independent standard Gumbel variables, argmax_x log p(x) + g(x) is
distributed as p. The noise here is *keyed*: a hash of (seed, position, token id), with no generator
state. Whoever asks for position i of the same seed sees the same noise, so target and draft make
the same draw wherever their distributions allow it (arXiv 2408.07978).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spec_local.types import Logits, Sampler, Sampling

Ids = NDArray[np.int32]

NEGLIGIBLE_NATS = 25.0
"""Tokens this far below the maximum are dropped: 150,000 of them weigh less than 2.1e-6."""

_BLOCKS_PER_CANDIDATE = 32
"""How many strided blocks the vocabulary is cut into, per token that top-k keeps."""

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, the increment of SplitMix64
_MASK = (1 << 64) - 1


class SamplerChain(Protocol):
    """llama.cpp's chain of samplers (`llama/chain.py`)."""

    def apply(self, ids: Ids, logits: Logits) -> tuple[Ids, Logits]:
        """Ids (n,) and logits (n,) of the candidates left, logits divided by the temperature."""

    def accept(self, token: int) -> None:
        """The token was emitted."""

    def copy(self) -> SamplerChain: ...

    def follow(self, other: SamplerChain) -> None: ...

    def close(self) -> None: ...


def keyed_gumbel(seed: int, position: int, ids: Ids) -> NDArray[np.float64]:
    """Standard Gumbel noise (n,) for the token ids (n,) at an absolute position.

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) in counter mode: two rounds absorb seed and
    position, the third the token id.
    """
    key = _mix(_mix(seed & _MASK) ^ position)
    bits = _mix_array(np.uint64(key) + ids.astype(np.uint64) * np.uint64(_GOLDEN))
    # 52 bits and a half keep the uniform strictly inside (0, 1) in double precision.
    uniform = ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    noise: NDArray[np.float64] = -np.log(-np.log(uniform))
    return noise


def _mix(x: int) -> int:
    x = (x + _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def _mix_array(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


def candidates(row: Logits, sampling: Sampling, penalized: Ids | None = None) -> Ids:
    """Ids (n,), ascending, that can survive the chain: a superset small enough to be cheap.

    `penalized` ids are always among them; the cut is taken over the other tokens, because a penalty
    can move a logit either way. What is left out is either certain to be removed by top-k or min-p,
    or lies more than NEGLIGIBLE_NATS below the maximum.
    """
    if penalized is not None and len(penalized):
        row = row.copy()
        row[penalized] = -np.inf
    blocks = sampling.top_k * _BLOCKS_PER_CANDIDATE
    if 0 < blocks <= len(row) // 2:
        kept = _reach_top_k(row, sampling.top_k, blocks)
    else:
        kept = np.flatnonzero(row >= row.max() - _margin(sampling)).astype(np.int32)
    if penalized is not None and len(penalized):
        kept = np.union1d(kept, penalized)
    return kept


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


def _margin(sampling: Sampling) -> float:
    """Logits this far below the maximum do not matter."""
    margin = NEGLIGIBLE_NATS * max(1.0, sampling.temperature)
    if sampling.min_p > 0 and sampling.top_p == sampling.typical_p == 1:
        margin = min(margin, 1e-3 - math.log(sampling.min_p))  # 1e-3: rounding in the chain
    return margin


class KeyedSampler:
    """Draws one token per position: the sampler chain, then the keyed Gumbel-max draw."""

    def __init__(self, sampling: Sampling, chain: SamplerChain, context: Sequence[int]) -> None:
        """`context`: the committed tokens; the first draw is for the position after them."""
        self._sampling = sampling
        self._chain = chain
        self._position = len(context)
        window = None if sampling.repeat_last_n < 0 else sampling.repeat_last_n
        self._recent: deque[int] = deque(maxlen=window)
        if sampling.penalizes:
            for token in context if window is None else context[-window:]:
                self._accept(token)

    def draw(self, row: Logits) -> int:
        """Draw the token of the present position from its logits row (n_vocab,) and move on."""
        token = self._choose(row)
        self._position += 1
        if self._sampling.penalizes:
            self._accept(token)
        return token

    def copy(self) -> KeyedSampler:
        twin = KeyedSampler(self._sampling, self._chain.copy(), ())
        twin.follow(self)
        return twin

    def follow(self, other: Sampler) -> None:
        assert isinstance(other, KeyedSampler)
        self._position = other._position
        if self._sampling.penalizes:
            self._recent = other._recent.copy()
            self._chain.follow(other._chain)

    def close(self) -> None:
        self._chain.close()

    def _accept(self, token: int) -> None:
        self._recent.append(token)
        self._chain.accept(token)

    def _choose(self, row: Logits) -> int:
        greedy = self._sampling.temperature == 0
        penalized = None
        if self._sampling.penalizes:
            penalized = np.fromiter(sorted(set(self._recent)), np.int32)
        elif greedy:
            return int(row.argmax())
        ids = candidates(row, self._sampling, penalized)
        ids, logits = self._chain.apply(ids, row[ids])
        if greedy:
            return int(ids[logits == logits.max()].min())  # the lowest id, as argmax has it
        noise = keyed_gumbel(self._sampling.seed, self._position, ids)
        return int(ids[np.argmax(logits + noise)])
