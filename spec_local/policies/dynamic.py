"""exllamav3's dynamic draft length (`generator/generator.py` and `job.py`, release 1.4.1).

A moving average of the tokens accepted in a draft, rounded up, is the next draft's length: at least
1, at most `num_draft_tokens`, which is 4 unless the draft model asks for another. A draft that was
accepted whole counts one token more than it had, since it could have had more. The average moves
by 1.30 of the difference upwards, so beyond what was seen, and by 0.65 downwards. Under 0.3 nothing
is drafted, but for a probe of up to 2 tokens in every sixteenth round. All these are its defaults;
the policy itself is off there unless `dynamic_draft_tokens` is set. Every generation begins anew,
with the longest draft.
"""

from __future__ import annotations

import math

from spec_local.errors import require
from spec_local.policies.policy import Policy

_UP, _DOWN = 1.30, 0.65
"""Weight of the last draft, where it raises the average and where it lowers it."""
_TOO_FEW = 0.3
"""Average under which nothing is drafted."""
_PROBE_EVERY, _PROBE = 16, 2
"""After so many rounds without a draft, one of so many tokens."""


class Dynamic(Policy):
    """Decides on how many tokens of the last drafts were accepted."""

    def __init__(self, most: float = 4) -> None:
        """most: tokens of a draft."""
        require(
            most >= 1 and most % 1 == 0,
            f"dynamic {most:g}: the longest draft must be a whole number from 1.",
        )
        self._most = int(most)
        self.begin()

    def begin(self) -> None:
        self._average: float | None = None
        self._without = 0

    def start(self) -> int:
        if self._average is None:
            return self._most
        if self._average >= _TOO_FEW:
            self._without = 0
            return max(1, min(self._most, math.ceil(self._average)))
        self._without += 1
        if self._without < _PROBE_EVERY:
            return 0
        self._without = 0
        return min(_PROBE, self._most)

    def judged(self, confidences: tuple[float, ...], right: int) -> None:
        found = right + 1 if right == len(confidences) else right
        if self._average is None:
            self._average = float(found)
            return
        weight = _UP if found > self._average else _DOWN
        self._average = weight * found + (1 - weight) * self._average
