"""A context, and the runners on it: the server's, and those with drafters that requests name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from spec_local.drafters import looks_up
from spec_local.engine.logprobs import TokenLogprobs
from spec_local.engine.scoring import score
from spec_local.engine.types import Drafter, EvaluationSession
from spec_local.serve.parameters import Speculative
from spec_local.serve.serving import Serving
from spec_local.util.awaiting import in_thread

_Found = TypeVar("_Found")

_KEPT = 2
"""Runners with drafters of their own that are kept for the next request that asks for the same."""

Redraft = Callable[[str | None, int | None], Serving]
"""Makes a runner on the same context with that drafter, None being the server's own, and k."""


class Slot:
    """One context, in which one request at a time is answered."""

    def __init__(
        self,
        runner: Serving,
        drafter: str | Drafter,
        session: EvaluationSession,
        redraft: Redraft,
        recall: Callable[[Sequence[int]], None] = lambda _prompt: None,
    ) -> None:
        """runner: drafts as the server was told to, by `drafter`; it is closed with the slot.

        session: in which it evaluates. recall: lets it hold what saves most reading of a prompt.
        """
        self.runner, self._drafter, self.recall = runner, drafter, recall
        self._session, self._redraft = session, redraft
        self._others: dict[tuple[str | None, int | None], Serving] = {}
        self._worker = ThreadPoolExecutor(1, "spec-local-slot")

    @property
    def tokens(self) -> Sequence[int]:
        """What the cache holds."""
        return self._session.tokens

    def drafting(self, drafter: str | None, k: int | None) -> Serving:
        """A runner with that drafter, None being the server's own, and k. Its text is the same.

        Raises ConfigError for a drafter that cannot run here.
        """
        if drafter is None and k is None:
            return self.runner
        other = self._others.pop((drafter, k), None) or self._redraft(drafter, k)
        self._others[drafter, k] = other
        while len(self._others) > _KEPT:
            self._others.pop(next(iter(self._others))).close()
        return other

    def looks_up(self, wanted: Speculative | None) -> bool:
        """Whether whoever drafts has a use for a prediction; else it need not be told of one."""
        named = None if wanted is None else wanted.who
        return looks_up(named or self._drafter)

    async def prepared(self, work: Callable[[], _Found]) -> _Found:
        """What the work returns, done beside the event loop; it is waited for in any case."""
        return await in_thread(self._worker, work, lambda: None)

    async def scored(
        self, tokens: Sequence[int], n: int, given_up: threading.Event
    ) -> tuple[TokenLogprobs, ...]:
        """Log-probabilities of every token after the first, and the n best.

        Fewer when it is given up, or cancelled, after a block.
        """

        def work() -> tuple[TokenLogprobs, ...]:
            found = list[TokenLogprobs]()
            for each in score(self._session, tokens, n):
                found.append(each)
                if given_up.is_set():
                    break
            return tuple(found)

        return await in_thread(self._worker, work, given_up.set)

    def close(self) -> None:
        """Free everything."""
        self._worker.shutdown()
        for runner in (*self._others.values(), self.runner):
            runner.close()
