"""Work in another thread that an event loop waits for, free for everything else meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import TypeVar

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
