"""Drafting with what reads the target's hidden states: its own layers, or a head trained for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.pard import PardDrafter
from spec_local.engine.draft import NO_DRAFT, Draft
from spec_local.engine.types import EvaluationSession, Pace


class HeadSession(EvaluationSession, Protocol):
    """What reads them, as `llama/mtp.py` makes a session of it."""

    @property
    def readable_from(self) -> int:
        """First position of the text that it can begin to read at."""

    @property
    def most_drafted(self) -> int | None:
        """Tokens of a draft at most; None: any number."""

    def close(self) -> None:
        """Free it."""


class HeadDrafter(ModelDrafter):
    """Draws every drafted token from such a session, which is closed with the drafter.

    It reads what the target has read, by its hidden states, of which only the last are kept
    (`llama/hidden.py`); so of a long text it reads the end. Nothing is evaluated before a draft is
    asked for. A drafted token that was accepted is read again, by the hidden state that the target
    then has, in one evaluation with the others that were accepted.
    """

    name = "head"

    @property
    def _heads(self) -> HeadSession:
        return cast(HeadSession, self.cache.session)

    def behind(self, context: Sequence[int]) -> int:
        return max(0, super().behind(context))

    def _start(self, context: Sequence[int]) -> int:
        """Where it has begun to read, unless there is a gap now; else as early as it can."""
        begin, held = self._heads.readable_from, self._heads.tokens
        goes_on = held and self.cache.start + len(held) >= begin
        return self.cache.start if goes_on else begin

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        most = self._heads.most_drafted
        budget = budget if most is None else min(budget, most)
        return super().propose(context, budget, pace) if self.behind(context) else NO_DRAFT

    def close(self) -> None:
        super().close()
        self._heads.close()


class MtpDrafter(HeadDrafter):
    """With the target's own multi-token prediction layers."""

    name = "mtp"


class EagleDrafter(HeadDrafter):
    """With an EAGLE-3 head."""

    name = "eagle3"


class DflashDrafter(HeadDrafter, PardDrafter):
    """With a DFlash or DSpark head, which drafts a block of tokens by one evaluation."""

    name = "dflash"
