"""What /v1/responses answers, whole and as its stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from spec_local.serve.answer import Answer
from spec_local.serve.finish import finish_reason
from spec_local.serve.response_items import Events, Items
from spec_local.serve.response_shapes import (
    IncompleteDetails,
    ModelResponse,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    ResponseUsage,
    Status,
)
from spec_local.serve.said import Telling, Told


class ResponseReply:
    """Writes an answer as a response."""

    def __init__(self, fields: Mapping[str, Any], telling: Telling) -> None:
        """fields: of `ModelResponse`, that are known beforehand. telling: tells what is written."""
        self._fields, self._telling = fields, telling

    async def whole(self, answer: Answer) -> ModelResponse:
        """Once it is written."""
        async with aclosing(self.events(answer)) as events:
            async for _event in events:
                pass
        return self._finished

    def _response(self, status: Status, output: Sequence[OutputItem] = ()) -> ModelResponse:
        return ModelResponse(**self._fields, status=status, output=output)

    async def events(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        """The events of a stream: thoughts and text, if there are any, and then the calls."""
        event, reason = Events(), "length"
        items = Items(event)
        begun = self._response("in_progress").model_dump(mode="json")
        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        async with aclosing(answer.chunks()) as found:
            async for _index, chunk, _scores in found:
                reason = finish_reason(chunk.finish_reason) or reason
                for each in _added(self._telling.feed(chunk), items):
                    yield each
        status: Status = "completed" if reason == "stop" else "incomplete"
        for each in items.end(status):
            yield each
        self._finished = self._response(status, items.written)
        self._finished.usage = ResponseUsage.of(answer.spent)
        self._finished.timings = answer.spent.timings()
        if status == "incomplete":
            self._finished.incomplete_details = IncompleteDetails()
        yield event(f"response.{status}", response=self._finished.model_dump(mode="json"))


def _added(said: Told, items: Items) -> Iterator[bytes]:
    if said.thought:
        yield from items.text(OutputReasoning, said.thought)
    if said.text:
        yield from items.text(OutputMessage, said.text)
    for call in said.calls:
        yield from items.call(call)
