"""Log-probabilities as OpenAI writes them: of a chat's answer, and of a text's continuation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from spec_local.engine.logprobs import TokenLogprobs
from spec_local.serve.serving import Vocabulary
from spec_local.serve.token_texts import PlacedToken, placed


class TopLogprob(BaseModel):
    """A token that was considered."""

    token: str
    logprob: float
    bytes: list[int] | None
    """None for a control token, which writes nothing."""


class TokenLogprob(TopLogprob):
    """A token of the text, and what else was considered."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(BaseModel):
    """Of a chat's answer."""

    content: list[TokenLogprob]
    refusal: None = None


class TextLogprobs(BaseModel):
    """Of a text; None where nothing stands before a token that it could be judged by."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


def spelled(token: int, vocab: Vocabulary) -> str:
    """The token's text; of a control token its name."""
    return (vocab.piece(token) or vocab.text(token)).decode(errors="replace")


def _top(token: int, logprob: float, vocab: Vocabulary) -> dict[str, object]:
    written = list(vocab.piece(token)) or None
    return {"token": spelled(token, vocab), "logprob": logprob, "bytes": written}


def chat_logprobs(tokens: Iterable[PlacedToken], vocab: Vocabulary) -> ChatLogprobs:
    """Those of a chat's answer."""
    entries = [
        {
            **_top(found.token, found.logprob, vocab),
            "top_logprobs": [_top(*rival, vocab) for rival in found.top],
        }
        for found, _offset in tokens
    ]
    return ChatLogprobs.model_validate({"content": entries, "refusal": None})


def text_logprobs(tokens: Iterable[PlacedToken], vocab: Vocabulary) -> TextLogprobs:
    """Those of a text; the token itself is always among the top ones."""
    listed = list(tokens)
    tops = list[dict[str, float] | None]()
    for found, _offset in listed:
        top: dict[str, float] = {}
        for token, logprob in (*found.top, (found.token, found.logprob)):
            top.setdefault(spelled(token, vocab), logprob)
        tops.append(top)
    return TextLogprobs(
        tokens=[spelled(found.token, vocab) for found, _ in listed],
        token_logprobs=[found.logprob for found, _ in listed],
        top_logprobs=tops,
        text_offset=[offset for _, offset in listed],
    )


def prompt_logprobs(
    tokens: Sequence[int], scores: Sequence[TokenLogprobs], vocab: Vocabulary
) -> TextLogprobs:
    """Those of a prompt that is written out; scores: of all its tokens but the first."""
    offsets = placed(tokens, vocab.piece)
    rest = text_logprobs(map(PlacedToken, scores, offsets[1:]), vocab)
    first = TextLogprobs(
        tokens=[spelled(tokens[0], vocab)],
        token_logprobs=[None],
        top_logprobs=[None],
        text_offset=[0],
    )
    return joined([first, rest])


def joined(parts: Sequence[TextLogprobs]) -> TextLogprobs:
    """One after the other."""
    return TextLogprobs(
        tokens=[each for part in parts for each in part.tokens],
        token_logprobs=[each for part in parts for each in part.token_logprobs],
        top_logprobs=[each for part in parts for each in part.top_logprobs],
        text_offset=[each for part in parts for each in part.text_offset],
    )
