"""POST /v1/chat/completions: the assistant's next message."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from spec_local.generation import GenerationOptions
from spec_local.serve.answer import Asked
from spec_local.serve.chat_reply import ChatReply
from spec_local.serve.chat_request import ChatRequest
from spec_local.serve.chat_shapes import ChatCompletion
from spec_local.serve.head import Head
from spec_local.serve.limits import Limits
from spec_local.serve.models import Loaded
from spec_local.serve.prompts import conversation
from spec_local.serve.replying import replied
from spec_local.serve.said import telling
from spec_local.serve.sampling import sampling_of
from spec_local.serve.service import service_of
from spec_local.serve.tool_choice import Calling, calling

router = APIRouter()


@router.post("/v1/chat/completions", response_model=ChatCompletion)
@router.post("/chat/completions", include_in_schema=False)
async def create(request: Request, given: Annotated[ChatRequest, Body()]) -> Response:
    """Answer messages."""
    limits = service_of(request).limits

    def prepared(loaded: Loaded) -> tuple[Asked, ChatReply]:
        template = loaded.runner.template
        tools = calling(given.tools, given.tool_choice, template, limits.schema_bytes)
        asked = _asked(given, loaded, limits, tools)
        vocab, (prompt,) = loaded.runner.vocab, asked.tokens
        reply = ChatReply(
            Head.new("chatcmpl", loaded.name),
            vocab,
            partial(telling, given.reasoning_format, tools, asked.sampling, prompt, vocab),
            logprobs=bool(given.logprobs),
            usage=given.wants_usage,
        )
        return asked, reply

    return await replied(request, given, prepared)


def _asked(given: ChatRequest, loaded: Loaded, limits: Limits, tools: Calling) -> Asked:
    form = given.response_format
    wanted = None if form is None else form.schema_of_answer()
    schema = tools.schema(wanted, "response_format")
    sampling = sampling_of(given, loaded.runner.sampling, schema, limits.schema_bytes)
    options: GenerationOptions = {
        "max_tokens": given.most_tokens,
        "stop": given.stops + loaded.runner.template.stop,
        "logprobs": given.wanted_logprobs,
        "prediction": None if given.prediction is None else given.prediction.text(),
    }
    variables = given.chat_template_kwargs
    prompt = conversation(given.said(), tools, loaded.runner, limits, sampling, variables)
    return Asked(
        prompts=[prompt],
        tokens=[prompt],
        choices=given.n or 1,
        sampling=sampling,
        options=options,
        speculative=given.speculative,
        seconds=limits.seconds,
    )
