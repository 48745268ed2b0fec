"""Ctrl-C stops the answer first; a second one is an ordinary KeyboardInterrupt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spec_local.generation import Generation

INTERRUPTED = 130
"""Exit code of what Ctrl-C ended, as shells have it."""


@contextmanager
def interrupt_cancels(generation: Generation) -> Iterator[None]:
    """While the block runs, the first Ctrl-C cancels the generation after its present round."""

    def cancel(_number: int, _frame: FrameType | None) -> None:
        generation.cancel()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, cancel)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
