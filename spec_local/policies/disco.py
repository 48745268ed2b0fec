"""DISCO, dynamic speculation lookahead (Mamou et al., arXiv 2405.04304), trained while it writes.

A small classifier sees every drafted token and tells how likely the target is to accept it; the
draft goes on while that is at least a threshold. In the paper it is a neural network on the draft's
probabilities, their entropy and the token's position in the draft. It is trained beforehand, and
threshold and longest draft are chosen for each data set, so none is published as a default.

Here it is a logistic regression on what is at hand, the confidence and the position, trained from
draft to draft by stochastic gradient descent. It begins as the confidence itself: the weight of
its log-odds is 1, all others are 0. The threshold is 0.4 and the longest draft 20, which the same
authors gave transformers for its version without a classifier (pull request 33657). The token that
falls below stays in the draft, so that the classifier learns of it in every case.
"""

from __future__ import annotations

import math

from spec_local.errors import require
from spec_local.policies.policy import Policy

_RATE = 0.1
"""Of what one token's gradient changes the weights."""
_SUREST = 0.999
"""Confidences beyond count as this, and those near 0 alike, as log-odds would be infinite."""


class Disco(Policy):
    """Decides on the predicted chance that the last token is accepted."""

    def __init__(self, threshold: float = 0.4, most: int = 20) -> None:
        """threshold: in [0, 1]; most: tokens of a draft."""
        require(0 <= threshold <= 1, f"disco {threshold:g}: the threshold must be from 0 to 1.")
        self._threshold, self._most = threshold, most
        self._weights = [0.0, 0.0, 1.0]
        """Of 1, position and log-odds of the confidence."""
        self._taken, self._likely = 0, True

    def start(self) -> int:
        self._taken, self._likely = 0, True
        return self._most

    def more(self) -> bool:
        return self._likely

    def take(self, confidence: float) -> bool:
        self._likely = self.chance(confidence, self._taken) >= self._threshold
        self._taken += 1
        return True

    def judged(self, confidences: tuple[float, ...], right: int) -> None:
        for position, confidence in enumerate(confidences[: right + 1]):  # the rest is unknown
            error = (position < right) - self.chance(confidence, position)
            seen = self._features(confidence, position)
            self._weights = [
                weight + _RATE * error * feature
                for weight, feature in zip(self._weights, seen, strict=True)
            ]

    def chance(self, confidence: float, position: int) -> float:
        """How likely a token is to be accepted, if those before it are; positions from 0."""
        seen = self._features(confidence, position)
        return 1 / (1 + math.exp(-sum(w * x for w, x in zip(self._weights, seen, strict=True))))

    def _features(self, confidence: float, position: int) -> tuple[float, float, float]:
        sure = min(max(confidence, 1 - _SUREST), _SUREST)
        return 1.0, position / self._most, math.log(sure / (1 - sure))
