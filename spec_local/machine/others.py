"""How much of the machine other processes use, meanwhile: what is measured then is too dear."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, process_time

import psutil

DISTURBING = 0.3
"""Processors that others use from which on a measurement should be made again."""


class Others:
    """Counts from when it is made."""

    def __init__(
        self,
        busy_seconds: Callable[[], float] | None = None,
        clock: Callable[[], float] = monotonic,
        own_seconds: Callable[[], float] = process_time,
    ) -> None:
        """busy_seconds: time all processors have worked; None asks the system.

        own_seconds: of it, this process's.
        """
        self._parts = busy_seconds or _busy_seconds, own_seconds, clock
        self._begun = [part() for part in self._parts]

    @property
    def processors(self) -> float:
        """How many processors other processes have used since then, on average."""
        busy, own, passed = (
            part() - begun for part, begun in zip(self._parts, self._begun, strict=True)
        )
        return max(0.0, busy - own) / passed if passed > 0.0 else 0.0


def _busy_seconds() -> float:
    times = psutil.cpu_times()._asdict()
    idle = ("idle", "iowait", "guest", "guest_nice")  # guests are in user as well
    return float(sum(seconds for name, seconds in times.items() if name not in idle))
