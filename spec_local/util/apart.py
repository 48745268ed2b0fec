"""Work in a thread of its own that is waited for, whatever interrupts the wait.

C code cannot be stopped by an exception, and what it works on must not be freed meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Generic, TypeVar

Result = TypeVar("Result")

_LONGEST_WAIT = 0.1
"""Seconds; on Windows a signal waits as long."""


class Apart(Generic[Result]):
    """The work, and who is told of interruptions."""

    def __init__(
        self,
        work: Callable[[], Result],
        name: str,
        interrupted: Callable[[BaseException], None],
    ) -> None:
        """name: of the thread. interrupted: told, in the thread that waits, and must not raise."""
        self._work, self._interrupted = work, interrupted
        self._future: Future[Result] = Future()
        self._begun = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        if not self._begun.acquire(blocking=False):
            return  # nobody waits for it
        try:
            self._future.set_result(self._work())
        except BaseException as error:
            self._future.set_exception(error)

    def start(self) -> None:
        """Begin; an interruption before that is raised, and then the work is never done.

        Raises RuntimeError and ValueError where there is no room for a thread or its stack.
        """
        try:
            self._thread.start()  # which waits for it, so that it may be interrupted after all
        except BaseException as error:
            if self._begun.acquire(blocking=False):
                raise
            self._interrupted(error)

    def result(self) -> Result:
        """What the work returned or raised, when it has ended."""
        wait_for(self._future, self._interrupted)
        return self._future.result()


def wait_for(
    future: Future[Result],
    interrupted: Callable[[BaseException], None],
    unless: Callable[[], bool] = lambda: False,
) -> None:
    """Until it is done, whatever interrupts that, or something else is true."""
    while not future.done() and not unless():
        try:
            wait([future], _LONGEST_WAIT)
        except BaseException as error:  # noqa: PERF203 - it is waited for again
            interrupted(error)
