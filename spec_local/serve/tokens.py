"""POST /tokenize, /detokenize and /apply-template, as llama.cpp's server has them."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from spec_local.errors import require
from spec_local.llama.quoting import CLOSE, OPEN
from spec_local.serve.chat_request import readable
from spec_local.serve.parameters import Wire
from spec_local.serve.service import service_of

router = APIRouter()

_UNMARKED = str.maketrans("", "", OPEN + CLOSE)


class TokenizeRequest(Wire):
    """A text."""

    content: str
    add_special: bool = Field(False, description="Begin as the model wants a text to begin.")
    parse_special: bool = Field(True, description="Read names of control tokens as such.")
    model: str | None = None


class TokenizedText(BaseModel):
    """Its tokens."""

    tokens: list[int]


class DetokenizeRequest(Wire):
    """Tokens."""

    tokens: list[int]
    model: str | None = None


class DetokenizedText(BaseModel):
    """Their text."""

    content: str


class TemplateRequest(Wire):
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
        vocab = served.loaded.runner.vocab
        known = range(vocab.n_tokens)
        require(all(token in known for token in given.tokens), "There are ids the model lacks.")
        written = b"".join(map(vocab.piece, given.tokens))
        return DetokenizedText(content=written.decode(errors="replace"))


@router.post("/apply-template")
async def apply_template(request: Request, given: TemplateRequest) -> TemplatedPrompt:
    """The prompt that a chat would be, as a text."""
    async with service_of(request).models.using(given.model) as served:
        said = readable(given.messages)
        template = served.loaded.runner.template
        written = await asyncio.to_thread(template.render, said, given.tools or ())
        return TemplatedPrompt(prompt=written.translate(_UNMARKED))
