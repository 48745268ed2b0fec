"""Drafting with a model that has read only the end of a long context.

Reading is what a draft model costs most where the prompt is long and the answer short. The last
tokens serve nearly as well, unless there is a document to quote: Qwen2.5-Coder 0.5B agreed with
1.5B on 0.89 of the tokens of a function from all 58 tokens of the prompt and on 0.88 from the last
32, but on 0.98 of an edit from 299 and 0.88 from 128 (128 tokens of answer each).

To the controller this is another drafter, with an acceptance of its own, so that it learns for each
pair what is lost, and reads everything where that pays.
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.drafters.model import ModelDrafter
from spec_local.engine.types import NO_DRAFT, Draft, Pace

WINDOW = 128
"""Tokens of the context's end that are read at first; the window grows with the answer."""

_WORTH_IT = 2
"""How many windows must be missing, or else everything is read: that costs hardly more."""


class WindowDrafter(ModelDrafter):
    """Drafts with the model of another drafter, which reads everything; both share a cache.

    When the window has grown to the model's context, it begins anew at the end of the text.
    """

    name = "window"

    def __init__(self, whole: ModelDrafter, width: int = WINDOW) -> None:
        """width: tokens that are read at first."""
        super().__init__(whole.cache.session, whole.n_vocab, whole.is_end)
        self.cache = whole.cache
        self._width = min(width, self.cache.capacity // 2)

    def behind(self, context: Sequence[int]) -> int:
        everything = super()._start(context)
        spared = len(self.cache.missing(context, everything)) > _WORTH_IT * self._width
        if self._in_use(context) or everything > 0 or spared:
            return len(self.cache.missing(context, self._start(context)))
        return 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        return super().propose(context, budget, pace) if self.behind(context) else NO_DRAFT

    def _start(self, context: Sequence[int]) -> int:
        return self.cache.start if self._in_use(context) else len(context) - self._width

    def _in_use(self, context: Sequence[int]) -> bool:
        """Whether there is a window with room for at least one drafted token."""
        return self.cache.start > 0 and self.cache.room(context) >= 1
