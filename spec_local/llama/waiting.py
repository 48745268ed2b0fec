"""How llama.cpp's threads wait: spinning while the machine is ours, asleep while others work too.

A token is some hundred short barriers. A thread that spins at them is there at once when the others
are; but where another process has taken a processor, it spins away the very time slice that the
thread it waits for would need, and most of the speed is lost. No setting that is fixed when the
OpenMP library is loaded serves both, so it is chosen again while evaluations run, by what other
processes use. docs/threads.md has the measurements.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, process_time
from typing import NamedTuple

LOOK_SECONDS = 0.25
"""How often the load is looked at, at most."""
STALE_SECONDS = 2.0
"""After so long without an evaluation the load since the last look says nothing of now."""
BUSY = 0.25
"""Processors that others use beyond those we leave free, from which on threads sleep."""
CALM = 0.10
"""Processors below which others disturb nobody, and threads may spin again …"""
CALM_SECONDS = 1.0
"""… after so long: whoever compiles starts the next file within that."""


class Load(NamedTuple):
    """What the system tells of its processors."""

    busy_seconds: float
    """Time that all processors together have worked, for whomever."""
    running: int
    """Threads that run or would run at this moment, the one that asks among them."""


class Waiting:
    """The choice for one process: looks at the load, and switches between spinning and sleeping."""

    def __init__(
        self,
        read: Callable[[], Load],
        switch: Callable[[bool], None],
        *,
        clock: Callable[[], float] = monotonic,
        own_seconds: Callable[[], float] = process_time,
        processors: int | None = None,
    ) -> None:
        """switch: told whether threads shall sleep; they spin at first.

        own_seconds: processor time this process has used, all threads together.
        processors: None is all there are.
        """
        self._read, self._switch = read, switch
        self._clock, self._own_seconds = clock, own_seconds
        self._processors = processors or os.cpu_count() or 1
        self._lock = threading.Lock()
        self._calm_since: float | None = None
        self.sleeping = False
        self._seen, self._at, self._own = read(), clock(), own_seconds()

    def look(self, threads: int) -> None:
        """Before an evaluation with so many threads: look at the load if it is time to."""
        if self._clock() - self._at < LOOK_SECONDS or not self._lock.acquire(blocking=False):
            return
        try:
            others = self._others()
            free = max(0, self._processors - threads)
            if others > free + BUSY:
                self._calm_since = None
                self._set(True)
            elif others > free + CALM:
                self._calm_since = None
            elif self._calm_since is None:
                self._calm_since = self._at
            elif self._at - self._calm_since >= CALM_SECONDS:
                self._set(False)
        finally:
            self._lock.release()

    def _others(self) -> float:
        """Processors that other processes have used since the last look, or use now."""
        seen, at, own = self._read(), self._clock(), self._own_seconds()
        passed, worked = at - self._at, seen.busy_seconds - self._seen.busy_seconds
        ours = own - self._own
        self._seen, self._at, self._own = seen, at, own
        return float(seen.running - 1) if passed > STALE_SECONDS else (worked - ours) / passed

    def _set(self, sleeping: bool) -> None:
        if sleeping != self.sleeping:
            self._switch(sleeping)
            self.sleeping = sleeping


def linux_load(stat: Path = Path("/proc/stat")) -> Load:
    """The load by Linux's /proc/stat; raises OSError or ValueError where there is none."""
    lines = stat.read_text(encoding="ascii").splitlines()
    # user, nice, system, idle, iowait, irq, softirq, steal, in ticks; guests are users
    ticks = [int(field) for field in lines[0].split()[1:9]]
    busy = sum(ticks) - ticks[3] - ticks[4]
    (running,) = (line.split()[1] for line in lines if line.startswith("procs_running "))
    return Load(busy / os.sysconf("SC_CLK_TCK"), int(running))
