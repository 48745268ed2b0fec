"""Server-sent events: an answer while it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress

from fastapi import Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from spec_local.serve.connection import while_connected
from spec_local.serve.failures import Refused, refusal

DONE = b"data: [DONE]\n\n"


def as_event(data: BaseModel) -> bytes:
    """One event of OpenAI's streams: what was never set is left out."""
    return b"data: %b\n\n" % data.model_dump_json(exclude_unset=True).encode()


def failure_event(refused: Refused) -> bytes:
    """What ends a stream that was begun and fails."""
    return b"data: %b\n\n" % json.dumps(refused.body).encode()


_MOST_SECONDS = 60.0
"""How long a client may leave an event unread."""


class EventStream(Response):
    """Sends events as they come, until the client goes."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], resources: AsyncExitStack) -> None:
        """resources: closed at the end, whatever happens, also if nothing was ever sent."""
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._resources = events, resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._resources:
            # The client has gone, or reads nothing any more: it must not keep its turn.
            with suppress(Refused, OSError, asyncio.TimeoutError):
                await while_connected(receive, self._sent(send))

    async def _sent(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": self.raw_headers},
        )
        async with aclosing(_with_failures(self._events)) as events:
            async for event in events:
                sent = send({"type": "http.response.body", "body": event, "more_body": True})
                await asyncio.wait_for(sent, _MOST_SECONDS)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _with_failures(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The events, and after a failure that: the status has been sent long before."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as error:
        yield failure_event(refusal(error))
        yield DONE
