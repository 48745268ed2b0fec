"""One engine, many clients: whose turn it is, and in which context."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from http import HTTPStatus
from time import monotonic

from spec_local.serve.failures import Refused
from spec_local.serve.slot import Slot
from spec_local.util.prefix import common_prefix

_WEIGHT = 0.2
"""Of the latest turn in the mean length of turns, by which waiting is estimated."""


class Engine:
    """The contexts of a model. Each answers one request at a time; others wait, first come first.

    For one event loop.
    """

    def __init__(self, slots: Sequence[Slot], *, most_waiting: int) -> None:
        """most_waiting: requests beyond it are refused at once."""
        self.slots = tuple(slots)
        self._idle = list(slots)
        self._waiting = deque[asyncio.Future[Slot]]()
        self._most_waiting = most_waiting
        self._arriving = 0
        """Requests that are being prepared, and will wait or run."""
        self._mean_seconds = 1.0

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many have it."""
        return len(self.slots) - len(self._idle)

    @contextmanager
    def arriving(self) -> Iterator[None]:
        """While a request is prepared, which takes time too.

        Raises Refused, to be tried again, when there would be no place for it afterwards.
        """
        if len(self._waiting) + self._arriving >= self._most_waiting + len(self._idle):
            raise self._crowded()
        self._arriving += 1
        try:
            yield
        finally:
            self._arriving -= 1

    @asynccontextmanager
    async def turn(self, prompt: Sequence[int]) -> AsyncIterator[Slot]:
        """A context while the block runs: of those that are idle, where it costs least.

        Raises Refused, to be tried again, when too many wait already.
        """
        slot = await self._next(prompt)
        started = monotonic()
        try:
            yield slot
        finally:
            self._mean_seconds += _WEIGHT * (monotonic() - started - self._mean_seconds)
            self._give_back(slot)

    async def _next(self, prompt: Sequence[int]) -> Slot:
        if self._idle:  # and then nobody waits
            slot = min(self._idle, key=lambda each: _cost(each.tokens, prompt))
            self._idle.remove(slot)
            return slot
        if len(self._waiting) >= self._most_waiting:
            raise self._crowded()
        place: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # its turn came at the same moment
                self._give_back(place.result())
            with suppress(ValueError):
                self._waiting.remove(place)
            raise

    def _give_back(self, slot: Slot) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(slot)
                return
        self._idle.append(slot)

    def _crowded(self) -> Refused:
        seconds = self._mean_seconds * (len(self._waiting) + 1) / len(self.slots)
        return Refused(
            f"{len(self._waiting)} requests wait already; try again later.",
            status=HTTPStatus.TOO_MANY_REQUESTS,
            kind="rate_limit_error",
            code="rate_limit_exceeded",
            headers={"Retry-After": str(max(1, math.ceil(seconds)))},
        )


def _cost(held: Sequence[int], prompt: Sequence[int]) -> int:
    """Tokens to be read for the prompt, and tokens that are lost to whoever comes back for them.

    The longest common beginning alone would let every new conversation take the place of another
    that begins with the same system message, while contexts are empty.
    """
    common = common_prefix(held, prompt)
    return (len(prompt) - common) + (len(held) - common)
