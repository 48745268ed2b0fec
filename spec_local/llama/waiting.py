"""How llama.cpp's threads wait and where they run, by what else the machine does.

A token is some hundred short barriers. A thread that spins at them is there at once when the others
are; but where another process has taken a processor, it spins away the very time slice that the
thread it waits for would need, and most of the speed is lost. A thread that sleeps there instead
still waits for the other one to get its turn on the processor they share with somebody. So beside
others threads sleep *and* there are only as many as processors are free. Where that would change
what llama.cpp computes, all of them keep to those processors instead (`team.py`).

No setting that is fixed when the OpenMP library is loaded serves both, so it is chosen again while
evaluations run, by what other processes use. docs/threads.md has the measurements.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, process_time, sleep
from typing import NamedTuple

LOOK_SECONDS = 0.1
"""How often the load is looked at, at most."""
PAUSE_SECONDS = 0.1
"""After so long without an evaluation, when our threads have ceased to spin, others that worked in
between may be through, such as a program that takes turns with this one: they count if they run at
this moment as well."""
STALE_SECONDS = 2.0
"""After so long without one the load since the last look says nothing of now."""
_MOMENT_SECONDS = 0.002
BUSY = 0.45
"""Processors that others use beyond those we leave free, from which on threads sleep. One that
always works gets half of a processor at least, while we spin; beside less, spinning is faster."""
CALM = 0.35
"""Processors below which threads may spin again …"""
CALM_SECONDS = 0.2
"""… after so long: waiting costs up to half of an idle machine's speed."""
ALARM_SECONDS = 0.08
"""How long others have to work until threads sleep: up to the first look …"""
BRIEF_SECONDS = 1.0
"""… and twice as long, up to here, after each time that they slept for less than this: beside those
who come for a moment and go again, spinning is faster."""


class Load(NamedTuple):
    """What the system tells of its processors."""

    busy_seconds: Mapping[int, float]
    """Time that each processor has worked, for whomever, …"""
    counted_seconds: Mapping[int, float]
    """… of so much that was counted for it, in the same ticks."""
    running: int
    """Threads that run or would run at this moment, the one that asks among them."""


