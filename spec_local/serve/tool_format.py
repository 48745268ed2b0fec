"""How a model writes calls of tools: the name within a JSON object, or before one."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from spec_local.errors import ConfigError
from spec_local.serve.tool_calls import CallReader, MarkedCalls, WrittenCall

_DECODER = json.JSONDecoder()
_ANY_ID = r"[\w-]+"
_ANYTHING = {"type": "object", "additionalProperties": True}


class Demand(NamedTuple):
    """A call that must be made: its beginning is written for the model."""

    opening: str
    begun: str
    """What of the opening belongs to the call itself, after the mark."""
    schema: dict[str, Any]
    """What must follow."""


class ToolFormat(Protocol):
    """A way of writing calls."""

    def reader(
        self, names: Collection[str], begun: str | None = None, *, thinks: bool = False
    ) -> CallReader:
        """Tells calls of tools with such names from an answer.

        begun: what of a call is part of the prompt, see `Demand`; None where nothing is.
        thinks: thoughts are told apart, also those that do not stand before the answer.
        """

    def demand(self, tools: Sequence[Mapping[str, Any]]) -> Demand:
        """That one of the tools be called; raises ConfigError where that cannot be demanded."""


def _mark_of(opening: str) -> str:
    """What tells that calls begin: the bracket of a list may stand behind it, near or far."""
    opening = opening.strip()
    return opening.rstrip("[").rstrip() or opening


@dataclass(frozen=True, slots=True)
class ObjectCalls:
    """A call is a JSON object, perhaps after an opening mark."""

    opening: str
    """Between the beginning of the answer and the first call, as `<tool_call>` and a line."""
    name_key: str
    """The entry of the object that has the function's name."""
    arguments_key: str
    """The entry that has its arguments."""

    def reader(
        self, names: Collection[str], begun: str | None = None, *, thinks: bool = False
    ) -> CallReader:
        """See `ToolFormat`."""
        return MarkedCalls(self.find, _mark_of(self.opening), names, begun)

    def find(self, text: str) -> WrittenCall | None:
        """The first call in the text; None while there is no complete one."""
        value, end = object_at(text, text.find("{"))
        if value is None:
            return None
        return WrittenCall(value.get(self.name_key), value.get(self.arguments_key, {}), end)

    def demand(self, tools: Sequence[Mapping[str, Any]]) -> Demand:
        """That one of the tools be called."""
        return Demand(self.opening, "", self.schema(tools))

    def schema(self, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What a call of one of the tools must be, as a JSON schema."""
        calls, shared = list[dict[str, Any]](), dict[str, Any]()
        for number, tool in enumerate(tools):
            function = tool["function"]
            # What one tool's schema refers to within itself stands at the root, under its number.
            shared[str(number)] = _moved(parameters(tool), f"#/$defs/{number}")
            calls.append(self._schema_of(function["name"], f"#/$defs/{number}"))
        call = calls[0] if len(calls) == 1 else {"anyOf": calls}
        return {**call, "$defs": shared}

    def _schema_of(self, name: str, arguments: str) -> dict[str, Any]:
        """arguments: where their schema is."""
        return {
            "type": "object",
            "properties": {
                self.name_key: {"const": name},
                self.arguments_key: {"$ref": arguments},
            },
            "required": [self.name_key, self.arguments_key],
            "additionalProperties": False,
        }


@dataclass(frozen=True, slots=True)
class NamedCalls:
    """A call is a name and after it, as a JSON object, its arguments."""

    opening: str
    between: str
    """Between the name and the object, as `[ARGS]`."""
    call_id: str
    """What in it stands for the name of the call."""

    def reader(
        self, names: Collection[str], begun: str | None = None, *, thinks: bool = False
    ) -> CallReader:
        """See `ToolFormat`."""
        return MarkedCalls(self.find, _mark_of(self.opening), names, begun)

    def find(self, text: str) -> WrittenCall | None:
        """The first call in the text; None while there is no complete one."""
        between = _ANY_ID.join(map(re.escape, self.between.strip().split(self.call_id)))
        begun = re.search(rf"(?<![\w.-])([\w.-]+)\s*{between}\s*(?=\{{)", text)
        if begun is None:
            return None
        value, end = object_at(text, begun.end())
        return None if value is None else WrittenCall(begun[1], value, end)

    def demand(self, tools: Sequence[Mapping[str, Any]]) -> Demand:
        """That the tool be called."""
        tool = only_one(tools)
        begun = tool["function"]["name"] + self.between
        return Demand(self.opening + begun, begun, dict(parameters(tool)))


def only_one(tools: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The tool that is demanded where the name comes first; raises ConfigError for several."""
    if len(tools) > 1:
        raise ConfigError(
            "This model writes the name of a tool before the JSON, so that one of several "
            "cannot be demanded; name it in tool_choice."
        )
    return tools[0]


def parameters(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON schema of its arguments."""
    return tool["function"].get("parameters") or _ANYTHING


def object_at(text: str, start: int) -> tuple[dict[str, Any] | None, int]:
    """The JSON object that begins there, None while it is not complete, and where it ends."""
    try:
        return _DECODER.raw_decode(text, start) if start >= 0 else (None, 0)
    except (ValueError, RecursionError):
        return None, 0


def _moved(schema: Any, place: str) -> Any:
    """A schema that stands at that place of a larger one: its own references lead there."""
    if isinstance(schema, list):
        return [_moved(each, place) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    moved = {key: _moved(value, place) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved
