"""llama.cpp's own: a draft ends before the first token that is not probable enough.

`common/speculative.cpp` drafts the most probable token, again and again, until its probability is
below p_min or n_max tokens are there. Its defaults were n_max 16, n_min 0 and p_min 0.75
(`--draft-max`, `--draft-min`, `--draft-p-min`) until they became 3, 0 and 0.0 in 2026, which is a
fixed k. Taken here are those of old, by which the policy is known.

Two things differ. llama.cpp takes the probability among the ten most probable tokens; here it is
the confidence that every drafter has to give. And a draft of fewer than n_min tokens is thrown away
there; at 0 there is none, and it would be biased under the rules that need the draft's
distributions.
"""

from __future__ import annotations

from spec_local.errors import require
from spec_local.policies.policy import Policy


class PMin(Policy):
    """Decides on the confidence of each token."""

    def __init__(self, p_min: float = 0.75, most: int = 16) -> None:
        """p_min: in [0, 1]; most: tokens of a draft."""
        require(0 <= p_min <= 1, f"p-min {p_min:g}: the least probability must be from 0 to 1.")
        self._p_min, self._most = p_min, most

    def start(self) -> int:
        return self._most

    def take(self, confidence: float) -> bool:
        return confidence >= self._p_min
