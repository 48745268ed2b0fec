"""Assisted generation, as in Hugging Face's transformers (`generation/candidate_generator.py`).

There the draft's length follows what became of the last one: 2 tokens more if all of it was right,
1 fewer if not (`num_assistant_tokens_schedule="heuristic"`, which outlives a generation). And a
draft ends after a token of which the assistant was less sure than 0.4
(`assistant_confidence_threshold`); that token is verified like the others.

Before release 4.45 this schedule was the default, from 5 tokens on and without a threshold. Since
then `num_assistant_tokens` is 20 and the default schedule "constant", so that the threshold does
the work (pull requests 33258 and 33657; the same in 5.5). Here the schedule is "heuristic", from 20
tokens on, with the threshold. Where scikit-learn is installed, transformers also moves the
threshold, along a ROC curve; here it stays.
"""

from __future__ import annotations

from spec_local.errors import require
from spec_local.policies.policy import Policy


class Assisted(Policy):
    """Decides on what became of the last draft, and on the last token's confidence."""

    def __init__(self, tokens: float = 20, threshold: float = 0.4) -> None:
        """tokens: `num_assistant_tokens` of the first draft; threshold: in [0, 1]."""
        require(
            tokens >= 1 and tokens % 1 == 0,
            f"assisted {tokens:g}: the first draft's length must be a whole number from 1.",
        )
        self._tokens = int(tokens)
        self._threshold = threshold
        self._sure = True

    def start(self) -> int:
        self._sure = True
        return self._tokens

    def more(self) -> bool:
        return self._sure

    def take(self, confidence: float) -> bool:
        self._sure = confidence >= self._threshold
        return True

    def judged(self, confidences: tuple[float, ...], right: int) -> None:
        self._tokens = self._tokens + 2 if right == len(confidences) else max(1, self._tokens - 1)
