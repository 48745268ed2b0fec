"""Work in another thread that an event loop waits for, free for everything else meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import TypeVar, cast

_Found = TypeVar("_Found")


async def in_thread(
    executor: Executor, work: Callable[[], _Found], abandon: Callable[[], None]
) -> _Found:
    """What the work returns or raises.

    When the task that waits is cancelled, work that has not begun never does; work that has begun
    is told to end by `abandon`, which is called in the event loop, and waited for.
    """
    held = [work]  # so that the thread has let go of it before the loop learns the result
    job = executor.submit(lambda: held.pop()())
    future = asyncio.wrap_future(job)
    try:
        await asyncio.wait([future])
    except asyncio.CancelledError:
        if not job.cancel():
            abandon()
            while not future.done():
                with suppress(asyncio.CancelledError):  # once is enough
                    await asyncio.wait([future])
            future.exception()  # was looked at: asyncio need not complain
        raise
    return future.result()


async def in_daemon(work: Callable[[], _Found]) -> _Found:
    """What the work returns or raises, done in a thread that no ending process waits for."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def tell(found: _Found | None, error: Exception | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def run() -> None:
        found, failure = None, None
        try:
            found = work()
        except Exception as error:
            failure = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, found, failure)

    threading.Thread(target=run, daemon=True).start()
    return cast(_Found, await future)
