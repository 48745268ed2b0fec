"""The answer to one request: its choices, generated one after the other in one turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from spec_local.engine.logprobs import TokenLogprobs
from spec_local.engine.rounds import Stats
from spec_local.generation import Chunk, Generation, GenerationOptions
from spec_local.sampling.settings import Sampling
from spec_local.serve.engine import Engine
from spec_local.serve.failures import Refused
from spec_local.serve.parameters import Speculative
from spec_local.serve.slot import Slot
from spec_local.serve.usage import Spent

if TYPE_CHECKING:
    from spec_local.prompt import Prompt


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for."""

    prompts: Sequence[Prompt]
    tokens: Sequence[Sequence[int]]
    """Of each prompt."""
    choices: int
    """For each prompt."""
    sampling: Sampling
    options: GenerationOptions
    speculative: Speculative | None
    seconds: float
    """After which the answer ends as if by its length."""
    scored: int | None = None
    """Of prompts: how many of the best at every position; None does not score them."""
    generates: bool = True
    """Whether anything is to follow the prompts."""


class ChoiceChunk(NamedTuple):
    """A chunk, and the number of the choice that it belongs to."""

    choice: int
    chunk: Chunk
    scores: tuple[TokenLogprobs, ...] = ()
    """Of the prompt's tokens after the first, with the first chunk, if asked for."""


class Answer:
    """An answer that has its turn."""

    def __init__(self, slot: Slot, generations: Sequence[Generation], asked: Asked) -> None:
        """Use `answering`."""
        self._slot, self._generations = slot, generations
        self._asked = asked
        self.choices = len(asked.prompts) * asked.choices
        self._stats = [Stats() for _ in range(self.choices)]
        self._scored: dict[int, tuple[TokenLogprobs, ...]] = {}
        """By the number of the prompt; its choices share them."""

    @property
    def spent(self) -> Spent:
        """What it took so far."""
        return Spent(self._stats, self._asked.choices)

    async def chunks(self) -> AsyncGenerator[ChoiceChunk, None]:
        """All chunks, choice by choice."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._asked.seconds
        for index in range(self.choices):
            scores = await self._scores(index // self._asked.choices, ends)
            if not self._generates:
                prompt = self._asked.tokens[index // self._asked.choices]
                self._stats[index] = Stats(prompt_tokens=len(prompt))
                yield ChoiceChunk(index, Chunk("", (), (), self._stats[index], "length"), scores)
                continue
            generation = self._generations[index]
            alarm = loop.call_at(ends, generation.cancel)
            try:
                async with aclosing(generation), aclosing(_one_ahead(generation)) as chunks:
                    async for chunk in chunks:
                        self._stats[index] = chunk.stats
                        yield ChoiceChunk(index, chunk, scores)
                        scores = ()
            finally:
                alarm.cancel()

    @property
    def _generates(self) -> bool:
        return bool(self._generations)

    async def _scores(self, number: int, ends: float) -> tuple[TokenLogprobs, ...]:
        """Of that prompt; raises Refused where the loop's clock says `ends` before."""
        if self._asked.scored is None:
            return ()
        if number not in self._scored:
            prompt, given_up = self._asked.tokens[number], threading.Event()
            alarm = asyncio.get_running_loop().call_at(ends, given_up.set)
            try:
                found = await self._slot.scored(prompt, self._asked.scored, given_up)
            finally:
                alarm.cancel()
            if len(found) < len(prompt) - 1:
                raise Refused(
                    f"Scoring took more than {self._asked.seconds:g} s; shorten the prompt.",
                    status=HTTPStatus.REQUEST_TIMEOUT,
                    code="timeout",
                )
            self._scored[number] = found
        return self._scored[number]


async def _one_ahead(generation: Generation) -> AsyncGenerator[Chunk, None]:
    """Its chunks: while one is written and sent, the next one is being evaluated."""
    coming = asyncio.create_task(generation.__anext__())
    try:
        with suppress(StopAsyncIteration):
            while True:
                chunk = await coming
                coming = asyncio.create_task(generation.__anext__())
                yield chunk
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


async def answering(engine: Engine, asked: Asked, stack: AsyncExitStack) -> Answer:
    """Wait for a turn, which ends with the stack.

    Nothing has been evaluated then, but all that is wrong has been raised.
    """
    slot = await stack.enter_async_context(engine.turn(asked.tokens[0]))
    generations = await slot.prepared(lambda: _generations(slot, asked))
    return Answer(slot, generations, asked)


def _generations(slot: Slot, asked: Asked) -> list[Generation]:
    """One for each choice; choices differ by their seeds."""
    slot.recall(asked.tokens[0])
    if not asked.generates:
        return []
    wanted = asked.speculative
    runner = slot.runner if wanted is None else slot.drafting(wanted.who, wanted.k)
    shared: GenerationOptions = {**asked.options}
    if not slot.looks_up(wanted):
        shared.pop("prediction", None)
    generations = list[Generation]()
    for prompt in asked.prompts:
        for choice in range(asked.choices):
            sampling = replace(asked.sampling, seed=asked.sampling.seed + choice)
            options: GenerationOptions = {**shared, "sampling": sampling}
            generations.append(runner.generate(prompt, **options))
    return generations
