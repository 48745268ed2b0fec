"""GET /tokenizer_info, as vLLM has it: what a program needs to tokenize through this server.

lm-eval asks for it, and then needs no tokenizer of its own.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel

from spec_local.serve.service import service_of

router = APIRouter()


class TokenizerInfo(BaseModel):
    """Special tokens as the vocabulary spells them, and the chat template; None: there is none."""

    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    chat_template: str | None


@router.get("/tokenizer_info")
async def tokenizer_info(request: Request, model: str | None = None) -> TokenizerInfo:
    """What tokenizes."""
    async with service_of(request).models.using(model) as served:
        runner = served.loaded.runner
        spelled = {
            f"{name}_token": runner.vocab.text(token).decode(errors="replace")
            for name, token in runner.vocab.special_ids.items()
        }
        return TokenizerInfo(
            bos_token=spelled.get("bos_token"),
            eos_token=spelled.get("eos_token"),
            pad_token=spelled.get("pad_token"),
            chat_template=runner.template.source,
        )
