"""Randomness without a generator: a hash of (seed, position, number), the same for whoever asks.

Gumbel-max: if the g(x) are independent standard Gumbel variables, argmax_x log p(x) + g(x) is
distributed as p. With *keyed* noise, g is a function of (seed, position, token id): target and
draft ask for the same noise at the same position and so make the same draw wherever their
distributions allow it (arXiv 2408.07978).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spec_local.sampling.distribution import Ids

_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, the increment of SplitMix64
_MASK = (1 << 64) - 1

_STEP, _FIRST, _SECOND = map(np.uint64, (_GOLDEN, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_12, _27, _30, _31 = map(np.uint64, (12, 27, 30, 31))

_COINS = 1 << 40  # numbers from here on are coins; token ids are far below
_XTC = 1 << 41
_DRAFT = 0xD4AF7


def keyed_uniform(seed: int, position: int, numbers: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Uniform numbers (n,) strictly inside (0, 1) for numbers (n,) at an absolute position.

    SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) in counter mode: two rounds absorb seed and
    position, the third the number.
    """
    key = _mix(_mix(seed & _MASK) ^ position)
    bits = _mix_array(np.uint64(key) + numbers * _STEP)
    # 52 bits and a half keep the uniform strictly inside (0, 1) in double precision.
    uniform: NDArray[np.float64] = ((bits >> _12).astype(np.float64) + 0.5) * 2.0**-52
    return uniform


def keyed_gumbel(seed: int, position: int, ids: Ids) -> NDArray[np.float64]:
    """Standard Gumbel noise (n,) for the token ids (n,) at an absolute position."""
    noise: NDArray[np.float64] = -np.log(-np.log(keyed_uniform(seed, position, _uint64(ids))))
    return noise


def keyed_coin(seed: int, position: int, index: int) -> float:
    """The uniform number that decides the index-th question asked at a position."""
    return float(keyed_uniform(seed, position, _uint64([_COINS + index]))[0])


def xtc_coin(seed: int, position: int) -> float:
    """The uniform number that decides whether XTC applies at a position."""
    return float(keyed_uniform(seed, position, _uint64([_XTC]))[0])


def draft_seed(seed: int, position: int) -> int:
    """A seed for the drafts of the round that begins at a position, independent of all others.

    Rejection and block verification need drafts whose noise is fresh in every round: what is kept
    of a draft tells something about the noise of what is not.
    """
    return _mix(_mix(seed & _MASK) ^ _mix(_DRAFT) ^ position)


def _uint64(numbers: Ids | list[int]) -> NDArray[np.uint64]:
    return np.asarray(numbers).astype(np.uint64)


def _mix(x: int) -> int:
    x = (x + _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def _mix_array(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    mixed: NDArray[np.uint64] = x ^ (x >> _31)
    return mixed
