"""How a model writes calls of tools, read off what its own chat template makes of an example."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spec_local.errors import ConfigError
from spec_local.llama.quoting import CLOSE, OPEN
from spec_local.serve.serving import Template

_NAME, _KEY = "look_up_lighthouse", "lighthouse"
_TOOL = {
    "type": "function",
    "function": {
        "name": _NAME,
        "description": "?",
        "parameters": {"type": "object", "properties": {_KEY: {"type": "integer"}}},
    },
}
_USER = {"role": "user", "content": "?"}
_CALL = {
    "id": "123456789",
    "type": "function",
    "function": {"name": _NAME, "arguments": json.dumps({_KEY: 1})},
}
_CALLED = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
_MARKS = re.compile(f"[{OPEN}{CLOSE}]")
_DECODER = json.JSONDecoder()
_ANYTHING = {"type": "object", "additionalProperties": True}


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """A call is a JSON object, perhaps after an opening mark."""

    opening: str
    """Between the beginning of the answer and the first call, as `<tool_call>` and a new line."""
    name_key: str
    """The entry of the object that has the function's name."""
    arguments_key: str
    """The entry that has its arguments."""

    @property
    def mark(self) -> str:
        """What tells that calls begin; without one an answer that begins with { is calls."""
        return self.opening.strip()

    def schema(self, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What a call of one of the tools must be, as a JSON schema."""
        calls, shared = list[dict[str, Any]](), dict[str, Any]()
        for number, tool in enumerate(tools):
            function = tool["function"]
            parameters = function.get("parameters") or _ANYTHING
            # What one tool's schema refers to within itself stands at the root, under its number.
            shared[str(number)] = _moved(parameters, f"#/$defs/{number}")
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


def tool_format(template: Template) -> ToolFormat | None:
    """How calls are written by that template's model; None if not as JSON."""
    try:
        before = _MARKS.sub("", template.render([_USER], [_TOOL]))
        called = _MARKS.sub("", template.render([_USER, _CALLED], [_TOOL]))
    except ConfigError:
        return None
    common = _common_beginning(before, called)
    at = called.find(_NAME, len(common))
    found = _object_around(called, common, at) if at >= 0 else None
    if found is None:
        return None
    start, call = found
    names = [key for key, value in call.items() if value == _NAME]
    given = [key for key, value in call.items() if value in ({_KEY: 1}, json.dumps({_KEY: 1}))]
    if len(names) != 1 or len(given) != 1:
        return None
    return ToolFormat(called[len(common) : start], names[0], given[0])


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


def _common_beginning(before: str, called: str) -> str:
    """The rendered question up to where the answer begins."""
    if called.startswith(before):
        return before
    length = next(
        (i for i, pair in enumerate(zip(before, called, strict=False)) if pair[0] != pair[1]),
        min(len(before), len(called)),
    )
    return before[:length]


def _object_around(text: str, common: str, at: int) -> tuple[int, dict[str, Any]] | None:
    """The JSON object that the name at that place belongs to, and where it begins."""
    start = text.find("{", len(common), at)
    while start >= 0:
        try:
            found, _end = _DECODER.raw_decode(text, start)
        except ValueError:
            found = None
        if isinstance(found, dict) and _NAME in found.values():
            return start, found
        start = text.find("{", start + 1, at)
    return None
