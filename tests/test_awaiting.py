"""Work in a thread that an event loop waits for: results, errors, cancelling."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from spec_local.util.awaiting import in_daemon, in_thread

SECONDS = 10.0
"""Longest wait for what must happen."""


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as worker:
        yield worker


def nothing() -> None:
    pass


def test_a_result_and_an_error_arrive_and_the_loop_is_free(worker: ThreadPoolExecutor) -> None:
    begun, go = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        assert go.wait(SECONDS)  # set by the loop, which must not wait for this
        return threading.get_ident()

    async def main() -> None:
        task = asyncio.create_task(in_thread(worker, work, nothing))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        go.set()
        assert await task != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await in_thread(worker, lambda: 1 // 0, nothing)

    asyncio.run(main())


def test_work_that_runs_is_abandoned_and_waited_for(worker: ThreadPoolExecutor) -> None:
    begun, abandoned, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert abandoned.wait(SECONDS)
        ended.set()
        raise ValueError  # nobody asks for it any more

    async def main() -> None:
        task = asyncio.create_task(in_thread(worker, work, abandoned.set))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()

    asyncio.run(main())


def test_work_that_waits_for_its_turn_is_never_begun(worker: ThreadPoolExecutor) -> None:
    go, told = threading.Event(), list[str]()

    async def main() -> None:
        first = asyncio.create_task(in_thread(worker, lambda: go.wait(SECONDS), nothing))
        second = asyncio.create_task(
            in_thread(worker, lambda: told.append("begun"), lambda: told.append("abandoned"))
        )
        await asyncio.sleep(0.01)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        go.set()
        assert await first

    asyncio.run(main())
    assert told == []


def test_the_thread_has_let_go_when_the_result_is_there(worker: ThreadPoolExecutor) -> None:
    class Thing:
        def work(self) -> int:
            return 1

    async def main() -> None:
        thing = Thing()
        seen = weakref.ref(thing)
        assert await in_thread(worker, thing.work, nothing) == 1
        del thing
        assert seen() is None

    asyncio.run(main())


def test_a_daemon_does_its_work_in_a_thread_that_nothing_waits_for() -> None:
    async def main() -> tuple[int, bool]:
        return await in_daemon(lambda: (threading.get_ident(), threading.current_thread().daemon))

    thread, is_daemon = asyncio.run(main())
    assert thread != threading.get_ident()
    assert is_daemon


def test_a_daemon_raises_what_its_work_raises() -> None:
    def fail() -> None:
        raise KeyError("lost")

    async def main() -> None:
        with pytest.raises(KeyError, match="lost"):
            await in_daemon(fail)

    asyncio.run(main())


def test_a_daemon_goes_on_when_nobody_waits_any_more() -> None:
    may_go_on, done = threading.Event(), threading.Event()

    def work() -> None:
        assert may_go_on.wait(SECONDS)
        done.set()

    async def main() -> None:
        waiting = asyncio.create_task(in_daemon(work))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())  # which waits for no thread
    assert not done.is_set()
    may_go_on.set()
    assert done.wait(SECONDS)
