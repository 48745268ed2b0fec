"""How far a draft model goes in one round: decided anew after every token it drafts.

Early stopping by the draft's own confidence, as in llama.cpp's `p_min`, but with a price: a token
is worth drafting if some longer draft is worth more than what it costs, by the measured curve. So a
draft also goes on to the end of a plateau, where more tokens cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spec_local.acceptance import Acceptance


@dataclass(slots=True)
class DraftPace:
    """Decides, while a model drafts, after every token: is it part of the draft, and go on?

    Both answers depend on the tokens before and the distribution at hand alone, never on a later
    token: a token that is taken stays. Every verification rule stays lossless with that.
    """

    acceptance: Acceptance
    row: Sequence[float]
    """V(w) in seconds for every width w."""
    step: float
    """Seconds of one more drafted token."""
    rate: float
    """Tokens per second: what a second is worth."""
    limit: int
    """Most tokens that may be drafted."""
    probe: bool = False
    """Draft them all, so that it shows what the drafter is worth."""
    taken: int = 0
    survival: float = 1.0
    expected: float = 0.0

    def more(self) -> bool:
        """Whether to draft another token."""
        if self.probe or self.taken == self.limit:
            return self.taken < self.limit
        longer = self._best_extension(self.taken, self.survival, self.expected)
        return longer > self._submitted(self.taken, self.expected)

    def take(self, confidence: float) -> bool:
        """Whether the token just drafted is to be verified; if not, the draft ends before it."""
        self.acceptance.drafted(confidence)
        survival = self.survival * self.acceptance.rate(confidence)
        expected = self.expected + survival
        with_it = max(
            self._submitted(self.taken + 1, expected),
            self._best_extension(self.taken + 1, survival, expected),
        )
        if with_it <= self._submitted(self.taken, self.expected) and not self.probe:
            return False
        self.taken, self.survival, self.expected = self.taken + 1, survival, expected
        return True

    def _submitted(self, taken: int, expected: float) -> float:
        return expected - self.rate * self.row[taken + 1]

    def _best_extension(self, taken: int, survival: float, expected: float) -> float:
        """Value of the best longer draft, if tokens to come are as good as they typically are."""
        best, typical, drafting = float("-inf"), self.acceptance.typical, 0.0
        for length in range(taken + 1, self.limit + 1):
            survival *= typical
            expected += survival
            drafting += self.step
            best = max(best, expected - self.rate * (self.row[length + 1] + drafting))
        return best
