"""Switching GCC's OpenMP between spinning and sleeping barriers while it runs.

libgomp reads how long to spin when it is loaded and has no call to change it. But it hardly spins,
whatever it was told, while it manages more threads than there are processors (`do_spin` in
config/linux/wait.h compares `gomp_managed_threads` and `gomp_available_cpus`). So a second team of
threads is kept, asleep, for as long as barriers shall sleep.
"""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

from spec_local.llama.waiting import Waiting, linux_load

_MAPS = Path("/proc/self/maps")


class IdleTeam:
    """Keeps more threads than there are processors, or not; a callable switch."""

    def __init__(self, libgomp: ctypes.CDLL) -> None:
        """libgomp: the very library that llama.cpp computes with."""
        self._parallel = libgomp.GOMP_parallel
        self._parallel.argtypes = (
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_uint,
        )
        self._parallel.restype = None
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
            self._parallel(nothing, None, (os.cpu_count() or 1) + 1, 0)
        finally:
            there.set()
        end.wait()


def waiting() -> Waiting | None:
    """The choice for this process; None where there is no libgomp, or no load to look at.

    To be called after llama.cpp was loaded.
    """
    try:
        paths = {line.split()[-1] for line in _MAPS.read_text().splitlines() if "libgomp" in line}
        libgomp = ctypes.CDLL(paths.pop()) if len(paths) == 1 else None
        return None if libgomp is None else Waiting(linux_load, IdleTeam(libgomp))
    except (OSError, ValueError, AttributeError):
        return None
