"""What is asked of /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from spec_local.errors import require
from spec_local.serve.parameters import ChatParameters, Parameters, Unsupported, Wire
from spec_local.serve.tool_choice import ToolChoice

MOST_TOP_LOGPROBS = 20
"""As OpenAI has it."""

ANY_OBJECT: dict[str, Any] = {"type": "object", "additionalProperties": True}
"""The schema of `json_object`."""


class JsonSchemaFormat(Wire):
    """A schema by its name; it is always obeyed strictly."""

    name: str
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(Wire):
    """What the answer must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None
    schema_: Annotated[
        dict[str, Any] | None, Field(alias="schema", description="As llama.cpp has it.")
    ] = None

    def schema_of_answer(self) -> dict[str, Any] | None:
        """The JSON schema of the answer, None for text; raises ConfigError without one."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return self.schema_ or ANY_OBJECT
        found = self.schema_ if self.json_schema is None else self.json_schema.schema_
        require(found is not None, "response_format has no schema; give json_schema.schema.")
        return found


class TextPart(Wire):
    """A part of a text."""

    type: Literal["text"]
    text: str


class Prediction(Wire):
    """What much of the answer will be."""

    type: Literal["content"]
    content: str | list[TextPart]

    def text(self) -> str:
        """All of it."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatRequest(Parameters, ChatParameters):
    """Messages, and how they are answered."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MOST_TOP_LOGPROBS)
    response_format: ResponseFormat | None = None
    prediction: Prediction | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: ToolChoice | None = None
    modalities: list[Literal["text"]] | None = None
    audio: Unsupported = None
    function_call: Unsupported = None
    functions: Unsupported = None
    moderation: Unsupported = None
    web_search_options: Unsupported = None

    @property
    def most_tokens(self) -> int | None:
        """Of each choice; None until the model ends."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def wanted_logprobs(self) -> int | None:
        """How many of the best at every position; None reports none. Raises ConfigError."""
        require(
            self.top_logprobs is None or bool(self.logprobs), "top_logprobs needs logprobs: true."
        )
        return (self.top_logprobs or 0) if self.logprobs else None

    def said(self) -> list[dict[str, Any]]:
        """The messages as chat templates know them."""
        return readable(self.messages)


_READ = ("role", "content", "name", "tool_calls", "tool_call_id")
_SAME = {"developer": "system"}


def readable(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with what chat templates know of them."""
    return [_known(message) for message in messages]


def _known(message: dict[str, Any]) -> dict[str, Any]:
    read = {name: message[name] for name in _READ if message.get(name) is not None}
    if "content" in message:
        read["content"] = message["content"]
    role = read.get("role")
    return read | {"role": _SAME.get(role, role) if isinstance(role, str) else role}
