"""How often a drafter is right, given how sure it says it is: calibration, learned from verdicts.

A drafter reports a confidence in [0, 1] for each token it drafts: a model the probability it gave
the token, a lookup how long the match is. Whether 0.9 means nine in ten depends on the pair and on
the text, so accepted and rejected tokens are counted per confidence bucket (Beta counts), in two
memories: a long one of the pair, kept in the profile, and a short one of the present text. A token
after the first rejected one was never judged: it is censored, not rejected.

The estimate of a bucket is a mean shrunk twice (the posterior mean under a Beta prior, whose mean
is the level above): what the pair has shown is shrunk to the confidence c, what the text has shown
to that. With s accepted of n judged tokens and weights w (`Trust`),

    a_pair = (s_pair + w_confidence c) / (n_pair + w_confidence)
    a      = (s_text + w_pair a_pair) / (n_text + w_pair)

A draft model that has not drafted yet, not even read the prompt, can be judged too: where the
target is sure, so is the draft, and right. How the draft's confidence goes with the target's
certainty is counted as well, so plain decoding shows how the draft would do with this text.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spec_local.control.constants import Tuning


class Acceptance:
    """Calibrated acceptance of one drafter."""

    def __init__(self, tuning: Tuning | None = None, drawn: bool = False) -> None:
        """drawn: the confidences are the probabilities with which a model drew the tokens."""
        self._tuning = tuning or Tuning()
        self._trust = self._tuning.drawn if drawn else self._tuning.looked_up
        buckets = len(self._tuning.confidence_edges) + 1
        self._pair = [[0.0, 0.0] for _ in range(buckets)]
        self._text = [[0.0, 0.0] for _ in range(buckets)]
        self._pair_drafted = [0.0] * buckets
        self._text_drafted = [0.0] * buckets
        self._alike = [[0.0] * buckets for _ in range(buckets)]
        """By bucket of the target's certainty, how often the draft's confidence was in each."""
        self._first, self._near = _first_guesses(
            self._tuning.first_shares, self._tuning.first_distance
        )
        edges = (0.0, *self._tuning.confidence_edges, 1.0)
        self._middles = [(low + high) / 2 for low, high in pairwise(edges)]
        self._left = 1.0
        """What is left of the text's verdicts and has not been taken off them yet: they fade in
        every round, and are added to in few."""
        self._shares: NDArray[np.float64] | None = None
        self._rates: NDArray[np.float64] | None = None
        """What the properties of these names have answered, until counts change."""

    def begin(self) -> None:
        """A new text begins; what the last one taught counts for little."""
        self.fade(0.0)

    def rate(self, confidence: float) -> float:
        """Probability that a token of this confidence is accepted, if it is judged."""
        bucket, weight = self._bucket(confidence), self._trust.confidence_weight
        accepted, judged = self._pair[bucket]
        a_pair = (accepted + weight * confidence) / (judged + weight)
        accepted, judged = self._text[bucket]
        weight, left = self._trust.pair_weight, self._left
        return (left * accepted + weight * a_pair) / (left * judged + weight)

    @property
    def judged(self) -> tuple[float, float]:
        """How many of this pair's tokens were accepted, and how many judged."""
        accepted, judged = (sum(counts[i] for counts in self._pair) for i in (0, 1))
        return accepted, judged

    @property
    def familiarity(self) -> float:
        """From 0 to 1: of what is believed of the pair, how much it has shown itself."""
        _accepted, judged = self.judged
        return judged / (judged + self._tuning.unfamiliar)

    @property
    def shares(self) -> NDArray[np.float64]:
        """How often a drafted token falls into each confidence bucket; sums to 1."""
        if self._shares is None:
            tuning = self._tuning
            pair = _shrunk_shares(self._pair_drafted, self._first, tuning.first_weight)
            text = _shrunk_shares(self._text_drafted, pair, tuning.shares_weight)
            self._shares = np.array(text)
        return self._shares

    @property
    def rates(self) -> NDArray[np.float64]:
        """The acceptance of each confidence bucket."""
        if self._rates is None:
            self._rates = np.array([self.rate(middle) for middle in self._middles])
        return self._rates

    @property
    def typical(self) -> float:
        """Probability that the next token is accepted, before it is drafted."""
        return float(self.shares @ self.rates)

    def drafted(self, confidence: float) -> None:
        """A token was drafted, whether or not it will be judged: counts for `shares`."""
        bucket = self._bucket(confidence)
        for counts, memory in self._both(self._pair_drafted, self._text_drafted):
            _add_one(counts, bucket, memory)
        self._shares = None

    def foresee(self, certainty: float) -> None:
        """The target was so sure of a token: counts like one that would have been drafted there."""
        _add_shares(self._text_drafted, self._confidences(certainty), self._tuning.text_memory)
        self._shares = None

    def relate(self, certainty: float, confidence: float) -> None:
        """Target and draft were so sure of the same token."""
        alike = self._alike[self._bucket(certainty)]
        _add_one(alike, self._bucket(confidence), self._tuning.pair_memory)

    def _confidences(self, certainty: float) -> list[float]:
        """How likely the draft's confidence is in each bucket, given the target's certainty."""
        bucket = self._bucket(certainty)
        return _shrunk_shares(self._alike[bucket], self._near[bucket], self._tuning.first_weight)

    def observe(self, right: Sequence[float], wrong: Sequence[float]) -> None:
        """Tokens of these confidences were judged."""
        if (right or wrong) and self._left < 1.0:
            self._text = [[self._left * count for count in counts] for counts in self._text]
            self._left = 1.0
        for confidences, success in ((right, 1.0), (wrong, 0.0)):
            for confidence in confidences:
                bucket = self._bucket(confidence)
                for counts, memory in self._both(self._pair[bucket], self._text[bucket]):
                    _add_verdict(counts, success, memory)
                self._rates = None

    def fade(self, keep: float) -> None:
        """Trust what the present text has taught less: the text has moved on since."""
        self._left *= keep
        self._text_drafted = [keep * count for count in self._text_drafted]
        self._shares = self._rates = None

    def _both(self, pair: list[float], text: list[float]) -> Sequence[tuple[list[float], float]]:
        return (pair, self._tuning.pair_memory), (text, self._tuning.text_memory)

    def _bucket(self, confidence: float) -> int:
        return bisect_right(self._tuning.confidence_edges, confidence)

    def as_dict(self) -> dict[str, Any]:
        """What is known of the pair, as JSON."""
        return {"buckets": self._pair, "drafted": self._pair_drafted, "alike": self._alike}

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], tuning: Tuning | None = None, drawn: bool = False
    ) -> Acceptance:
        """The inverse of `as_dict`; raises ValueError, KeyError or TypeError for anything else."""
        found = cls(tuning, drawn)
        if data:
            buckets = [_checked(pair) for pair in data["buckets"]]
            drafted, *alike = [
                [_checked((0.0, count))[1] for count in counts]
                for counts in (data["drafted"], *data["alike"])
            ]
            if not {len(buckets), len(alike), *map(len, (drafted, *alike))} == {len(found._pair)}:
                raise ValueError("other confidence buckets")
            found._pair, found._pair_drafted, found._alike = buckets, drafted, alike
        return found


