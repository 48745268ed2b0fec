"""The shapes of chat completions, as OpenAI has them."""

from __future__ import annotations

import uuid
from typing import Literal

from pydantic import BaseModel

from spec_local.serve.finish import FinishReason
from spec_local.serve.logprobs import ChatLogprobs
from spec_local.serve.usage import Timings, Usage


class FunctionCall(BaseModel):
    """What is called, and with what."""

    name: str
    arguments: str
    """As JSON."""


class MessageCall(BaseModel):
    """A call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    reasoning_content: str | None = None
    """What the model thought before, as llama.cpp's server has it."""
    refusal: None = None


class CallingMessage(ChatMessage):
    """An answer that calls tools."""

    tool_calls: list[MessageCall]


class ChatChoice(BaseModel):
    """One of the answers."""

    index: int
    message: CallingMessage | ChatMessage
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """The whole."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    timings: Timings


class CallDelta(BaseModel):
    """What is new of a call."""

    index: int
    id: str
    type: Literal["function"]
    function: FunctionCall


class Delta(BaseModel):
    """What is new of a message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[CallDelta] | None = None


class ChatChunkChoice(BaseModel):
    """What is new of a choice."""

    index: int
    delta: Delta
    logprobs: ChatLogprobs | None = None
    finish_reason: FinishReason | None


class ChatChunk(BaseModel):
    """One event of the stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None
    timings: Timings | None = None


def new_call_id() -> str:
    """The name of a call, by which its result is known: as Mistral's templates demand it."""
    return uuid.uuid4().hex[:9]
