"""Answers that are not ready when the server has to end: clients are told, in one sentence."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spec_local.serve.event_stream import failure_event
from spec_local.serve.failures import ending, respond


class EndInTime:
    """Answers what is cancelled, as the server does with all that runs beyond the deadline."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            with suppress(asyncio.CancelledError, OSError):  # nobody waits for it any more
                if begun:  # which only streams are, for longer than a moment
                    last = failure_event(ending())
                    await send({"type": "http.response.body", "body": last, "more_body": False})
                else:
                    await respond(ending())(scope, receive, send)
