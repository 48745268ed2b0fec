"""What it costs to evaluate w tokens at once: V(w) = scale x level x shape, learned from decodes.

The shape of the curve (how much dearer is width 4 than width 1?) belongs to the model, the backend
and the context length; it is not smooth and not monotone, and it hardly changes. The scale is the
machine's present speed and changes all the time. A decode shows only their product. What a surprise
is due to is decided by a Kalman filter on their logarithms: a width measured often moves the scale,
a new one moves its own shape.

Kalman's filter (Journal of Basic Engineering 82, 1960) with a scalar measurement; a surprise beyond
some standard deviations is clipped (Huber's psi, Annals of Mathematical Statistics 35, 1964).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import exp, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spec_local.control.constants import Tuning
from spec_local.control.lines import Lines

MAX_WIDTH = 33
"""Widths up to this one are kept apart; above, costs are kept at powers of two."""

_WIDEST = 512
_FIRST_BUCKET = 256
_LAST_BUCKET = 9
_SCALE = 0
"""Index of the scale in the filter's state."""

Factor = tuple[int, int]
"""(bucket, width) of a factor of the cost. Width 1 is the bucket's level, log V(1) less the scale;
any other is log V(width) / V(1)."""


@lru_cache(maxsize=64)  # asked about the same few lengths sixteen times a round
def bucket_of(context: int) -> int:
    """Context-length bucket: 0 up to 256 tokens, then one for every doubling."""
    return min(_LAST_BUCKET, (max(0, context - 1) // _FIRST_BUCKET).bit_length())


class CostCurve:
    """Seconds of one evaluation by width and context length; learns, and is kept in the profile."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        self._tuning = tuning or Tuning()
        self._factors: dict[Factor, int] = {}
        """Where each factor stands in the state; none before V(1) is known."""
        self._guessed = set[Factor]()
        """Those of them that were not measured, but taken from a neighbour."""
        self._state: NDArray[np.float64] = np.zeros(1)
        """Logarithms, shape (factors + 1,): the scale, then the factors."""
        self._covariance: NDArray[np.float64] = np.zeros((1, 1))
        self._shapes: dict[int, list[float]] = {}
        """By bucket, what `shape` answers, until more than the scale changes."""
        self._drawn: dict[int, Lines] = {}
        """By bucket, what draws such a shape, until a width is added."""
        self._unrest = 0.0
        """How much the speed jumps from one decode to the next: variance that nothing explains."""
        self._early: tuple[int, int, tuple[float, ...]] | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything has been measured."""
        return bool(self._factors)

    def has(self, width: int, context: int) -> bool:
        """Whether this width was measured near this context length; if it is wide, one like it."""
        near = self._nearest(bucket_of(context)) if self.is_known else 0
        return (near, _knot(width)) in self._factors

    def observe(self, width: int, context: int, *seconds: float) -> None:
        """An evaluation of `width` tokens after `context` took so long, or several alike did."""
        if min(seconds) <= 0.0:
            return
        if not self.is_known and width > 1:
            self._early = (width, context, seconds)  # until V(1) is known, as the prompt's is
            return
        knot = _knot(width)
        factor = bucket_of(context), knot
        per_token = sum(map(log, seconds)) / len(seconds) - log(width)
        measured = per_token + log(knot)
        parts = self._parts(*factor, measured)
        self._filter(parts, measured, len(seconds), new=factor in self._guessed)
        self._guessed.discard(factor)
        self._shapes.clear()
        if self._early is not None:
            early, self._early = self._early, None
            width, context, seconds = early
            self.observe(width, context, *seconds)

    def _filter(self, parts: list[int], measured: float, decodes: int, new: bool) -> None:
        """Correct the state by one measurement of the sum of some of its parts.

        decodes: of how many the measurement is the mean. new: one of the parts is only a guess as
        yet, so a surprise says nothing about the machine.
        """
        tuning, state, covariance = self._tuning, self._state, self._covariance
        # Predict: P <- P + Q, where Q is how far scale and shape wander from decode to decode.
        covariance[_SCALE, _SCALE] += decodes * max(tuning.speed_drift**2, self._unrest)
        for part in parts[2:]:
            covariance[part, part] += decodes * tuning.shape_drift**2
        # H x: the measured logarithm is the sum of its parts, so H is 1 there and 0 elsewhere.
        # Parts are two or three: adding them one by one takes numpy less than indexing with a list.
        reach = covariance[_SCALE].copy()  # P H', by rows, as P is symmetric
        for part in parts[1:]:
            reach += covariance[part]
        noise = tuning.timing_noise**2 / decodes
        variance = sum(map(reach.item, parts)) + noise  # S = H P H' + R
        surprise = measured - sum(map(state.item, parts))  # z - H x
        if not new:
            unexplained = min(1.0, max(0.0, surprise**2 - variance + self._unrest))
            self._unrest += (unexplained - self._unrest) / tuning.unrest_memory
        bound = tuning.outlier * sqrt(variance)
        clipped = max(-bound, min(bound, surprise))
        gain = reach / variance  # K = P H' / S
        state += gain * clipped  # x <- x + K (z - H x)
        covariance -= gain[:, None] * reach  # P <- P - K H P
        covariance[_SCALE, _SCALE] += tuning.spike_memory * (surprise - clipped) ** 2

    def _parts(self, bucket: int, width: int, measured: float) -> list[int]:
        """Where the factors of this cost stand in the state; new ones are added."""
        tuning = self._tuning
        if not self.is_known:  # the first bucket's level defines the scale
            self._state, self._covariance = np.array([measured]), np.full((1, 1), tuning.no_idea**2)
            self._add((bucket, 1), 0.0, 0.0)
        if (bucket, 1) not in self._factors:  # begins as its nearest neighbour
            near = self._nearest(bucket)
            for other, index in [(w, i) for (b, w), i in self._factors.items() if b == near]:
                self._add((bucket, other), self._state[index], tuning.bucket_doubt**2, index)
        if (bucket, width) not in self._factors:
            guess = log(self._lines(bucket).at(width, self._state))
            self._add(
                (bucket, width), guess, tuning.no_idea**2
            )  # the first measurement decides alone
        level = [_SCALE, self._factors[bucket, 1]]
        return level if width == 1 else [*level, self._factors[bucket, width]]

    def _add(self, factor: Factor, value: float, variance: float, twin: int | None = None) -> None:
        """Add a factor to the state, independent of all others or that far from its twin."""
        size = len(self._state)
        self._factors[factor] = size
        self._guessed.add(factor)
        self._drawn.clear()
        self._state = np.append(self._state, value)
        grown = np.zeros((size + 1, size + 1))
        grown[:size, :size] = self._covariance
        if twin is not None:
            grown[size, :size] = grown[:size, size] = self._covariance[twin]
            variance += self._covariance[twin, twin]
        grown[size, size] = variance
        self._covariance = grown

    @property
    def scale(self) -> float:
        """Logarithm of the machine's present speed factor; only differences have a meaning."""
        return float(self._state[_SCALE])

    def rescale(self, change: float) -> None:
        """Another model's decodes show that the machine's scale has changed by so much."""
        if self.is_known and change:
            self._state[_SCALE] += change

    def seconds(self, width: int, context: int) -> float:
        """Expected seconds of evaluating `width` tokens after `context`; 0.0 if it is not known."""
        if not self.is_known:
            return 0.0
        near = self._nearest(bucket_of(context))
        if width == 1:
            return self._plain(near)
        if width <= MAX_WIDTH:
            return self._plain(near) * self.shape(context)[width]
        return self._plain(near) * self._prompt_shape(near, width)

    def row(self, context: int) -> list[float]:
        """Expected seconds for every width from 0 (no time) to MAX_WIDTH."""
        if not self.is_known:
            return [0.0] * (MAX_WIDTH + 1)
        plain = self.seconds(1, context)
        return [plain * cost for cost in self.shape(context)]

    def shape(self, context: int) -> list[float]:
        """V(width) / V(1), expected, for every width from 0 (nothing) to MAX_WIDTH, once known."""
        near = self._nearest(bucket_of(context))
        if near not in self._shapes:
            self._shapes[near] = [0.0, *self._lines(near).row(self._state).tolist()]
        return self._shapes[near]

    @property
    def widest(self) -> int:
        """The widest width up to MAX_WIDTH that was measured; 0 if nothing was."""
        return max((width for _bucket, width in self._factors if width <= MAX_WIDTH), default=0)

    def measured(self) -> dict[int, list[int]]:
        """The widths known, by the longest context that they were measured for."""
        buckets = sorted({bucket for bucket, _width in self._factors})
        return {
            _FIRST_BUCKET << bucket: sorted(w for b, w in self._factors if b == bucket)
            for bucket in buckets
        }

    def _plain(self, bucket: int) -> float:
        """V(1) in seconds."""
        value = self._state.item
        return exp(value(_SCALE) + value(self._factors[bucket, 1]))

    def _lines(self, bucket: int) -> Lines:
        """The shape of that bucket's costs."""
        if bucket not in self._drawn:
            known = sorted((w, i) for (b, w), i in self._factors.items() if b == bucket and w > 1)
            self._drawn[bucket] = Lines(known, MAX_WIDTH)
        return self._drawn[bucket]

    def _prompt_shape(self, bucket: int, width: int) -> float:
        """V(width) / V(1) of a prompt's width: beyond the widest one measured on the same line.

        Where nobody evaluates unless it is thought to pay, pessimism would never be found out.
        """
        lines = self._lines(bucket)
        widest = lines.widest
        if width <= widest or widest == 1:
            return lines.at(width, self._state)
        each = (lines.at(widest, self._state) - 1.0) / (widest - 1)
        return 1.0 + max(0.0, each) * (width - 1)

    def _nearest(self, bucket: int) -> int:
        """That bucket or the nearest one measured; of two, the one for shorter contexts."""
        if (bucket, 1) in self._factors:
            return bucket
        measured = {b for b, width in self._factors if width == 1}
        return min(measured, key=lambda b: (abs(b - bucket), b))

    def as_dict(self) -> dict[str, Any]:
        """The curve as JSON: logarithms of seconds, each with its variance."""
        if not self.is_known:
            return {}
        variances = np.diag(self._covariance)
        return {
            "scale": float(self._state[_SCALE]),
            "factors": [
                [bucket, width, float(self._state[index]), float(variances[index])]
                for (bucket, width), index in self._factors.items()
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], tuning: Tuning | None = None) -> CostCurve:
        """The inverse of `as_dict`; raises ValueError, KeyError or TypeError for anything else."""
        curve = cls(tuning)
        if not data:
            return curve
        # The machine may be in another state than when this was written.
        curve._state = np.array([_number(data["scale"])])
        curve._covariance = np.full((1, 1), curve._tuning.shape_doubt**2)
        for bucket, width, value, variance in data["factors"]:
            knot = isinstance(width, int) and width >= 1 and _knot(width) == width
            if bucket not in range(_LAST_BUCKET + 1) or not knot or not 0 <= variance < 50:
                raise ValueError("a factor that cannot be")
            curve._add((bucket, width), _number(value), variance)
        curve._guessed.clear()
        levels = {bucket for bucket, width in curve._factors if width == 1}
        if levels != {bucket for bucket, _width in curve._factors} or not levels:
            raise ValueError("a bucket without a level")
        return curve


def _number(value: float) -> float:
    if not abs(value) < 50:
        raise ValueError("a cost that cannot be")
    return float(value)


def _knot(width: int) -> int:
    """The width by which the cost of this one is kept: wider than MAX_WIDTH a power of two."""
    return width if width <= MAX_WIDTH else min(_WIDEST, 1 << max(6, round(log(width, 2))))
