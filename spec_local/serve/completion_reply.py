"""What /v1/completions answers, whole and in a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel

from spec_local.serve.answer import Answer, ChoiceChunk
from spec_local.serve.event_stream import DONE, as_event
from spec_local.serve.finish import finish_reason
from spec_local.serve.head import Head
from spec_local.serve.logprobs import TextLogprobs, joined, prompt_logprobs, text_logprobs
from spec_local.serve.serving import Vocabulary
from spec_local.serve.token_texts import TokenTexts
from spec_local.serve.usage import Timings, Usage


class TextChoice(BaseModel):
    """One of the continuations."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length"] | None


class TextCompletion(BaseModel):
    """The whole, or one event of the stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | None = None
    timings: Timings | None = None


class EchoedPrompt(NamedTuple):
    """What is written before a continuation."""

    text: str
    tokens: Sequence[int]


class CompletionReply:
    """Writes an answer as completions of texts."""

    def __init__(
        self,
        head: Head,
        vocab: Vocabulary,
        echoed: Sequence[EchoedPrompt],
        *,
        logprobs: bool,
        usage: bool,
    ) -> None:
        """echoed: for each choice; empty without echo. logprobs: written for every token."""
        self._head, self._vocab = head, vocab
        self._echoed = echoed
        self._logprobs, self._usage = logprobs, usage

    async def whole(self, answer: Answer) -> TextCompletion:
        """All choices, once they are written."""
        parts: list[list[TextChoice]] = [[] for _ in range(answer.choices)]
        async with aclosing(self._parts(answer)) as found:
            async for part in found:
                parts[part.index].append(part)
        spent = answer.spent
        choices = [self._joined(each) for each in parts]
        return TextCompletion(
            **self._fields(), choices=choices, usage=spent.usage(), timings=spent.timings()
        )

    def _joined(self, parts: list[TextChoice]) -> TextChoice:
        logprobs = [part.logprobs for part in parts if part.logprobs is not None]
        return TextChoice(
            index=parts[0].index,
            text="".join(part.text for part in parts),
            logprobs=joined(logprobs) if self._logprobs else None,
            finish_reason=parts[-1].finish_reason,
        )

    async def events(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        """The events of a stream; the last choice's last one has the timings."""
        async with aclosing(self._parts(answer)) as found:
            async for part in found:
                last = part.finish_reason is not None and part.index == answer.choices - 1
                timings: dict[str, Any] = {"timings": answer.spent.timings()} if last else {}
                yield as_event(TextCompletion(**self._fields(), choices=[part], **timings))
        if self._usage:
            usage = answer.spent.usage()
            yield as_event(TextCompletion(**self._fields(), choices=[], usage=usage))
        yield DONE

    async def _parts(self, answer: Answer) -> AsyncGenerator[TextChoice, None]:
        """What is new, choice by choice."""
        index, texts = -1, TokenTexts(self._vocab.piece)
        async with aclosing(answer.chunks()) as found:
            async for new in found:
                if new.choice != index:
                    index, texts = new.choice, self._begun(new.choice)
                    if self._echoed:
                        yield self._echo(new)
                placed = texts.of(new.chunk)
                if new.chunk.text or new.chunk.finish_reason is not None:
                    yield TextChoice(
                        index=index,
                        text=new.chunk.text,
                        logprobs=text_logprobs(placed, self._vocab) if self._logprobs else None,
                        finish_reason=finish_reason(new.chunk.finish_reason),
                    )

    def _begun(self, index: int) -> TokenTexts:
        before = len(self._echoed[index].text) if self._echoed else 0
        # Harnesses that ask for one token after a prompt count on its log-probability.
        return TokenTexts(self._vocab.piece, before, with_end=True)

    def _echo(self, new: ChoiceChunk) -> TextChoice:
        echoed = self._echoed[new.choice]
        logprobs = None
        if self._logprobs:
            logprobs = prompt_logprobs(echoed.tokens, new.scores, self._vocab)
        return TextChoice(index=new.choice, text=echoed.text, logprobs=logprobs, finish_reason=None)

    def _fields(self) -> dict[str, Any]:
        return {**self._head.fields(), "object": "text_completion"}
