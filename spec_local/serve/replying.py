"""From a request to its answer: the model, the turn, and the form that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from typing import Protocol

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from spec_local.serve.answer import Answer, Asked, answering
from spec_local.serve.connection import while_connected
from spec_local.serve.event_stream import EventStream
from spec_local.serve.models import Loaded
from spec_local.serve.service import service_of


class Reply(Protocol):
    """Writes an answer in the form of an endpoint."""

    async def whole(self, answer: Answer) -> BaseModel:
        """At once."""

    def events(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        """As server-sent events."""


class AnswerRequest(Protocol):
    """What every request for an answer says."""

    @property
    def model(self) -> str | None:
        """Which model; None is the first."""

    @property
    def stream(self) -> bool | None:
        """Whether the answer is wanted as it is written."""

    def ignored(self) -> list[str]:
        """What was given and means nothing here."""


async def replied(
    request: Request,
    given: AnswerRequest,
    prepared: Callable[[Loaded], tuple[Asked, Reply]],
) -> Response:
    """The answer.

    prepared: what the request means for a model, and the form of its answer; may take long, and
    raise what is wrong. A client that goes away ends everything at once.
    """
    service = service_of(request)
    async with AsyncExitStack() as stack:
        using = stack.enter_async_context(service.models.using(given.model))
        served = await while_connected(request.receive, using)
        with served.engine.arriving():
            wanted, form = await asyncio.to_thread(prepared, served.loaded)
        turn = answering(served.engine, wanted, stack)
        answer = await while_connected(request.receive, turn)
        name = served.loaded.name
        stack.callback(lambda: service.metrics.count_answer(name, answer.spent.stats))
        response: Response
        if given.stream:
            response = EventStream(form.events(answer), stack.pop_all())
        else:
            whole = await while_connected(request.receive, form.whole(answer))
            response = JSONResponse(whole.model_dump(mode="json"))
        if ignored := given.ignored():
            response.headers["X-Ignored-Parameters"] = ", ".join(ignored)
        return response
