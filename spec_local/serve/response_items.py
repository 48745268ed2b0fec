"""The items of a response, one after the other, and the events that tell of each."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from spec_local.serve.chat_shapes import new_call_id
from spec_local.serve.response_shapes import OutputCall, OutputItem, Status, TextItem
from spec_local.serve.tool_calls import ToolCall


class Events:
    """Numbers the events of a stream."""

    def __init__(self) -> None:
        self._number = 0

    def __call__(self, kind: str, **fields: Any) -> bytes:
        """The next one."""
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode()


class Items:
    """Those that are written so far; every method gives its events."""

    def __init__(self, event: Events) -> None:
        self.written = list[OutputItem]()
        self._event = event
        self._open: TextItem | None = None

    def text(self, kind: type[TextItem], delta: str) -> Iterator[bytes]:
        """More text, of an item of that kind."""
        if not isinstance(self._open, kind):
            yield from self.end("completed")
            yield from self._begin(kind.new())
        item = self._open
        assert item is not None
        item.content[0].text += delta
        fields = {**self._place(item), "delta": delta, **item.text_fields}
        yield self._event(f"{item.text_events}.delta", **fields)

    def _begin(self, item: TextItem) -> Iterator[bytes]:
        added = item.model_dump(mode="json") | {"content": []}
        part = item.content[0].model_dump(mode="json")
        self._open = item
        self.written.append(item)
        yield self._event("response.output_item.added", output_index=self._last, item=added)
        yield self._event("response.content_part.added", **self._place(item), part=part)

    def end(self, status: Status) -> Iterator[bytes]:
        """Nothing more is said in the present item, if there is any."""
        item, self._open = self._open, None
        if item is None:
            return
        item.status = status
        place, part = self._place(item), item.content[0]
        said = part.model_dump(mode="json")
        whole = item.model_dump(mode="json")
        yield self._event(f"{item.text_events}.done", **place, text=part.text, **item.text_fields)
        yield self._event("response.content_part.done", **place, part=said)
        yield self._event("response.output_item.done", output_index=self._last, item=whole)

    def call(self, call: ToolCall) -> Iterator[bytes]:
        """A call, whole: it is known to be one when it is complete."""
        yield from self.end("completed")
        item = OutputCall(
            id=f"fc_{uuid.uuid4().hex}",
            status="completed",
            call_id=new_call_id(),
            name=call.name,
            arguments=call.arguments,
        )
        self.written.append(item)
        whole = item.model_dump(mode="json")
        begun = whole | {"arguments": "", "status": "in_progress"}
        place = {"item_id": item.id, "output_index": self._last}
        arguments = "response.function_call_arguments"
        yield self._event("response.output_item.added", output_index=self._last, item=begun)
        yield self._event(f"{arguments}.delta", **place, delta=call.arguments)
        yield self._event(f"{arguments}.done", **place, name=call.name, arguments=call.arguments)
        yield self._event("response.output_item.done", output_index=self._last, item=whole)

    @property
    def _last(self) -> int:
        return len(self.written) - 1

    def _place(self, item: TextItem) -> dict[str, Any]:
        """Where the only part of the last item is."""
        return {"item_id": item.id, "output_index": self._last, "content_index": 0}
