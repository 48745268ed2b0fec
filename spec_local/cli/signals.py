"""How the program ends when it is told to: at once, or after all is put in order.

Models, terminals and child processes are put in order by the blocks that hold them, for which an
exception has to pass. Nothing heavy is imported here, as this is what a process does first.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any, NoReturn

INTERRUPTED = 128 + signal.SIGINT
"""Exit code of what Ctrl-C ended, as shells have it."""

ENDINGS = frozenset(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Ctrl-C, the request to end, and a terminal that is closed."""

_SOON = 0.05
"""Seconds."""
_told: list[int] = []
"""Signals that came, but for Ctrl-C."""


def exit_code() -> int:
    """Of a program that was told to end, and has put everything in order."""
    return 128 + _told[0] if _told else INTERRUPTED


def end_at_once() -> None:
    """From now on the system ends the process, which says nothing and leaves nothing behind."""
    for number in _heeded():
        signal.signal(number, signal.SIG_DFL)


def end_in_order() -> None:
    """From now on an exception passes: KeyboardInterrupt for Ctrl-C, else SystemExit."""
    for number in _heeded():
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _end)
    sys.unraisablehook = _unraisable


def _heeded() -> list[signal.Signals]:
    """Those that who started the process did not have ignored, as nohup and shells do."""
    return [number for number in ENDINGS if signal.getsignal(number) is not signal.SIG_IGN]


def _end(number: int, _frame: object) -> NoReturn:
    _told.append(number)
    raise SystemExit(128 + number)


def _unraisable(lost: Any) -> None:
    """An ending that came where nothing can be raised, as in a callback, comes again soon."""
    if isinstance(lost.exc_value, KeyboardInterrupt):
        _send(signal.SIGINT)
    elif isinstance(lost.exc_value, SystemExit):
        _send(signal.SIGTERM)
    else:
        sys.__unraisablehook__(lost)


def _send(number: int) -> None:
    again = threading.Timer(_SOON, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
