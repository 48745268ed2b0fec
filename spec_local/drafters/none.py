"""Plain decoding: the drafter that never drafts."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.types import Pace
from spec_local.sampling.types import Sampler


class NoDrafter:
    """Proposes nothing, so every round is one token of plain decoding."""

    name = "none"

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        pass

    def behind(self, context: Sequence[int]) -> int:
        return 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        return NO_DRAFT

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        pass

    def end(self, context: Sequence[int]) -> None:
        pass

    def close(self) -> None:
        pass
