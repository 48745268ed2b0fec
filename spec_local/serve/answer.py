"""The answer to one request: its choices, generated one after the other in one turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from spec_local.engine.logprobs import TokenLogprobs
from spec_local.engine.rounds import Stats
from spec_local.generation import Chunk, Generation, GenerationOptions
from spec_local.sampling.settings import Sampling
from spec_local.serve.engine import Engine
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

    @property
    def spent(self) -> Spent:
        """What it took so far."""
        return Spent(self._stats, self._asked.choices)

    async def chunks(self) -> AsyncGenerator[ChoiceChunk, None]:
        """All chunks, choice by choice."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._asked.seconds
        for index in range(self.choices):
            scores = await self._scores(index)
            if not self._generates:
                prompt = self._asked.tokens[index // self._asked.choices]
                self._stats[index] = Stats(prompt_tokens=len(prompt))
                yield ChoiceChunk(index, Chunk("", (), (), self._stats[index], "length"), scores)
                continue
            generation = self._generations[index]
            alarm = loop.call_at(ends, generation.cancel)
            try:
                async with aclosing(generation):
                    async for chunk in generation:
                        self._stats[index] = chunk.stats
                        yield ChoiceChunk(index, chunk, scores)
                        scores = ()
            finally:
                alarm.cancel()

    @property
    def _generates(self) -> bool:
        return bool(self._generations)

    async def _scores(self, index: int) -> tuple[TokenLogprobs, ...]:
        if self._asked.scored is None:
            return ()
        prompt = self._asked.tokens[index // self._asked.choices]
        return await self._slot.scored(prompt, self._asked.scored)


async def answering(engine: Engine, asked: Asked, stack: AsyncExitStack) -> Answer:
    """Wait for a turn, which ends with the stack.

    Nothing has been evaluated then, but all that is wrong has been raised.
    """
    slot = await stack.enter_async_context(engine.turn(asked.tokens[0]))
    generations = await slot.prepared(lambda: _generations(slot, asked))
    return Answer(slot, generations, asked)


def _generations(slot: Slot, asked: Asked) -> list[Generation]:
    """One for each choice; choices differ by their seeds."""
    if not asked.generates:
        return []
    wanted = asked.speculative
    runner = slot.runner if wanted is None else slot.drafting(wanted.who, wanted.k)
    generations = list[Generation]()
    for prompt in asked.prompts:
        for choice in range(asked.choices):
            sampling = replace(asked.sampling, seed=asked.sampling.seed + choice)
            options: GenerationOptions = {**asked.options, "sampling": sampling}
            generations.append(runner.generate(prompt, **options))
    return generations
