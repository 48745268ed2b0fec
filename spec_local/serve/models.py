"""The models that are served, by their names."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic, time
from typing import Any

from psutil import virtual_memory

from spec_local.errors import ContextOverflow, NotEnoughMemory, SpecLocalError
from spec_local.serve.engine import Engine
from spec_local.serve.failures import Refused, ending
from spec_local.serve.serving import Serving
from spec_local.serve.slot import Slot
from spec_local.util.awaiting import in_daemon

_log = logging.getLogger(__name__)
_SHORT = 1 << 30
"""Bytes of free memory below which a model that nobody uses is dropped before another is loaded."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that can answer."""

    name: str
    slots: Sequence[Slot]
    about: Mapping[str, Any]
    """What /v1/models says of it."""
    close: Callable[[], None]
    """Frees everything; answers that still run are cut short."""

    @property
    def runner(self) -> Serving:
        """Any of its runners: for its vocabulary, its template and its sampling."""
        return self.slots[0].runner


class Served:
    """A model that can answer, and whose turn it is."""

    def __init__(self, loaded: Loaded, most_waiting: int) -> None:
        """most_waiting: requests beyond it are refused."""
        self.loaded = loaded
        self.engine = Engine(loaded.slots, most_waiting=most_waiting)
        self.users = 0
        """Requests that need it now."""
        self.left_at = monotonic()
        """When the last one ended."""


Load = Callable[[], Loaded]
"""Loads a model; raises SpecLocalError."""


def unknown(name: str, names: Sequence[str]) -> Refused:
    """That there is no such model, and which there are."""
    return Refused(
        f"The model {name!r} does not exist here; take one of {', '.join(names)}.",
        status=HTTPStatus.NOT_FOUND,
        param="model",
        code="model_not_found",
    )


class Models:
    """Models by name. Each is loaded when it is first asked for, and dropped when it is not.

    Where memory is short for another one, those that nobody uses are dropped at once.
    """

    def __init__(
        self,
        loads: Mapping[str, Load],
        *,
        most_waiting: int,
        idle_seconds: float | None = None,
        loaded: Loaded | None = None,
        has_room: Mapping[str, Callable[[], bool]] | None = None,
    ) -> None:
        """loads: how each is loaded, the first being what is used without a name.

        idle_seconds: a model that nobody asked for so long is dropped; None keeps all. loaded: one
        that is loaded already. has_room: whether GPUs have room for all of a model, which else is
        put where there is room; without an answer they have.
        """
        self._loads, self._has_room = dict(loads), dict(has_room or {})
        self._most_waiting, self._idle_seconds = most_waiting, idle_seconds
        self._served: dict[str, Served] = {}
        self._loading: dict[str, asyncio.Task[Served]] = {}
        self._reading = set[str]()  # in threads, whatever becomes of their tasks
        self._closed = False
        if loaded is not None:
            self._served[loaded.name] = Served(loaded, most_waiting)
        self.created = int(time())

    @property
    def names(self) -> list[str]:
        """All of them."""
        return list(self._loads)

    def served(self, name: str) -> Served | None:
        """That model, None unless it is loaded."""
        return self._served.get(name)

    @asynccontextmanager
    async def using(self, name: str | None) -> AsyncIterator[Served]:
        """The model of that name while the block runs.

        Raises Refused for an unknown one, and for one that cannot be loaded.
        """
        name = name or self.names[0]
        if name not in self._loads:
            raise unknown(name, self.names)
        while (served := self._served.get(name)) is None:
            # Who asked for it may leave; others wait for the same loading.
            await asyncio.shield(self._to_load(name))
        served.users += 1
        try:
            yield served
        finally:
            served.users -= 1
            served.left_at = monotonic()

    def _to_load(self, name: str) -> asyncio.Task[Served]:
        """The one loading of that model."""

        def ended(task: asyncio.Task[Served]) -> None:
            del self._loading[name]
            if not task.cancelled():
                task.exception()  # that nobody waited for it is no fault

        if name not in self._loading:
            self._loading[name] = asyncio.create_task(self._load(name))
            self._loading[name].add_done_callback(ended)
        return self._loading[name]

    async def _load(self, name: str) -> Served:
        while virtual_memory().available < _SHORT and await self._drop_one():
            pass  # mapped weights fit always, and slow each other down
        has_room = self._has_room.get(name, lambda: True)
        while self._idle() and not await in_daemon(has_room) and await self._drop_one():
            pass
        self._reading.add(name)
        try:
            loaded = await in_daemon(lambda: self._read(name))
        except SpecLocalError as error:
            is_large = isinstance(error, NotEnoughMemory | ContextOverflow)
            if is_large and await self._drop_one():  # with whose memory it may fit
                return await self._load(name)
            _log.error("%s cannot be loaded: %s", name, error)
            raise Refused(
                f"The model {name!r} cannot be loaded; the server's log says why.",
                status=HTTPStatus.INTERNAL_SERVER_ERROR,
                kind="server_error",
            ) from None
        if self._closed:
            await asyncio.to_thread(loaded.close)
            raise ending()
        served = self._served[name] = Served(loaded, self._most_waiting)
        return served

    def _read(self, name: str) -> Loaded:
        try:
            return self._loads[name]()
        finally:
            self._reading.discard(name)

    @property
    def is_loading(self) -> bool:
        """Whether any is being loaded, which cannot be ended."""
        return bool(self._reading)

    async def drop_idle(self) -> None:
        """Free the models that nobody asked for long enough."""
        if self._idle_seconds is None:
            return
        before = monotonic() - self._idle_seconds
        while await self._drop_one(before):
            pass

    def _idle(self, before: float = math.inf) -> list[tuple[float, str]]:
        """The models that nobody uses, if that is since before; and since when."""
        return [
            (served.left_at, name)
            for name, served in self._served.items()
            if served.users == 0 and served.left_at <= before
        ]

    async def _drop_one(self, before: float = math.inf) -> bool:
        """Free the model that nobody uses for longest, if that is since before; whether one was."""
        if not (idle := self._idle(before)):
            return False
        served = self._served.pop(min(idle)[1])
        await asyncio.to_thread(served.loaded.close)
        return True

    async def keep_dropping_idle(self) -> None:
        """The same again and again, until it is cancelled."""
        while self._idle_seconds is not None:
            await asyncio.sleep(self._idle_seconds / 4)
            await self.drop_idle()

    def close(self) -> None:
        """Free all of them; answers that still run are cut short."""
        self._closed = True
        while self._served:
            self._served.popitem()[1].loaded.close()
