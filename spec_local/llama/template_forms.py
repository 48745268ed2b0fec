"""What a chat template takes besides texts, found by rendering small examples.

Templates differ in what they make of a content that is a list, of tools and of calls of tools.
Those that know nothing of them leave them out, or print them as Python would, and say nothing. So
each is tried once, and a message is given in the form that the template has written rightly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

from spec_local.errors import ConfigError
from spec_local.llama import quoting
from spec_local.llama.messages import Message, Tool, arguments, one_text

Write = Callable[[Sequence[Message], Sequence[Tool] | None], str]
"""Renders messages and tools; raises ConfigError where the template refuses them."""

_WORD = "lighthouse"
_USER = {"role": "user", "content": _WORD}
_FUNCTION = {"name": "look_up", "parameters": {"type": "object"}}
_CALLED = {"name": "look_up", "arguments": {_WORD: 1}}
_CALL = {
    "role": "assistant",
    "tool_calls": [{"id": "123456789", "type": "function", "function": _CALLED}],
}
"""The length of the id is what Mistral's templates demand."""


class CallForm(NamedTuple):
    """How a template wants an assistant's calls of tools."""

    no_content: str | None
    """What stands for a content that is not there."""
    as_object: bool
    """Whether it writes the arguments as JSON itself; else they are given as JSON."""


class TemplateForms:
    """The forms that one template takes."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def _written(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None) -> str:
        """The examples as the template writes them; nothing if it refuses them."""
        try:
            return self._write(messages, tools)
        except ConfigError:
            return ""

    @cached_property
    def takes_parts(self) -> bool:
        """Whether it writes the texts of a list of parts, and not the list."""
        said = self._written([{"role": "user", "content": _parts(_WORD)}])
        return _WORD in said and not any(f"{quote}text{quote}" in said for quote in "'\"")

    @cached_property
    def takes_text(self) -> bool:
        """Whether it writes a content that is a text; some go through its letters as parts."""
        return _WORD in self._written([_USER])

    @cached_property
    def takes_tools(self) -> bool:
        """Whether it writes tools, with the marks that keep their texts from being control tokens.

        A template that prints the list as Python would, or escapes it, destroys them.
        """
        marked = quoting.OPEN + _WORD + quoting.CLOSE
        function = {**_FUNCTION, "description": marked}
        return marked in self._written([_USER], [{"type": "function", "function": function}])

    @cached_property
    def call_form(self) -> CallForm | None:
        """The first in which it writes a call's name and, as JSON, its arguments; None: in none."""
        for no_content, as_object in product((None, ""), (True, False)):
            form = CallForm(no_content, as_object)
            said = self._written([_USER, _calling(_CALL, form)])
            if "look_up" in said and _WORD in said and f"'{_WORD}'" not in said:
                return form
        return None

    def fitted(self, message: Message) -> dict[str, Any]:
        """The message in these forms; raises ConfigError for calls of tools if it takes none."""
        said, content = dict(message), message.get("content")
        if content is not None:
            # One text, or one part: a template may write parts without anything between them, and
            # two harmless ones could then spell a control token.
            whole = one_text(content)
            said["content"] = _parts(whole) if self.takes_parts and not self.takes_text else whole
        if not said.get("tool_calls"):
            said.pop("tool_calls", None)
            return said
        if self.call_form is None:
            raise ConfigError(
                "The model's chat template has no place for tool calls; say in a text what was "
                "called."
            )
        return _calling(said, self.call_form)


def _parts(content: str) -> list[Mapping[str, str]]:
    return [{"type": "text", "text": content}]


def _calling(message: Message, form: CallForm) -> dict[str, Any]:
    """An assistant's message with calls of tools, in that form."""
    calls = []
    for call in message["tool_calls"]:
        given = arguments(call)
        written = given if form.as_object else _as_json(given)
        calls.append({**call, "function": {**call["function"], "arguments": written}})
    return {**message, "content": message.get("content") or form.no_content, "tool_calls": calls}


def _as_json(given: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(given), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        raise ConfigError("The arguments of a tool call must be what JSON can hold.") from None
