"""C code that recurses along its input, on a stack that is large enough for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from spec_local.errors import ConfigError

Result = TypeVar("Result")

_PAGES = 1 << 16
"""Stacks are whole pages, which are no larger than this on any system."""
_SIZES = threading.Lock()  # the size of new stacks is the process's


def on_stack(size: int, work: Callable[[], Result]) -> Result:
    """What `work` returns or raises, done in a thread with a stack of `size` bytes.

    Only what is used of the stack takes memory. An interruption is raised when the work has ended,
    as C code cannot be stopped. Raises ConfigError where the system has no room for the stack.
    """
    size = -(-size // _PAGES) * _PAGES
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, name="large stack", daemon=True)
    with _SIZES:
        usual = threading.stack_size()
        try:
            threading.stack_size(size)
            thread.start()
        except (ValueError, RuntimeError):
            raise ConfigError(
                f"This text needs a stack of {size:,} bytes, for which there is no room; break it "
                "into lines."
            ) from None
        finally:
            threading.stack_size(usual)
    interruption: BaseException | None = None
    while not future.done():
        try:
            wait([future])
        except BaseException as error:  # noqa: PERF203 - it is waited for again
            interruption = error
    if interruption is not None:
        raise interruption
    return future.result()
