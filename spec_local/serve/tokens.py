"""POST /tokenize, /detokenize and /apply-template, as llama.cpp's server has them.

The first two also read and write the names that vLLM has for the same things, which evaluation
harnesses know (lm-eval's `RemoteTokenizer`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from pydantic import AliasChoices, BaseModel, Field

from spec_local.errors import require
from spec_local.llama.quoting import CLOSE, OPEN
from spec_local.serve.chat_request import readable
from spec_local.serve.parameters import Body, TokenId, Wire
from spec_local.serve.service import service_of
from spec_local.serve.serving import Vocabulary

router = APIRouter()

_UNMARKED = str.maketrans("", "", OPEN + CLOSE)


class TokenizeRequest(Wire, Body):
    """A text."""

    content: str = Field(validation_alias=AliasChoices("content", "prompt"))
    add_special: bool = Field(
        False,
        validation_alias=AliasChoices("add_special", "add_special_tokens"),
        description="Begin as the model wants a text to begin.",
    )
    parse_special: bool = Field(True, description="Read names of control tokens as such.")
    model: str | None = None


class TokenizedText(BaseModel):
    """Its tokens."""

    tokens: list[int]


class DetokenizeRequest(Wire, Body):
    """Tokens."""

    tokens: list[TokenId]
    model: str | None = None


class DetokenizedText(BaseModel):
    """Their text, by both names."""

    content: str
    prompt: str


class TemplateRequest(Wire, Body):
    """Messages."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None
    model: str | None = None


class TemplatedPrompt(BaseModel):
    """What the chat template makes of them."""

    prompt: str


@router.post("/tokenize")
async def tokenize(request: Request, given: TokenizeRequest) -> TokenizedText:
    """Tokens of a text."""
    async with service_of(request).models.using(given.model) as served:
        tokens = await asyncio.to_thread(
            served.loaded.runner.vocab.tokenize,
            given.content,
            add_special=given.add_special,
            parse_special=given.parse_special,
        )
        return TokenizedText(tokens=tokens)


@router.post("/detokenize")
async def detokenize(request: Request, given: DetokenizeRequest) -> DetokenizedText:
    """Text of tokens; control tokens write nothing."""
    async with service_of(request).models.using(given.model) as served:
        written = await asyncio.to_thread(_written, given.tokens, served.loaded.runner.vocab)
        return DetokenizedText(content=written, prompt=written)


def _written(tokens: Sequence[int], vocab: Vocabulary) -> str:
    known = range(vocab.n_tokens)
    require(all(token in known for token in tokens), "There are ids the model lacks.")
    return b"".join(map(vocab.piece, tokens)).decode(errors="replace")


@router.post("/apply-template")
async def apply_template(request: Request, given: TemplateRequest) -> TemplatedPrompt:
    """The prompt that a chat would be, as a text."""
    async with service_of(request).models.using(given.model) as served:
        said = readable(given.messages)
        template = served.loaded.runner.template
        written = await asyncio.to_thread(template.render, said, given.tools or ())
        return TemplatedPrompt(prompt=written.translate(_UNMARKED))
