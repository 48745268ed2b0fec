"""How a model writes calls of tools, read off what its own chat template makes of an example."""

from __future__ import annotations

import json
import re
from typing import Any

from spec_local.errors import ConfigError
from spec_local.llama.quoting import CLOSE, OPEN
from spec_local.serve.harmony import HarmonyCalls
from spec_local.serve.serving import Template
from spec_local.serve.tool_format import NamedCalls, ObjectCalls, ToolFormat, object_at
from spec_local.thoughts import MARKS, without_thoughts

_NAME, _KEY, _ID = "look_up_lighthouse", "lighthouse", "123456789"
_ARGUMENTS = {_KEY: 1}
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
    "id": _ID,
    "type": "function",
    "function": {"name": _NAME, "arguments": json.dumps(_ARGUMENTS)},
}
_CALLED = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
_MARKS = re.compile(f"[{OPEN}{CLOSE}]")


def tool_format(template: Template) -> ToolFormat | None:
    """How calls are written by that template's model; None if their arguments are no JSON."""
    try:
        before = _MARKS.sub("", template.render([_USER], [_TOOL]))
        called = _MARKS.sub("", template.render([_USER, _CALLED], [_TOOL]))
    except ConfigError:
        return None
    written = called[len(_common_beginning(before, called)) :]
    at = written.find(_NAME)
    if at < 0:
        return None
    return _object_calls(written, at) or _harmony_calls(written, at) or _named_calls(written, at)


def _common_beginning(before: str, called: str) -> str:
    """The rendered question up to where the answer begins, or a thought before it."""
    before = _without_thought(before)
    if called.startswith(before):
        return before
    length = next(
        (i for i, pair in enumerate(zip(before, called, strict=False)) if pair[0] != pair[1]),
        min(len(before), len(called)),
    )
    return before[:length]


def _without_thought(before: str) -> str:
    """The question without a thought that the template has opened, or has left empty."""
    for marks in MARKS:
        question, opens, thought = before.rpartition(marks.opens)
        if opens and not thought.replace(marks.closes, "").strip():
            return question
    return before


def _object_calls(written: str, at: int) -> ObjectCalls | None:
    """written: the answer, which has the name at that place."""
    start = written.find("{", 0, at)
    while start >= 0:
        found = object_at(written, start)[0]
        if isinstance(found, dict) and _NAME in found.values():
            names = [key for key, value in found.items() if value == _NAME]
            given = [key for key, value in found.items() if _is_arguments(value)]
            if len(names) != 1 or len(given) != 1:
                return None
            return ObjectCalls(without_thoughts(written[:start]), names[0], given[0])
        start = written.find("{", start + 1, at)
    return None


def _harmony_calls(written: str, at: int) -> HarmonyCalls | None:
    channel = "<|channel|>" in written[at:].partition("<|message|>")[0]
    return HarmonyCalls() if channel and written[:at].endswith("to=functions.") else None


def _named_calls(written: str, at: int) -> NamedCalls | None:
    opening, rest = without_thoughts(written[:at]), written[at + len(_NAME) :]
    start = rest.find("{")
    if start < 0 or not opening.strip() or object_at(rest, start)[0] != _ARGUMENTS:
        return None
    return NamedCalls(opening, rest[:start], _ID)


def _is_arguments(value: Any) -> bool:
    return value in (_ARGUMENTS, json.dumps(_ARGUMENTS))
