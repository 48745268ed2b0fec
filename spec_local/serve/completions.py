"""POST /v1/completions: a text, continued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Body, Request, Response

from spec_local.generation import GenerationOptions
from spec_local.serve.answer import Asked
from spec_local.serve.completion_reply import CompletionReply, EchoedPrompt, TextCompletion
from spec_local.serve.completion_request import CompletionRequest
from spec_local.serve.head import Head
from spec_local.serve.limits import Limits
from spec_local.serve.models import Loaded
from spec_local.serve.prompts import checked_length
from spec_local.serve.replying import replied
from spec_local.serve.sampling import sampling_of
from spec_local.serve.service import service_of
from spec_local.serve.serving import Vocabulary

if TYPE_CHECKING:
    from spec_local.prompt import Prompt

router = APIRouter()


@router.post("/v1/completions", response_model=TextCompletion)
async def create(request: Request, given: Annotated[CompletionRequest, Body()]) -> Response:
    """Continue texts."""
    limits = service_of(request).limits

    def prepared(loaded: Loaded) -> tuple[Asked, CompletionReply]:
        asked, vocab = _asked(given, loaded, limits), loaded.runner.vocab
        reply = CompletionReply(
            Head.new("cmpl", loaded.name),
            vocab,
            _echoed(asked, vocab) if given.echo else [],
            logprobs=given.logprobs is not None,
            usage=given.wants_usage,
        )
        return asked, reply

    return await replied(request, given, prepared)


def _asked(given: CompletionRequest, loaded: Loaded, limits: Limits) -> Asked:
    sampling = sampling_of(given, loaded.runner.sampling, None, limits.schema_bytes)
    prompts = given.prompts()
    most = given.most_tokens
    options: GenerationOptions = {
        "max_tokens": most,
        "stop": given.stops,
        "logprobs": given.logprobs,
    }
    return Asked(
        prompts=prompts,
        tokens=[checked_length(loaded.runner.tokenize(each), limits) for each in prompts],
        choices=given.n or 1,
        sampling=sampling,
        options=options,
        speculative=given.speculative,
        seconds=limits.seconds,
        scored=given.scored,
        generates=most > 0,
    )


def _echoed(asked: Asked, vocab: Vocabulary) -> list[EchoedPrompt]:
    """For each choice."""
    texts = (_text(prompt, vocab) for prompt in asked.prompts)
    prompts = map(EchoedPrompt, texts, asked.tokens)
    return [prompt for prompt in prompts for _ in range(asked.choices)]


def _text(prompt: Prompt, vocab: Vocabulary) -> str:
    if isinstance(prompt, str):
        return prompt
    return b"".join(vocab.piece(int(token)) for token in prompt).decode(errors="replace")  # type: ignore[arg-type]
