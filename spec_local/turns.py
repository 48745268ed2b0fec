"""One generation at a time, in whichever thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from spec_local.errors import RunnerBusy
from spec_local.generation import Generation


class OneAtATime:
    """Lets one generation run at a time, in whichever thread."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._thread = 0
        self._begun: weakref.WeakSet[Generation] = weakref.WeakSet()
        self._adding = threading.Lock()

    def add(self, generation: Generation) -> None:
        """This one may run, now or later."""
        with self._adding:
            self._begun.add(generation)

    @contextmanager
    def running(self) -> Iterator[None]:
        """While the block runs no other may; raises RunnerBusy if one does."""
        if not self._busy.acquire(blocking=False):
            raise RunnerBusy("This runner is generating already; wait for it or cancel it first.")
        try:
            self._thread = threading.get_ident()
            yield
        finally:
            self._thread = 0
            self._busy.release()

    def end(self) -> None:
        """End what runs; raises RunnerBusy when called from inside it."""
        while not self._busy.acquire(timeout=0.05):
            with self._adding:
                begun = list(self._begun)
            for generation in begun:
                generation.cancel()
                with suppress(ValueError):  # it is in the middle of a round; try again after it
                    generation.close()
            if self._busy.locked() and self._thread == threading.get_ident():
                raise RunnerBusy("A runner cannot be closed from inside its own generation.")
        self._busy.release()
