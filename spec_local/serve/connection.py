"""Clients that go away: what is done for them ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.types import Receive

from spec_local.serve.failures import Refused

_Found = TypeVar("_Found")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, _Found]) -> _Found:
    """What the work returns or raises; it is cancelled when the client goes.

    Raises Refused then, which nobody reads. receive: of the request, whose body has been read.
    """
    doing = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise Refused("The client has gone.", status=HTTPStatus.REQUEST_TIMEOUT)
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
