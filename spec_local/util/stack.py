"""C code that recurses along its input, on a stack that is large enough for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from spec_local.errors import ConfigError
from spec_local.util.apart import Apart, Result

_PAGES = 1 << 16
"""Stacks are whole pages, which are no larger than this on any system."""
_SIZES = threading.Lock()  # the size of new stacks is the process's


def on_stack(size: int, work: Callable[[], Result]) -> Result:
    """What `work` returns or raises, done in a thread with a stack of `size` bytes.

    Only what is used of the stack takes memory. An interruption is raised when the work has ended,
    as C code cannot be stopped. Raises ConfigError where the system has no room for the stack.
    """
    size = -(-size // _PAGES) * _PAGES
    interruptions: list[BaseException] = []
    apart = Apart(work, "large stack", interruptions.append)
    with _SIZES:
        usual = threading.stack_size()
        try:
            threading.stack_size(size)
            apart.start()
        except (ValueError, RuntimeError):
            raise ConfigError(
                f"This text needs a stack of {size:,} bytes, for which there is no room; break it "
                "into lines."
            ) from None
        finally:
            threading.stack_size(usual)
    result = apart.result()
    if interruptions:
        raise interruptions[0]
    return result