def overall(known: Collection[Acceptance]) -> float | None:
    """Share of the judged tokens that were accepted; None without evidence."""
    accepted, judged = np.sum([each.judged for each in known], axis=0) if known else (0.0, 0.0)
    return float(accepted / judged) if judged >= 1.0 else None


@cache
def _first_guesses(
    shares: tuple[float, ...], distance: float
) -> tuple[list[float], list[list[float]]]:
    """`Tuning.first_shares` to the sum 1; the same by bucket of the certainty, so far from it."""
    guess, places = np.array(shares), np.arange(len(shares))
    near = [guess * np.exp(-np.abs(places - place) / distance) for place in places]
    return (guess / guess.sum()).tolist(), [(each / each.sum()).tolist() for each in near]


# Lists, not arrays, where there are eight numbers: numpy takes as long to begin as they take.


def _shrunk_shares(counts: Sequence[float], prior: Sequence[float], weight: float) -> list[float]:
    """Shares of counts, with a prior that weighs like `weight` more of them."""
    total = sum(counts) + weight
    return [(count + weight * p) / total for count, p in zip(counts, prior, strict=True)]


def _add_verdict(counts: list[float], success: float, memory: float) -> None:
    """Enter one token and forget a share of the others."""
    keep = 1.0 - 1.0 / memory
    counts[0] = counts[0] * keep + success
    counts[1] = counts[1] * keep + 1.0


def _add_one(counts: list[float], bucket: int, memory: float) -> None:
    """Enter one token and forget a share of the others."""
    keep = 1.0 - 1.0 / memory
    counts[:] = [count * keep for count in counts]
    counts[bucket] += 1.0


def _add_shares(counts: list[float], shares: Sequence[float], memory: float) -> None:
    """Enter one token that is shared out, and forget a share of the others."""
    keep = 1.0 - 1.0 / memory
    counts[:] = [count * keep + share for count, share in zip(counts, shares, strict=True)]


def _checked(pair: Sequence[float]) -> list[float]:
    successes, total = map(float, pair)
    if not 0 <= successes <= total < 1e6:
        raise ValueError("counts that cannot be")
    return [successes, total]
