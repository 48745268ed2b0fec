"""What drafters that are made of others have in common: all are told everything."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.engine.draft import Outcome
from spec_local.engine.types import Drafter
from spec_local.sampling.types import Sampler


class Several:
    """Tells each of the drafters what happens; how they draft together is a subclass's affair."""

    def __init__(self, drafters: Sequence[Drafter], name: str) -> None:
        self._drafters, self.name = tuple(drafters), name

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        for drafter in self._drafters:
            drafter.begin(context, sampler)

    def behind(self, context: Sequence[int]) -> int:
        return max(drafter.behind(context) for drafter in self._drafters)

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        for drafter in self._drafters:
            drafter.observe(context, outcome)

    def end(self, context: Sequence[int]) -> None:
        for drafter in self._drafters:
            drafter.end(context)

    def close(self) -> None:
        for drafter in self._drafters:
            drafter.close()
