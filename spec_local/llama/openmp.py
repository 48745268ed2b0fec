"""What GCC's OpenMP has no call for: how long its threads spin, and where they run.

libgomp reads how long to spin when it is loaded and has no call to change it. But it does not spin,
or hardly, while it manages more threads than there are processors (`do_spin` in
config/linux/wait.h compares `gomp_managed_threads` and `gomp_available_cpus`). So a second team of
threads is kept, asleep, for as long as barriers shall sleep.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spec_local.llama.waiting import Waiting, linux_load

_MAPS = Path("/proc/self/maps")
_PLACES = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY")
"""With one of these the user has placed the threads."""
_Work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class IdleTeam:
    """Keeps more threads than there are processors, or not; a callable switch."""

    def __init__(self, libgomp: ctypes.CDLL) -> None:
        """libgomp: the very library that llama.cpp computes with."""
        self._libgomp = libgomp
        self._end: threading.Event | None = None

    def __call__(self, wanted: bool) -> None:
        """Keep such a team from now on, or let it go; returns when it is there."""
        if self._end is not None:
            self._end.set()
            self._end = None
        if wanted:
            there, self._end = threading.Event(), threading.Event()
            arguments = (there, self._end)
            threading.Thread(target=self._keep, args=arguments, daemon=True).start()
            there.wait()

    def _keep(self, there: threading.Event, end: threading.Event) -> None:
        """The team belongs to this thread, and ends with it."""
        try:
            nothing = ctypes.cast(ctypes.CDLL(None).free, ctypes.c_void_p)  # of a null pointer
            self._libgomp.GOMP_parallel(nothing, None, (os.cpu_count() or 1) + 1, 0)
        finally:
            there.set()
        end.wait()


class Places:
    """Keeps the team of the thread that computes on some processors while it computes."""

    def __init__(self, libgomp: ctypes.CDLL, everywhere: frozenset[int]) -> None:
        """everywhere: the processors of threads that are kept on none in particular."""
        self._libgomp, self._everywhere = libgomp, everywhere
        self._own = threading.local()
        """`team`: where the team of each thread is; unset, everywhere."""

    @contextmanager
    def keep(self, processors: frozenset[int] | None, threads: int) -> Iterator[None]:
        """Keep so many threads there while the block runs; None is everywhere.

        Afterwards the calling thread may run anywhere again, as whatever it starts would inherit
        its place; the others of its team stay. A thread that has a place already keeps it.
        """
        wanted = processors or self._everywhere
        at = getattr(self._own, "team", self._everywhere)
        if wanted == at == self._everywhere or os.sched_getaffinity(0) != self._everywhere:
            yield
            return
        try:
            if wanted != at:
                self._move(wanted, threads)
            os.sched_setaffinity(0, wanted)
            yield
        finally:
            os.sched_setaffinity(0, self._everywhere)

    def _move(self, processors: frozenset[int], threads: int) -> None:
        """Each thread of the team moves itself; those that join inherit its place."""

        def move(_nothing: int | None) -> None:
            with suppress(OSError):  # a processor may have been taken away
                os.sched_setaffinity(0, processors)

        work = _Work(move)
        self._libgomp.GOMP_parallel(ctypes.cast(work, ctypes.c_void_p), None, threads, 0)
        self._own.team = processors


class Threads:
    """How this process's threads wait and where they run, by the load."""

    def __init__(self, libgomp: ctypes.CDLL) -> None:
        parallel = libgomp.GOMP_parallel
        parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        parallel.restype = None
        self.waiting = Waiting(linux_load, IdleTeam(libgomp))
        placed = any(name in os.environ for name in _PLACES)
        self._places = None if placed else Places(libgomp, self.waiting.processors)

    @contextmanager
    def computing(self, threads: int, may_be_fewer: bool = False) -> Iterator[int]:
        """Around an evaluation with so many threads, or with as many as have a processor free.

        As many as that need not be kept there: nobody has to be waited for but others.
        """
        self.waiting.look(threads)
        try:
            kept_on = self.waiting.kept_on
            room = min(threads, len(kept_on)) if may_be_fewer and kept_on else threads
            if self._places is None:
                yield room
                return
            with self._places.keep(None if room < threads else kept_on, threads):
                yield room
        finally:
            self.waiting.computed()


def threads_by_load() -> Threads | None:
    """The choice for this process; None where there is no libgomp, or no load to look at.

    To be called after llama.cpp was loaded.
    """
    try:
        paths = {line.split()[-1] for line in _MAPS.read_text().splitlines() if "libgomp" in line}
        return Threads(ctypes.CDLL(paths.pop())) if len(paths) == 1 else None
    except (OSError, ValueError, AttributeError):
        return None
