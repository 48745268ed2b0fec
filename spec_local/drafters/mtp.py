"""Drafting with the target's own multi-token prediction layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from spec_local.drafters.model import ModelDrafter
from spec_local.engine.draft import NO_DRAFT, Draft
from spec_local.engine.types import EvaluationSession, Pace


class HeadSession(EvaluationSession, Protocol):
    """The layers, as `llama/mtp.py` makes a session of them."""

    @property
    def readable_from(self) -> int:
        """First position of the text that they can begin to read at."""

    def close(self) -> None:
        """Free them."""


class MtpDrafter(ModelDrafter):
    """Draws every drafted token from the layers, as `ModelDrafter` does from a draft model.

    They read what the target has read, by its hidden states, of which only the last are kept
    (`llama/hidden.py`); so of a long text they read the end. Nothing is evaluated before a draft is
    asked for. A drafted token that was accepted is read again, by the hidden state that the target
    then has: one layer, in one evaluation with the others that were accepted.
    """

    name = "mtp"

    def __init__(
        self,
        heads: HeadSession,
        n_vocab: int | None = None,
        is_end: Callable[[int], bool] = lambda _token: False,
    ) -> None:
        """The session is closed with the drafter; the rest is as for `ModelDrafter`."""
        super().__init__(heads, n_vocab, is_end)
        self._heads = heads

    def behind(self, context: Sequence[int]) -> int:
        return max(0, super().behind(context))

    def _start(self, context: Sequence[int]) -> int:
        """Where they have begun to read, unless there is a gap now; else as early as they can."""
        begin, held = self._heads.readable_from, self._heads.tokens
        goes_on = held and self.cache.start + len(held) >= begin
        return self.cache.start if goes_on else begin

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        return super().propose(context, budget, pace) if self.behind(context) else NO_DRAFT

    def close(self) -> None:
        super().close()
        self._heads.close()


class EagleDrafter(MtpDrafter):
    """The same with an EAGLE-3 head, which is trained for a target and in a file of its own."""

    name = "eagle3"
