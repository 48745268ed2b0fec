"""Messages and tools as applications write them, in the form that most services take."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from spec_local.errors import ConfigError, require

Message = Mapping[str, Any]
"""A message of a chat: its `role` (system, user, assistant, tool) and its `content`.

The content is a text, or a list of parts `{"type": "text", "text": …}`. An assistant's message may
have `tool_calls` and no content; a tool's says by `tool_call_id` which call it answers.
"""

Tool = Mapping[str, Any]
"""What a model may call: `{"type": "function", "function": {"name": …, "parameters": …}}`."""

IMAGE_PARTS = ("image_url", "input_image", "image")
"""Types of parts that are images."""
NO_EYES = "Images need the model's encoder; give it with --mmproj, or leave them out."
_INCOMPLETE = "Each message needs a role and a content."


def check_message(message: object) -> None:
    """Raise ConfigError unless it is one, and all of it text."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise ConfigError(_INCOMPLETE)
    calls = message.get("tool_calls") or []
    require(isinstance(calls, list | tuple), "The tool calls of a message must be a list.")
    require("content" in message or bool(calls), _INCOMPLETE)
    for call in calls:
        arguments(call)
    content = message.get("content")
    if isinstance(content, list | tuple):
        for part in content:
            _check_part(part)
    elif not (content is None and calls):
        require(
            isinstance(content, str), "A message's content must be text or a list of text parts."
        )


def _check_part(part: object) -> None:
    kind = part.get("type") if isinstance(part, Mapping) else None
    require(isinstance(kind, str), "Each part of a message needs a type.")
    require(kind not in IMAGE_PARTS, NO_EYES)
    require(kind == "text", f"A message has a part of type {kind}; models read text only here.")
    assert isinstance(part, Mapping)
    require(isinstance(part.get("text"), str), "A text part of a message needs a text.")


def check_tool(tool: object) -> None:
    """Raise ConfigError unless it is one."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    require(
        isinstance(function, Mapping) and isinstance(function.get("name"), str),
        "Each tool needs a type and a function with a name.",
    )


def arguments(call: object) -> Mapping[str, Any]:
    """What a message calls a tool with; raises ConfigError if that is no call of a tool."""
    function = call.get("function") if isinstance(call, Mapping) else None
    require(
        isinstance(function, Mapping) and isinstance(function.get("name"), str),
        "Each tool call needs a function with a name and arguments.",
    )
    assert isinstance(function, Mapping)
    given = function.get("arguments") or {}
    try:
        found = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping):
        raise ConfigError("The arguments of a tool call must be a JSON object.")
    return found


def one_text(content: str | Sequence[Mapping[str, str]] | None) -> str:
    """A content as a single text; parts of it become lines, as in llama.cpp's server."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part["text"] for part in content)


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A copy in plain dicts and lists, every text in it changed, the names of entries as well."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {with_texts(key, change): with_texts(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts(each, change) for each in value]
    return value
