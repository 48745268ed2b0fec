"""What a draft model has read of the context: all of it, or its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from spec_local.engine.types import EvaluationSession
from spec_local.errors import EngineError
from spec_local.util.prefix import common_prefix

logger = logging.getLogger("spec_local.drafters.cache")

FAILURES = (EngineError, MemoryError)
"""What a draft model may fail of, while the target need not."""


class DraftCache:
    """A draft model's session, and where in the context its first token stands."""

    def __init__(self, session: EvaluationSession) -> None:
        self.session = session
        self.start = 0
        """Tokens of the context before the first one that was read; 0: none was left out."""
        self.capacity = session.n_ctx
        """Tokens of a context that fit. A draft may spell them longer than the target, so it is
        halved when they turn out not to."""
        self.tree: Callable[[Sequence[int]], Sequence[int]] | None = None
        """Of a tree that the session holds: which of its nodes a context goes through."""
        self.failed = False
        """Whether the model has failed; nothing is asked of it any more."""

    def behind(self, context: Sequence[int], start: int) -> int:
        """How many tokens are still to be read, to have read everything from `start` on."""
        held = len(self.session.tokens) if start == self.start else 0
        return len(context) - start - held

    def room(self, context: Sequence[int]) -> int:
        """Tokens that can be drafted; the last one of them is not evaluated. Below 1: none."""
        return self.session.n_ctx - (len(context) - self.start) + 1

    def move(self, start: int) -> None:
        """What is read begins there; forget everything, if it did not."""
        if start != self.start:
            self._forget()
            self.start = start

    def _forget(self) -> None:
        self.tree = None
        self.session.truncate(0)

    def overflow(self) -> None:
        """What was to be read did not fit, so begin anew with less of it."""
        if self.start == 0:
            self.capacity = max(1, self.capacity // 2)
        self._forget()
        self.start = 0

    def follow(self, context: Sequence[int]) -> None:
        """Keep what another context has in common with the one that was read.

        What comes before `start` was not read, so it may differ.
        """
        self.tree = None
        with self.surviving():
            if not self.failed and self.session.sync(context[self.start :]) == 0:
                self.start = 0

    def keep_before(self, context: Sequence[int], new: int = 0) -> None:
        """Drop the context's last token, should it be there, and what was drafted and is wrong.

        new: so many of its last tokens may be others than were drafted here.
        """
        tree, self.tree = self.tree, None
        with self.surviving():
            if not self.failed:
                if tree is not None:
                    self.session.keep(tree(context))
                kept = max(0, len(context) - 1 - self.start)
                if new:
                    sure = max(0, kept + 1 - new)
                    written = context[self.start + sure : self.start + kept]
                    kept = sure + common_prefix(self.session.tokens[sure:kept], written)
                self.session.truncate(kept)

    @contextmanager
    def surviving(self) -> Iterator[None]:
        """Should the model fail in this block, that is said and no error."""
        try:
            yield
        except FAILURES as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """The model did, which is said; the target goes on without it."""
        self.failed = True
        logger.warning("note: the draft model failed and drafts no more: %s", error)
