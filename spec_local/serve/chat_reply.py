"""What /v1/chat/completions answers, whole and in a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Any

from spec_local.generation import Chunk
from spec_local.serve.answer import Answer
from spec_local.serve.chat_shapes import (
    CallDelta,
    CallingMessage,
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatMessage,
    Delta,
    FunctionCall,
    MessageCall,
    new_call_id,
)
from spec_local.serve.event_stream import DONE, as_event
from spec_local.serve.finish import FinishReason, finish_reason
from spec_local.serve.head import Head
from spec_local.serve.logprobs import ChatLogprobs, chat_logprobs
from spec_local.serve.said import Telling, Told
from spec_local.serve.serving import Vocabulary
from spec_local.serve.token_texts import PlacedToken, TokenTexts
from spec_local.serve.tool_calls import ToolCall
from spec_local.serve.usage import Timings


class _Choice:
    """What has been written of one choice."""

    def __init__(self, telling: Telling, vocab: Vocabulary) -> None:
        self._telling = telling
        self._tokens = TokenTexts(vocab.piece)
        self.thought, self.text, self.calls = "", "", list[ToolCall]()
        self.placed = list[PlacedToken]()
        self.reason: FinishReason | None = None

    def add(self, chunk: Chunk) -> tuple[Told, list[PlacedToken]]:
        """What is new in it."""
        placed = self._tokens.of(chunk)
        told = self._telling.feed(chunk)
        self.thought += told.thought
        self.text += told.text
        self.calls += told.calls
        self.placed += placed
        self.reason = finish_reason(chunk.finish_reason)
        if self.reason == "stop" and self.calls:
            self.reason = "tool_calls"
        return told, placed


class ChatReply:
    """Writes an answer as chat completions."""

    def __init__(
        self,
        head: Head,
        vocab: Vocabulary,
        telling: Callable[[], Telling],
        *,
        logprobs: bool,
        usage: bool,
    ) -> None:
        """telling: tells what is written apart, for each choice.

        logprobs: written for every token. usage: ends a stream.
        """
        self._head, self._vocab, self._telling = head, vocab, telling
        self._logprobs, self._usage = logprobs, usage

    async def whole(self, answer: Answer) -> ChatCompletion:
        """All choices, once they are written."""
        choices = self._choices(answer)
        async with aclosing(answer.chunks()) as found:
            async for index, chunk, _scores in found:
                choices[index].add(chunk)
        return ChatCompletion(
            **self._head.fields(),
            choices=[self._choice(index, each) for index, each in enumerate(choices)],
            usage=answer.spent.usage(),
            timings=answer.spent.timings(),
        )

    def _choices(self, answer: Answer) -> list[_Choice]:
        return [_Choice(self._telling(), self._vocab) for _ in range(answer.choices)]

    def _choice(self, index: int, written: _Choice) -> ChatChoice:
        thought = written.thought or None
        message = ChatMessage(content=written.text, reasoning_content=thought)
        if written.calls:
            calls = [MessageCall(id=new_call_id(), function=_function(c)) for c in written.calls]
            message = CallingMessage(
                content=written.text or None, reasoning_content=thought, tool_calls=calls
            )
        return ChatChoice(
            index=index,
            message=message,
            logprobs=self._logprobs_of(written.placed),
            finish_reason=written.reason or "length",
        )

    def _logprobs_of(self, tokens: list[PlacedToken]) -> ChatLogprobs | None:
        return chat_logprobs(tokens, self._vocab) if self._logprobs else None

    async def events(self, answer: Answer) -> AsyncGenerator[bytes, None]:
        """The events of a stream; the last choice's last one has the timings."""
        choices = self._choices(answer)
        for index in range(answer.choices):
            yield self._event(index, Delta(role="assistant", content=""))
        async with aclosing(answer.chunks()) as found:
            async for index, chunk, _scores in found:
                written = choices[index]
                told, placed = written.add(chunk)
                logprobs = self._logprobs_of(placed) if placed else None
                first = len(written.calls) - len(told.calls)
                for delta in _deltas(told, first):
                    yield self._event(index, delta, logprobs)
                    logprobs = None
                if written.reason is not None:
                    last = index == answer.choices - 1
                    timings = {"timings": answer.spent.timings()} if last else {}
                    yield self._event(index, Delta(), logprobs, written.reason, **timings)
                elif logprobs is not None:
                    yield self._event(index, Delta(), logprobs)
        if self._usage:
            yield as_event(ChatChunk(**self._fields(), choices=[], usage=answer.spent.usage()))
        yield DONE

    def _event(
        self,
        index: int,
        delta: Delta,
        logprobs: ChatLogprobs | None = None,
        reason: FinishReason | None = None,
        **more: Timings,
    ) -> bytes:
        choice = ChatChunkChoice(index=index, delta=delta, finish_reason=reason)
        if logprobs is not None:
            choice.logprobs = logprobs
        return as_event(ChatChunk(**self._fields(), choices=[choice], **more))  # type: ignore[arg-type]

    def _fields(self) -> dict[str, Any]:
        return {**self._head.fields(), "object": "chat.completion.chunk"}


def _function(call: ToolCall) -> FunctionCall:
    return FunctionCall(name=call.name, arguments=call.arguments)


def _deltas(told: Told, first: int) -> Iterator[Delta]:
    """first: the number of the first call in it."""
    if told.thought:
        yield Delta(reasoning_content=told.thought)
    if told.text:
        yield Delta(content=told.text)
    for number, call in enumerate(told.calls, first):
        yield _called(number, call)


def _called(number: int, call: ToolCall) -> Delta:
    """A call, whole: it is known to be one when it is complete."""
    delta = CallDelta(index=number, id=new_call_id(), type="function", function=_function(call))
    return Delta(tool_calls=[delta])