class Waiting:
    """The choice for one process: looks at the load, and says how threads wait and where."""

    def __init__(
        self,
        read: Callable[[], Load],
        switch: Callable[[bool], None],
        *,
        clock: Callable[[], float] = monotonic,
        own_seconds: Callable[[], float] = process_time,
        wait: Callable[[float], None] = sleep,
        processors: frozenset[int] | None = None,
    ) -> None:
        """switch: told whether threads shall sleep; they spin at first.

        own_seconds: processor time this process has used, all threads together.
        processors: those this process may use; None asks the system.
        """
        self._read, self._switch = read, switch
        self._clock, self._own_seconds, self._wait = clock, own_seconds, wait
        self.processors = processors or frozenset(os.sched_getaffinity(0))
        self.kept_on: frozenset[int] | None = None
        """The processors that threads keep to; None are all."""
        self.sleeping = False
        self._sure = True
        """Whether more than a moment has shown that they should sleep."""
        self._lock = threading.Lock()
        self._calm_since: float | None = None
        self._busy_since: float | None = None
        self._alarm_seconds = ALARM_SECONDS
        self._seen, self._at, self._own = read(), clock(), own_seconds()
        self._slept_at = self._computed_at = self._at
        self._due = self._at + LOOK_SECONDS

    def look(self, threads: int) -> None:
        """Before an evaluation with so many threads: look at the load if it is time to."""
        if self._clock() < self._due or not self._lock.acquire(blocking=False):
            return
        try:
            self._choose(threads)
        finally:
            self._lock.release()

    def computed(self) -> None:
        """After an evaluation, which may have taken long."""
        self._computed_at = self._clock()

    def _choose(self, threads: int) -> None:
        before, is_pause = self._at, self._clock() - self._computed_at > PAUSE_SECONDS
        others, idle_first = self._others(is_pause)
        self._due = self._at + LOOK_SECONDS
        # Of what was before a pause, one moment says little.
        since = self._at - LOOK_SECONDS if is_pause else before
        free = max(0, len(self.processors) - threads)
        if others <= free + BUSY:
            self._busy_since = None
        else:
            self._busy_since = since if self._busy_since is None else self._busy_since
            if is_pause or self._at - self._busy_since >= self._alarm_seconds:
                self._sleep(sure=not is_pause)
            if self.sleeping:
                self._keep_on(int(len(self.processors) - others + BUSY), threads, idle_first)
        if others > free + CALM:
            self._calm_since = None
            return
        self._calm_since = since if self._calm_since is None else self._calm_since
        if self.sleeping and (self._at - self._calm_since >= CALM_SECONDS or not self._sure):
            self._wake()

    def _sleep(self, *, sure: bool) -> None:
        if not self.sleeping:
            self._switch(True)
            self.sleeping, self._sure, self._slept_at = True, False, self._at
        self._sure = self._sure or sure

    def _wake(self) -> None:
        self._switch(False)
        self.sleeping, self.kept_on = False, None
        if self._sure:
            was_brief = self._at - self._slept_at < BRIEF_SECONDS
            longer = min(2 * self._alarm_seconds, BRIEF_SECONDS)
            self._alarm_seconds = longer if was_brief else ALARM_SECONDS

    def _keep_on(self, room: int, threads: int, idle_first: list[int]) -> None:
        """Choose processors if there is room on fewer than threads; the same as long as it does."""
        room = max(1, room)
        if room >= threads:
            self.kept_on = None
        elif self.kept_on is None or len(self.kept_on) != room:
            self.kept_on = frozenset(idle_first[:room])

    def _others(self, is_pause: bool) -> tuple[float, list[int]]:
        """Processors that other processes have used since the last look, or use now.

        And all processors, those first that were idle for longest.
        """
        seen, at, own = self._read(), self._clock(), self._own_seconds()
        passed, ours = at - self._at, own - self._own
        worked = {each: passed * _share(each, self._seen, seen) for each in self.processors}
        silent = at - max(self._at, self._computed_at)
        self._seen, self._at, self._own = seen, at, own
        idle_first = sorted(worked, key=lambda each: (worked[each], each))
        others = (sum(worked.values()) - ours) / passed
        if is_pause:
            running = float(self._running(seen) - 1)
            others = running if silent > STALE_SECONDS else min(others, running)
        return others, idle_first

    def _running(self, seen: Load) -> int:
        """Threads that run, and not only for this moment, as one of ours does that asked for it."""
        if seen.running == 1:
            return 1
        self._wait(_MOMENT_SECONDS)
        return min(seen.running, self._read().running)


def _share(processor: int, before: Load, after: Load) -> float:
    """Of the time in between, how much that processor has worked.

    Ticks are compared with ticks: one more of them on each of many processors would be a load.
    """
    busy, counted = (
        kinds[1].get(processor, 0.0) - kinds[0].get(processor, 0.0)
        for kinds in zip(before[:2], after[:2], strict=True)
    )
    return busy / counted if counted > 0 else 0.0


def linux_load(stat: Path = Path("/proc/stat")) -> Load:
    """The load by Linux's /proc/stat; raises OSError or ValueError where there is none."""
    lines = stat.read_text(encoding="ascii").splitlines()
    tick = os.sysconf("SC_CLK_TCK")
    busy, counted = dict[int, float](), dict[int, float]()
    for line in lines:
        name, *fields = line.split()
        if name.startswith("cpu") and name != "cpu":
            # user, nice, system, idle, iowait, irq, softirq, steal, in ticks; guests are users
            ticks = [int(field) for field in fields[:8]]
            busy[int(name[3:])] = (sum(ticks) - ticks[3] - ticks[4]) / tick
            counted[int(name[3:])] = sum(ticks) / tick
    (running,) = (line.split()[1] for line in lines if line.startswith("procs_running "))
    return Load(busy, counted, int(running))
