"""Drafting with a model that has read only the end of a long context.

Reading is what a draft model costs most where the prompt is long and the answer short. The last
tokens serve nearly as well: in a conversation of about 1,150 tokens Qwen2.5-Coder 0.5B agreed with
1.5B on 0.84 of the answers' tokens from the last 128, and on 0.87 from all. What it loses is the
document that an answer quotes from further above (0.71 and 0.98): docs/controller.md.

To the controller this is another drafter, with an acceptance of its own, so that it learns for each
pair what is lost, and reads everything where that pays.
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.drafters.model import ModelDrafter
from spec_local.engine.draft import NO_DRAFT, Draft
from spec_local.engine.types import Pace

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
        super().__init__(whole.cache.session, whole.n_vocab, whole.is_end, whole.words)
        self.cache = whole.cache
        self._width = min(width, self.cache.capacity // 2)

    def behind(self, context: Sequence[int]) -> int:
        everything = super()._start(context)
        spared = self.cache.behind(context, everything) > _WORTH_IT * self._width
        if self._in_use(context) or everything > 0 or spared:
            return super().behind(context)
        return 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        return super().propose(context, budget, pace) if self.behind(context) else NO_DRAFT

    def _start(self, context: Sequence[int]) -> int:
        return self.cache.start if self._in_use(context) else len(context) - self._width

    def _in_use(self, context: Sequence[int]) -> bool:
        """Whether there is a window with room for at least one drafted token."""
        return self.cache.start > 0 and self.cache.room(context) >= 1
