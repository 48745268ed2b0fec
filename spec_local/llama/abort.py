"""Abandoning an evaluation from another thread.

llama.cpp asks a C function before every operation of an evaluation whether to go on (on CPUs; other
backends only between batches). A function in Python would need the interpreter some thousand times
a second, in the middle of the computation. So the C library's `strlen` is the function: of a byte
that is 0 it says 0, go on, and of any other byte 1, stop.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from spec_local.llama.backend import lib

_libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
_is_set = lib.ggml_abort_callback(ctypes.cast(_libc.strlen, ctypes.c_void_p).value or 0)


class AbortFlag:
    """Stops the evaluations of one context while it is set; any thread may set it."""

    def __init__(self, context: lib.llama_context_p) -> None:
        self._byte = ctypes.create_string_buffer(b"\0", 2)
        address = ctypes.c_void_p(ctypes.addressof(self._byte))
        lib.llama_set_abort_callback(context, _is_set, address)

    def set(self, stop: bool) -> None:
        """Stop what runs and what is begun from now on, or let it run again."""
        self._byte[0] = b"\1" if stop else b"\0"

    @property
    def is_set(self) -> bool:
        """Whether evaluations are stopped."""
        return self._byte[0] != b"\0"


class Interruptible(Protocol):
    """A session."""

    def interrupt(self, stop: bool = True) -> None:
        """Stop its evaluations, or let them run again."""


class Abort:
    """Stops the sessions that work for one piece of work, and only while they do.

    An event stands for the work: set, it is to be abandoned.
    """

    def __init__(self, sessions: Iterable[Interruptible]) -> None:
        self._sessions = list(sessions)
        self._lock = threading.Lock()
        self._running: threading.Event | None = None

    @contextmanager
    def work(self, abandoned: threading.Event) -> Iterator[None]:
        """The sessions work for that while the block runs."""
        self._set(abandoned)
        try:
            yield
        finally:
            self._set(None)

    def _set(self, running: threading.Event | None) -> None:
        with self._lock:
            self._running = running
            for session in self._sessions:
                session.interrupt(running is not None and running.is_set())

    def __call__(self, abandoned: threading.Event) -> None:
        """Stop what is evaluated for that, if anything is; the event is set."""
        with self._lock:
            if self._running is abandoned:
                for session in self._sessions:
                    session.interrupt()
