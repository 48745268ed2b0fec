"""The shapes of /v1/responses, as OpenAI has them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from spec_local.serve.usage import Spent, Timings

Status = Literal["in_progress", "completed", "incomplete"]


class OutputText(BaseModel):
    """The text of a message."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = []
    logprobs: list[Any] = []


class OutputMessage(BaseModel):
    """What the model says."""

    text_events: ClassVar[str] = "response.output_text"
    text_fields: ClassVar[Mapping[str, Any]] = {"logprobs": []}

    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    status: Status
    content: list[OutputText]

    @classmethod
    def new(cls) -> OutputMessage:
        """One that is just begun."""
        text = OutputText(text="")
        return cls(id=f"msg_{uuid.uuid4().hex}", status="in_progress", content=[text])


class ReasoningText(BaseModel):
    """The text of a thought."""

    type: Literal["reasoning_text"] = "reasoning_text"
    text: str


class OutputReasoning(BaseModel):
    """What the model thinks before it says something."""

    text_events: ClassVar[str] = "response.reasoning_text"
    text_fields: ClassVar[Mapping[str, Any]] = {}

    id: str
    type: Literal["reasoning"] = "reasoning"
    status: Status
    summary: list[Any] = []
    content: list[ReasoningText]

    @classmethod
    def new(cls) -> OutputReasoning:
        """One that is just begun."""
        text = ReasoningText(text="")
        return cls(id=f"rs_{uuid.uuid4().hex}", status="in_progress", content=[text])


class OutputCall(BaseModel):
    """What the model calls."""

    id: str
    type: Literal["function_call"] = "function_call"
    status: Status
    call_id: str
    name: str
    arguments: str


TextItem = OutputMessage | OutputReasoning
OutputItem = TextItem | OutputCall


class InputTokensDetails(BaseModel):
    """Of what was read."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(BaseModel):
    """Of what was written."""

    reasoning_tokens: int = 0
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class ResponseUsage(BaseModel):
    """Tokens."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, spent: Spent) -> ResponseUsage:
        """The same in the words of this endpoint."""
        usage = spent.usage()
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(
                cached_tokens=usage.prompt_tokens_details.cached_tokens
            ),
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(
                **usage.completion_tokens_details.model_dump()
            ),
            total_tokens=usage.total_tokens,
        )


class IncompleteDetails(BaseModel):
    """Why an answer is cut short."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ModelResponse(BaseModel):
    """The whole."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    model: str
    status: Status
    error: None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str] | None
    output: Sequence[OutputItem]
    parallel_tool_calls: Literal[True] = True
    previous_response_id: None = None
    store: Literal[False] = False
    temperature: float
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    timings: Timings | None = None
