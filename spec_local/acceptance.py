"""How often a drafter is right, given how sure it says it is: calibration, learned from verdicts.

A drafter reports a confidence in [0, 1] for each token it drafts: a model the probability it gave
the token, a lookup how long the match is. Whether 0.9 means nine in ten depends on the pair and on
the text, so accepted and rejected tokens are counted per confidence bucket (Beta counts), in two
memories: a long one of the pair, kept in the profile, and a short one of the present text. A token
after the first rejected one was never judged: it is censored, not rejected.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from spec_local.tuning import Tuning


class Acceptance:
    """Calibrated acceptance of one drafter."""

    def __init__(self, tuning: Tuning | None = None) -> None:
        self._tuning = tuning or Tuning()
        buckets = len(self._tuning.confidence_edges) + 1
        self._pair = [[0.0, 0.0] for _ in range(buckets)]
        self._text = [[0.0, 0.0] for _ in range(buckets)]
        self._pair_typical = [0.0, 0.0]
        self._text_typical = [0.0, 0.0]

    def begin(self) -> None:
        """A new text begins; what the last one taught counts for little."""
        for counts in (*self._text, self._text_typical):
            counts[:] = [0.0, 0.0]

    def rate(self, confidence: float) -> float:
        """Probability that a token of this confidence is accepted, if it is judged."""
        tuning, bucket = self._tuning, self._bucket(confidence)
        pair = _mean(self._pair[bucket], confidence, tuning.prior_weight)
        return _mean(self._text[bucket], pair, tuning.text_weight)

    @property
    def overall(self) -> float | None:
        """Share of the judged tokens of this pair that were accepted; None without evidence."""
        accepted, judged = (sum(counts[i] for counts in self._pair) for i in (0, 1))
        return accepted / judged if judged >= 1.0 else None

    @property
    def typical(self) -> float:
        """Probability that the next token is accepted, before it is drafted."""
        tuning = self._tuning
        pair = _mean(self._pair_typical, tuning.first_guess, tuning.prior_weight)
        return _mean(self._text_typical, pair, tuning.text_weight)

    def drafted(self, confidence: float) -> None:
        """A token was drafted, whether or not it will be judged: counts for `typical`."""
        rate = self.rate(confidence)
        for counts, memory in self._both(self._pair_typical, self._text_typical):
            _count(counts, rate, memory)

    def observe(self, confidences: Sequence[float], accepted: int, rejected: bool) -> None:
        """The first `accepted` tokens of a draft were accepted; was the next one rejected?"""
        for index, confidence in enumerate(confidences[: accepted + rejected]):
            bucket = self._bucket(confidence)
            for counts, memory in self._both(self._pair[bucket], self._text[bucket]):
                _count(counts, float(index < accepted), memory)

    def fade(self, keep: float) -> None:
        """Trust what the present text has taught less: the text has moved on since."""
        for counts in (*self._text, self._text_typical):
            counts[0] *= keep
            counts[1] *= keep

    def _both(self, pair: list[float], text: list[float]) -> Sequence[tuple[list[float], float]]:
        return (pair, self._tuning.pair_memory), (text, self._tuning.text_memory)

    def _bucket(self, confidence: float) -> int:
        return bisect_right(self._tuning.confidence_edges, confidence)

    def as_dict(self) -> dict[str, Any]:
        """What is known of the pair, as JSON."""
        return {"buckets": self._pair, "typical": self._pair_typical}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], tuning: Tuning | None = None) -> Acceptance:
        """The inverse of `as_dict`; raises ValueError, KeyError or TypeError for anything else."""
        found = cls(tuning)
        if data:
            buckets = [_counts(pair) for pair in data["buckets"]]
            if len(buckets) != len(found._pair):
                raise ValueError("other confidence buckets")
            found._pair, found._pair_typical = buckets, _counts(data["typical"])
        return found


def _mean(counts: Sequence[float], prior: float, weight: float) -> float:
    """Share of successes in [successes, all], with a prior that weighs like `weight` more."""
    successes, total = counts
    return (successes + weight * prior) / (total + weight)


def _count(counts: list[float], success: float, memory: float) -> None:
    """Enter one token and forget a share of the others."""
    keep = 1.0 - 1.0 / memory
    counts[0] = counts[0] * keep + success
    counts[1] = counts[1] * keep + 1.0


def _counts(pair: Sequence[float]) -> list[float]:
    successes, total = map(float, pair)
    if not 0 <= successes <= total < 1e6:
        raise ValueError("counts that cannot be")
    return [successes, total]
