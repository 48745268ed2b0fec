"""The budget of a pair: what speculation has saved, and how much of it may be put at risk.

Time saved against plain decoding is paid in, time lost is taken out, in units of one plain token.
No round may cost more than there is (conservative bandits, Wu et al., arXiv 1602.04282). An answer
begins with one allowance A, taken from what all before have left together, and earns more; if they
left less, with that, but never less than a small part a, so that bad luck ends. So however wrong
the estimates of acceptance are, an answer of n tokens loses at most A + p n, with p the share of
its tokens that is given to it, and m answers together at most

    lost <= A + m a + p n     more only after it was earned

Outside the budget: the draft model's reading of the prompt (`controller.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf, log

from spec_local.control.constants import Tuning


class Budget:
    """Starts with the allowance."""

    def __init__(self, tuning: Tuning) -> None:
        self._tuning = tuning
        self.credit = tuning.allowance
        """What the present answer may put at risk."""
        self.saved = 0.0
        """What earlier answers have left beyond that."""

    @property
    def total(self) -> float:
        """What answers to come may begin with, one allowance each."""
        return min(self.saved + self.credit, self._tuning.most_saved)

    def resume(self, total: float) -> None:
        """Go on from what `total` was."""
        self.saved = total - self.credit

    def begin(self) -> None:
        """An answer begins."""
        total = max(self.total, self._tuning.least_allowance)
        self.credit = min(total, self._tuning.allowance)
        self.saved = total - self.credit

    def settle(self, tokens: int, saved: float) -> None:
        """A round emitted so many tokens and saved so much, or lost it if that is negative."""
        allowance = self._tuning.allowance_per_token * tokens
        self.credit = min(self.credit + saved + allowance, self._tuning.most_saved)

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
