"""Ctrl-C stops the answer first; a second one is an ordinary KeyboardInterrupt.

Whatever else ends the program stops the answer as well, so that it ends at once.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import typer

from spec_local.cli.output import say
from spec_local.cli.signals import ENDINGS, INTERRUPTED
from spec_local.errors import SpecLocalError

if TYPE_CHECKING:
    from spec_local.generation import Generation


def end_early(stopped: BaseException, done: str) -> NoReturn:
    """Say that what was shown is not all, and end as what stopped it demands."""
    say(f"note: interrupted; this is what was {done} until then.", err=True)
    if isinstance(stopped, SpecLocalError):
        raise stopped
    raise typer.Exit(INTERRUPTED)


@contextmanager
def interrupt_cancels(generation: Generation) -> Iterator[None]:
    """While the block runs, the first Ctrl-C cancels the generation, the next one is as usual.

    Python handles a signal when the evaluation under way has returned, which in a long prompt is
    after half a minute. But a byte is written to a socket at once, for a thread that waits for it.
    """

    def usual_again(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)

    def watch() -> None:
        while (numbers := ours.recv(64)) and ENDINGS.isdisjoint(numbers):
            pass
        if numbers:
            generation.cancel()

    ours, pythons = socket.socketpair()
    pythons.setblocking(False)
    watcher = threading.Thread(target=watch, name="interrupt", daemon=True)
    before = signal.signal(signal.SIGINT, usual_again)
    told_before = signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(told_before)
        signal.signal(signal.SIGINT, before)
        pythons.close()
        watcher.join()
        ours.close()
