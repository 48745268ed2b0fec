"""POST /v1/responses: OpenAI's newer way of asking for an answer; nothing is kept."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response

from spec_local.sampling.settings import Sampling
from spec_local.serve.answer import Asked
from spec_local.serve.limits import Limits
from spec_local.serve.models import Loaded
from spec_local.serve.prompts import conversation
from spec_local.serve.replying import replied
from spec_local.serve.response_reply import ResponseReply
from spec_local.serve.response_request import ResponseRequest
from spec_local.serve.response_shapes import ModelResponse
from spec_local.serve.said import telling
from spec_local.serve.sampling import sampling_of
from spec_local.serve.service import service_of
from spec_local.serve.tool_choice import Calling, calling

router = APIRouter()


@router.post("/v1/responses", response_model=ModelResponse)
@router.post("/responses", include_in_schema=False)
async def create(request: Request, given: Annotated[ResponseRequest, Body()]) -> Response:
    """Answer what was said."""
    limits = service_of(request).limits

    def prepared(loaded: Loaded) -> tuple[Asked, ResponseReply]:
        tools = calling(
            given.chat_tools(), given.chat_choice(), loaded.runner.template, limits.schema_bytes
        )
        asked = _asked(given, loaded, limits, tools)
        vocab, (prompt,) = loaded.runner.vocab, asked.tokens
        told = telling(given.reasoning_format, tools, asked.sampling, prompt, vocab)
        return asked, ResponseReply(_fields(given, loaded, asked.sampling), told)

    return await replied(request, given, prepared)


def _asked(given: ResponseRequest, loaded: Loaded, limits: Limits, tools: Calling) -> Asked:
    schema = tools.schema(given.schema_of_answer(), "text.format")
    sampling = sampling_of(given, loaded.runner.sampling, schema, limits.schema_bytes)
    variables = given.chat_template_kwargs
    prompt = conversation(given.said(), tools, loaded.runner, limits, sampling, variables)
    return Asked(
        prompts=[prompt],
        tokens=[prompt],
        choices=1,
        sampling=sampling,
        options={"max_tokens": given.max_output_tokens, "stop": loaded.runner.template.stop},
        speculative=given.speculative,
        seconds=limits.seconds,
    )


def _fields(given: ResponseRequest, loaded: Loaded, sampling: Sampling) -> dict[str, Any]:
    """What of the answer is known beforehand."""
    form = None if given.text is None else given.text.format
    choice = given.tool_choice
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "created_at": int(time.time()),
        "model": loaded.name,
        "instructions": given.instructions,
        "max_output_tokens": given.max_output_tokens,
        "metadata": given.metadata,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "text": {
            "format": {"type": "text"}
            if form is None
            else form.model_dump(by_alias=True, exclude_none=True)
        },
        "tool_choice": "auto"
        if choice is None
        else (choice if isinstance(choice, str) else choice.model_dump()),
        "tools": given.tools or [],
    }
