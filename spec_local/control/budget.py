"""The budget of a pair: what speculation has saved, and how much of it may be put at risk.

Time saved against plain decoding is paid in, time lost is taken out, in units of one plain token.
No round may cost more than there is (conservative bandits, Wu et al., arXiv 1602.04282). A pair
begins with something to learn from, F. Every answer has a credit of its own: an allowance A at
first, taken from what all before have left together, then what it earns, and, while it is below
the allowance, a flow from what else is left, f in all. If all that is left is less than a small
part a of the allowance, it is made that much, so that bad luck ends; and a share p of the tokens
written is given. So however wrong the estimates of acceptance are, an answer of n tokens loses at
most A + f + p n, and m answers at most

    lost <= F + A + m a + p n     more only after it was earned

The draft model's reading of a prompt is an investment that few answers could bear alone: what is
left of earlier ones pays for it, and only then the credit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf, log

from spec_local.control.constants import Tuning


class Budget:
    """Starts with the allowance, and with what a new pair is given to learn from."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self.allowance = tuning.allowance
        """A: below it, what else is left flows to the present answer."""
        self.credit = tuning.allowance
        """What the present answer may put at risk."""
        self.saved = tuning.first_saved
        """What earlier answers have left beyond that."""
        self._to_flow = tuning.most_flow
        """How much of it the present answer may yet get while it is below the allowance."""

    @property
    def total(self) -> float:
        """What answers to come may begin with, one allowance each."""
        return min(self.saved + self.credit, self._tuning.most_saved)

    def resume(self, total: float) -> None:
        """Go on from what `total` was."""
        self.saved = total - self.credit

    def begin(self, price: float = 0.0) -> None:
        """An answer begins; price: what a round takes beyond a plain one that must be bearable.

        A = max(allowance, price / stake), at most `most_allowance`. What of it is beyond the
        allowance comes with the tokens written, as a short answer cannot lose so much.
        """
        tuning = self._tuning
        self.allowance = min(max(tuning.allowance, price / tuning.stake), tuning.most_allowance)
        total = max(self.total, tuning.least_allowance)
        self.credit = min(total, tuning.allowance)
        self.saved = total - self.credit
        self._to_flow = tuning.most_flow + self.allowance - tuning.allowance

    def settle(self, tokens: int, saved: float) -> None:
        """A round emitted so many tokens and saved so much, or lost it if that is negative."""
        allowance = self._tuning.allowance_per_token * tokens
        self.credit = min(self.credit + saved + allowance, self._tuning.most_saved)
        if self.credit < self.allowance:
            flow = min(self.saved, self._tuning.flow_per_token * tokens, self._to_flow)
            self._to_flow -= flow
            self.saved -= flow
            self.credit += flow

    def affords(self, price: float) -> bool:
        """Whether the draft model may read the prompt at such a price."""
        return price <= self.saved + self._tuning.stake * self.credit

    def earned(self, price: float) -> bool:
        """Whether so much is left of what earlier answers have earned, not of what was given."""
        return price <= self.saved - self._tuning.first_saved

    def invest(self, price: float) -> None:
        """The draft model has read the prompt."""
        paid = min(price, self.saved)
        self.saved -= paid
        self.credit -= price - paid

    def bears(self, price: float) -> bool:
        """Whether a round may take so much beyond a plain one."""
        return price <= self._tuning.stake * self.credit

    def risk(self, price: float, survivals: Sequence[float]) -> float:
        """What is to be taken off the gain of a round because it may fail.

        After Kelly's criterion (Bell System Technical Journal 35, 1956) the logarithm of the credit
        c is what should not shrink: a loss of x hurts like -c log(1 - x / c), and the risk is what
        that is beyond x, in the mean, `aversion` times. It is little while the budget is large,
        and infinite beyond a share of it; so losses make drafts shorter and rarer, not impossible.

        price: what the round takes beyond a plain one. survivals: probabilities that at least 1,
        2 … drafted tokens are accepted.
        """
        if not self.bears(price):
            return inf
        risk = 0.0
        for accepted, (reached, passed) in enumerate(pairwise((1.0, *survivals, 0.0))):
            saved = accepted - price
            if saved >= 0:
                break
            risk += (reached - passed) * (saved - self.credit * log(1.0 + saved / self.credit))
        return self._tuning.aversion * risk

    def is_worth(self, price: float, survivals: Sequence[float]) -> bool:
        """Whether such a round is worth more than a plain one, its risk taken off."""
        gain = sum(survivals) - price
        return gain > 0 and gain > self.risk(price, survivals)  # no risk is below 0
