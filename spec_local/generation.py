"""From rounds to text: a generation as an application sees it.

This module does not know where rounds come from; it detokenizes them, watches for stop strings and
for being cancelled, and keeps the statistics.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypedDict

from spec_local.engine.logprobs import TokenLogprobs
from spec_local.engine.rounds import FinishReason, Round, Stats
from spec_local.errors import Interrupted
from spec_local.llama.messages import Tool
from spec_local.sampling.settings import Sampling
from spec_local.text import TextStream
from spec_local.util.awaiting import in_thread
from spec_local.util.process import Process


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one round added to a generation."""

    text: str
    """Text that is certain now; may lag behind the tokens by a character or a stop string."""
    tokens: tuple[int, ...]
    drafted: tuple[bool, ...]
    """For each token, whether a drafter had proposed it."""
    stats: Stats
    """The generation so far."""
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()
    """For each token, if they were asked for."""
    drafted_characters: int = 0
    """How much of the text was drafted: its beginning; the rest is the target's own."""

    @property
    def drafted_text(self) -> str:
        """The part of the text that was drafted, which comes first."""
        return self.text[: self.drafted_characters]

    @property
    def own_text(self) -> str:
        """The part of the text that the target wrote itself, after what was drafted."""
        return self.text[self.drafted_characters :]


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole generation."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: FinishReason
    stats: Stats
    logprobs: tuple[TokenLogprobs, ...] = ()


class GenerationOptions(TypedDict, total=False):
    """What can be said about a generation besides its prompt; `Runner.generate` explains each."""

    max_tokens: int | None
    sampling: Sampling | None
    stop: str | Sequence[str]
    logprobs: int | None
    prediction: str | None
    tools: Sequence[Tool]
    progress: Callable[[str, float], None]


class Generation:
    """A running generation: iterate over its chunks, by `for` or `async for`, or ask for the whole.

    Nothing is evaluated before the first chunk is asked for. Closing it, dropping it, cancelling it
    or an exception in the loop body leave the runner ready for the next generation. By `async for`
    rounds run in a thread of the runner's, and cancelling the task that waits cancels the
    generation. In a forked child, where that thread is missing, asking for a chunk raises
    EngineError, and nothing is stopped: it is the parent's.
    """

    def __init__(
        self,
        start: Callable[[threading.Event], Generator[Chunk, None, None]],
        interrupt: Callable[[threading.Event], None],
        worker: Executor,
    ) -> None:
        """start: makes the chunks; it must not keep the generation itself alive.

        interrupt: stops what is evaluated for the one of that event, which is set.
        worker: where rounds run that an event loop waits for: one thread, as llama.cpp keeps
        threads for each thread that evaluates.
        """
        self._process = Process()
        self._worker = worker
        self._cancel, self._interrupt = threading.Event(), interrupt
        self._chunks = start(self._cancel)
        self._turn = threading.RLock()
        """Held while a round or the clean-up runs, which may be in different threads."""
        self.stats = Stats()
        """The generation so far."""
        self.finish_reason: FinishReason | None = None

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> Chunk:
        self._process.require_this()
        with self._turn:
            try:
                chunk = next(self._chunks)
            except StopIteration:
                if self._cancel.is_set():  # closed by another thread, between two rounds
                    self.finish_reason = self.finish_reason or "cancelled"
                raise
        self.stats, self.finish_reason = chunk.stats, chunk.finish_reason
        return chunk

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> Chunk:
        self._process.require_this()
        try:
            chunk = await in_thread(self._worker, self._step, self.cancel)
        except asyncio.CancelledError:
            self.cancel()
            with suppress(ValueError):  # somebody else waits for a round of it, and closes it then
                self.close()
            raise
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    def _step(self) -> Chunk | None:
        """The next chunk, None after the last one, with which the runner is free already."""
        chunk = next(self, None)
        if self.finish_reason is not None or self._cancel.is_set():
            self._end()
        return chunk

    def _end(self) -> None:
        with self._turn:
            self._chunks.close()

    def passed_on(self, by: Callable[[Generation], Generator[Chunk, None, None]]) -> Generation:
        """The same through something that sees the chunks first, such as a conversation."""
        return Generation(lambda _cancel: by(self), lambda _cancel: self.cancel(), self._worker)

    def cancel(self) -> None:
        """Stop at once, also in the middle of an evaluation; may be called from any thread."""
        if self._process.is_this:
            self._cancel.set()
            self._interrupt(self._cancel)

    def close(self) -> None:
        """Stop now; the caches are put right. Raises ValueError in the middle of a round."""
        if not self._process.is_this:
            return
        if not self._turn.acquire(blocking=False):
            raise ValueError(
                "Another thread is in the middle of a round; cancel it, and try again."
            )
        try:
            self._chunks.close()
        finally:
            self._turn.release()

    async def aclose(self) -> None:
        """Stop now, also in the middle of a round, which is waited for."""
        if not self._process.is_this:
            return
        self.cancel()
        await asyncio.to_thread(self._end)

    def complete(self) -> Completion:
        """Run to the end and return everything."""
        return self._whole(list(self))

    async def acomplete(self) -> Completion:
        """The same, awaited."""
        return self._whole([chunk async for chunk in self])

    def _whole(self, chunks: Sequence[Chunk]) -> Completion:
        return Completion(
            text="".join(chunk.text for chunk in chunks),
            tokens=tuple(token for chunk in chunks for token in chunk.tokens),
            finish_reason=self.finish_reason or "cancelled",
            stats=self.stats,
            logprobs=tuple(found for chunk in chunks for found in chunk.logprobs),
        )


def to_chunks(
    rounds: Iterator[Round],
    pieces: Callable[[Sequence[int]], bytes],
    stop: Sequence[str],
    cancel: threading.Event,
    prompt_tokens: int,
) -> Generator[Chunk, None, None]:
    """One chunk per round, the last with the reason of the end.

    A stop string ends the text before itself, though the tokens that spelled it are reported.
    """
    text = TextStream(stop)
    stats = Stats(prompt_tokens=prompt_tokens)
    try:
        for round_ in rounds:
            if stats.rounds == 0:
                stats = stats._replace(cached_tokens=prompt_tokens - round_.evaluated)
            stats = stats.plus(round_)
            written = round_.tokens[:-1] if round_.finish == "stop" else round_.tokens
            drafted_text = text.feed(pieces(written[: round_.accepted]))
            new = drafted_text + text.feed(pieces(written[round_.accepted :]))
            finish: FinishReason | None = "stop" if text.stopped else round_.finish
            if finish is None and cancel.is_set():
                finish = "cancelled"
            if finish is not None:
                new += text.finish()
            drafted = (True,) * round_.accepted + (False,)
            of_draft = len(drafted_text)
            yield Chunk(new, round_.tokens, drafted, stats, finish, round_.logprobs, of_draft)
            if finish is not None:
                return
    except Interrupted:
        yield Chunk(text.finish(), (), (), stats, "cancelled")
