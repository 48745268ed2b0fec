"""What /v1/responses answers, whole and as its stream of events."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from spec_local.serve.answer import Answer
from spec_local.serve.chat_shapes import new_call_id
from spec_local.serve.finish import finish_reason
from spec_local.serve.response_shapes import (
    IncompleteDetails,
    ModelResponse,
    OutputCall,
    OutputMessage,
    OutputText,
    ResponseUsage,
    Status,
)
from spec_local.serve.tool_calls import CallReader, Said, ToolCall


class _Events:
    """Numbers the events of a stream."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, kind: str, **fields: Any) -> bytes:
        """The next one."""
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode()


class ResponseReply:
    """Writes an answer as a response."""

    def __init__(self, fields: Mapping[str, Any], reader: CallReader | None) -> None:
        """fields: of `ModelResponse`, that are known beforehand. reader: tells calls of tools."""
        self._fields, self._reader = fields, reader
        self._output: list[OutputMessage | OutputCall] = []

    async def whole(self, answer: Answer) -> ModelResponse:
        """Once it is written."""
        async with aclosing(self.events(answer)) as events:
            async for _event in events:
                pass
        return self._finished

    def _response(self, status: Status) -> ModelResponse:
        return ModelResponse(**self._fields, status=status, output=self._output)

    async def events(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        """The events of a stream: the message, if there is text, and then the calls."""
        event, reason = _Events(), "length"
        begun = self._response("in_progress").model_dump(mode="json")
        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        message: OutputMessage | None = None
        async with aclosing(answer.chunks()) as found:
            async for _index, chunk, _scores in found:
                reason = finish_reason(chunk.finish_reason) or reason
                said = self._said(chunk.text, last=chunk.finish_reason is not None)
                if said.text and message is None:
                    message = _new_message()
                    for each in self._begin(message, event):
                        yield each
                if said.text and message is not None:
                    message.content[0].text += said.text
                    yield event(
                        "response.output_text.delta",
                        **_place(message),
                        delta=said.text,
                        logprobs=[],
                    )
                if message is not None and (said.calls or chunk.finish_reason is not None):
                    for each in self._end(message, event, "completed" if said.calls else reason):
                        yield each
                    message = None
                for call in said.calls:
                    for each in self._call(call, event):
                        yield each
        status: Status = "completed" if reason == "stop" else "incomplete"
        self._finished = self._response(status)
        self._finished.usage = ResponseUsage.of(answer.spent)
        self._finished.timings = answer.spent.timings()
        if status == "incomplete":
            self._finished.incomplete_details = IncompleteDetails()
        yield event(f"response.{status}", response=self._finished.model_dump(mode="json"))

    def _said(self, text: str, last: bool) -> Said:
        if self._reader is None:
            return Said(text, [])
        said = self._reader.feed(text)
        if not last:
            return said
        rest = self._reader.finish()
        return Said(said.text + rest.text, said.calls + rest.calls)

    def _begin(self, message: OutputMessage, event: _Events) -> list[bytes]:
        added = message.model_dump(mode="json") | {"content": []}
        part = message.content[0].model_dump(mode="json")
        self._output.append(message)
        at = len(self._output) - 1
        return [
            event("response.output_item.added", output_index=at, item=added),
            event("response.content_part.added", **_place(message, at), part=part),
        ]

    def _end(self, message: OutputMessage, event: _Events, reason: str) -> list[bytes]:
        message.status = "incomplete" if reason == "length" else "completed"
        at, part = len(self._output) - 1, message.content[0]
        said = part.model_dump(mode="json")
        whole = message.model_dump(mode="json")
        return [
            event("response.output_text.done", **_place(message, at), text=part.text, logprobs=[]),
            event("response.content_part.done", **_place(message, at), part=said),
            event("response.output_item.done", output_index=at, item=whole),
        ]

    def _call(self, call: ToolCall, event: _Events) -> list[bytes]:
        """A call, whole: it is known to be one when it is complete."""
        item = OutputCall(
            id=f"fc_{uuid.uuid4().hex}",
            status="completed",
            call_id=new_call_id(),
            name=call.name,
            arguments=call.arguments,
        )
        at = len(self._output)
        self._output.append(item)
        whole = item.model_dump(mode="json")
        begun = whole | {"arguments": "", "status": "in_progress"}
        place = {"item_id": item.id, "output_index": at}
        arguments = "response.function_call_arguments"
        return [
            event("response.output_item.added", output_index=at, item=begun),
            event(f"{arguments}.delta", **place, delta=call.arguments),
            event(f"{arguments}.done", **place, name=call.name, arguments=call.arguments),
            event("response.output_item.done", output_index=at, item=whole),
        ]


def _new_message() -> OutputMessage:
    text = OutputText(text="")
    return OutputMessage(id=f"msg_{uuid.uuid4().hex}", status="in_progress", content=[text])


def _place(message: OutputMessage, at: int = 0) -> dict[str, Any]:
    """Where a message's only part is."""
    return {"item_id": message.id, "output_index": at, "content_index": 0}
