"""What is asked of /v1/responses, and the messages that it means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from spec_local.errors import ConfigError, require
from spec_local.serve.chat_request import ANY_OBJECT, readable
from spec_local.serve.parameters import (
    Body,
    ChatParameters,
    Ignoring,
    Meaningless,
    SamplingParameters,
    Speculative,
    Unsupported,
    Wire,
)
from spec_local.serve.tool_choice import NamedFunction, NamedTool, ToolChoice


class TextFormat(Wire):
    """What the answer must be."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None

    def schema_of_answer(self) -> dict[str, Any] | None:
        """The JSON schema of the answer, None for text; raises ConfigError without one."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return ANY_OBJECT
        require(self.schema_ is not None, "text.format has no schema.")
        return self.schema_


class TextConfig(Wire):
    """Of the text."""

    format: TextFormat | None = None
    verbosity: Any = Field(None, description="Ignored.")


class ChosenFunction(Wire):
    """The function that must be called."""

    type: Literal["function"]
    name: str


class ResponseRequest(SamplingParameters, ChatParameters, Ignoring, Body):
    """What was said, and how it is answered."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    model: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    text: TextConfig | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenFunction | None = None
    speculative: Speculative | None = None
    metadata: dict[str, str] | None = Field(None, description="Given back.")
    store: Meaningless = None
    user: Meaningless = None
    include: Meaningless = None
    reasoning: Meaningless = None
    truncation: Meaningless = None
    service_tier: Meaningless = None
    safety_identifier: Meaningless = None
    prompt_cache_key: Meaningless = None
    prompt_cache_options: Meaningless = None
    prompt_cache_retention: Meaningless = None
    parallel_tool_calls: Meaningless = None
    stream_options: Meaningless = None
    previous_response_id: None = Field(None, description="Nothing is kept; send all of it.")
    background: Literal[False] | None = None
    context_management: Unsupported = None
    conversation: Unsupported = None
    max_tool_calls: Unsupported = None
    moderation: Unsupported = None
    prompt: Unsupported = None
    top_logprobs: Unsupported = None

    def said(self) -> list[dict[str, Any]]:
        """The messages; raises ConfigError for items that are none."""
        messages: list[dict[str, Any]] = []
        if self.instructions is not None:
            messages.append({"role": "system", "content": self.instructions})
        if isinstance(self.input, str):
            return readable([*messages, {"role": "user", "content": self.input}])
        for item in self.input:
            _add(messages, item)
        require(bool(self.input), "The input is empty.")
        return readable(messages)

    def chat_tools(self) -> list[dict[str, Any]]:
        """The tools as chat templates take them; raises ConfigError for others than functions."""
        return [_function(tool) for tool in self.tools or ()]

    def chat_choice(self) -> ToolChoice | None:
        """Which of them must be called."""
        chosen = self.tool_choice
        if isinstance(chosen, ChosenFunction):
            return NamedTool(type="function", function=NamedFunction(name=chosen.name))
        return chosen

    def schema_of_answer(self) -> dict[str, Any] | None:
        """The JSON schema of the answer; None for text."""
        form = None if self.text is None else self.text.format
        return None if form is None else form.schema_of_answer()


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    kind = tool.get("type")
    require(kind == "function", f"A tool has the type {kind}; only functions can be called here.")
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type"}}


def _add(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    """One item after the messages before it."""
    kind = item.get("type", "message")
    if kind == "message":
        messages.append({"role": item.get("role"), "content": _content(item.get("content"))})
    elif kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        if messages and messages[-1].get("role") == "assistant":
            messages[-1].setdefault("tool_calls", []).append(call)
        else:
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind == "function_call_output":
        said = _content(item.get("output"))
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": said})
    elif kind != "reasoning":
        raise ConfigError(f"The input has an item of type {kind}; models read text only here.")


def _content(content: object) -> object:
    """Parts of a text by the name that chats have for it."""
    if not isinstance(content, Sequence) or isinstance(content, str):
        return content
    return [
        {**part, "type": "text"}
        if isinstance(part, dict) and part.get("type") in ("input_text", "output_text")
        else part
        for part in content
    ]
