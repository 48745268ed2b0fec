"""Which process something belongs to: a fork copies its memory, but no thread and no device."""

from __future__ import annotations

import os
import sys
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spec_local.errors import EngineError


def has_python() -> bool:
    """Whether `sys.executable` is a Python, and not the application itself."""
    name = Path(sys.executable or "").name.lower()
    return not getattr(sys, "frozen", False) and ("python" in name or "pypy" in name)


class Process:
    """The process that made this."""

    def __init__(self) -> None:
        self._id = os.getpid()

    @property
    def is_this(self) -> bool:
        """Whether it is the running one, and not one that was forked from it."""
        return os.getpid() == self._id

    def require_this(self) -> None:
        """Raise EngineError in a child that was forked since."""
        if not self.is_this:
            raise EngineError(
                "llama.cpp cannot go on in a forked process; start the process by the method "
                '"spawn" of multiprocessing, and load the model there.'
            )


class OwnStack(ExitStack):
    """An ExitStack that does nothing in a forked child: what is on it belongs to the parent."""

    def __init__(self) -> None:
        super().__init__()
        self._process = Process()

    def __exit__(self, *details: Any) -> bool | None:
        if not self._process.is_this:
            self.pop_all()
            return False
        return super().__exit__(*details)


def closed_when_dropped(owner: object, stack: OwnStack) -> weakref.finalize[..., Any]:
    """Closes the stack when it is called, or when nobody has the owner any more."""
    close = weakref.finalize(owner, stack.close)
    close.atexit = False  # the process ends anyway, perhaps in the middle of a round
    return close
