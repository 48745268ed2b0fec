"""Ctrl-C stops the answer first; a second one is an ordinary KeyboardInterrupt."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from spec_local.errors import SpecLocalError

if TYPE_CHECKING:
    from spec_local.generation import Generation

INTERRUPTED = 130
"""Exit code of what Ctrl-C ended, as shells have it."""


def end_early(stopped: BaseException, done: str) -> NoReturn:
    """Say that what was shown is not all, and end as what stopped it demands."""
    import typer  # not above: the console script loads this module before it can be interrupted

    print(f"note: interrupted; this is what was {done} until then.", file=sys.stderr)
    if isinstance(stopped, SpecLocalError):
        raise stopped
    raise typer.Exit(INTERRUPTED)


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
