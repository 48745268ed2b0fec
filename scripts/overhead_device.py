"""A device that exists only as seconds: sessions that wait, and the real engine on top of them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event
from time import perf_counter, thread_time

import numpy as np
from numpy.typing import NDArray

from spec_local.control.controller import Controller
from spec_local.control.costs import CostCurve
from spec_local.control.drafter_state import DrafterState
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.engine.decode import generate
from spec_local.engine.draft import Draft, Verdict
from spec_local.engine.speculate import Adaptive, FixedK
from spec_local.engine.types import Pace, Speculator
from spec_local.engine.verify import keyed
from spec_local.generation import to_chunks
from spec_local.llama.chain import LlamaChain
from spec_local.sampling.sampler import TokenSampler
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits, Sampler

N_VOCAB = 151_936
N_CTX = 4096
PROMPT_TOKENS = 200


class Clock:
    """The real one: an evaluation takes its time by waiting, and that is not counted."""

    def __init__(self) -> None:
        self.waited = 0.0
        """Processor seconds of the evaluations so far."""

    def now(self) -> float:
        """Seconds."""
        return perf_counter()

    @contextmanager
    def evaluation(self, seconds: float) -> Iterator[None]:
        """Takes so long, whatever is done in it."""
        began, until = thread_time(), perf_counter() + seconds
        yield
        while perf_counter() < until:
            pass
        self.waited += thread_time() - began


class StoppedClock(Clock):
    """Only evaluations take time, so that every decision is the same wherever it is made."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def now(self) -> float:
        """Seconds of all evaluations so far."""
        return self._now

    @contextmanager
    def evaluation(self, seconds: float) -> Iterator[None]:
        """Takes exactly so long."""
        yield
        self._now += seconds


class Story:
    """What the stubs write: a token for every position, whatever stands before it."""

    def __init__(self, tokens: int, acceptance: float) -> None:
        """acceptance: how often the draft model's token is the target's."""
        rng = np.random.default_rng(0)
        self.noise = rng.normal(0.0, 2.0, (16, N_VOCAB)).astype(np.float32)
        fresh = [int(token) for token in rng.integers(0, N_VOCAB, tokens)]
        for start in range(128, tokens - 16, 64):  # a quarter has stood before, for lookup
            fresh[start : start + 16] = fresh[start - 96 : start - 80]
        self.target = fresh
        wrong = rng.random(tokens) >= acceptance
        self.draft = [token ^ 1 if wrong[i] else token for i, token in enumerate(fresh)]

    def write(self, row: Logits, tokens: Sequence[int], position: int) -> None:
        """The logits after `position` tokens: one token is likeliest, in every third row barely."""
        row[:] = self.noise[position % len(self.noise)]
        token = tokens[position]
        if position % 3 == 0:
            row[[token ^ 2, token ^ 4, token ^ 8]] = 14.0, 13.5, 13.0
        row[token] = 16.0


class Stub:
    """A session (`EvaluationSession`) whose evaluations take a fixed time."""

    n_ctx, n_vocab, max_rows, branches = N_CTX, N_VOCAB, 33, 1

    def __init__(
        self,
        clock: Clock,
        seconds: float,
        row_seconds: float,
        story: Story,
        writes: Sequence[int],
        array: type[NDArray[np.float32]],
    ) -> None:
        """row_seconds: of every further token in the same evaluation. array: the logits' type."""
        self.tokens: list[int] = []
        self._clock, self._seconds, self._row_seconds = clock, seconds, row_seconds
        self._story, self._writes = story, writes
        self._rows: Logits = np.empty((self.max_rows, N_VOCAB), np.float32).view(array)

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        with self._clock.evaluation(self._seconds + self._row_seconds * (len(tokens) - 1)):
            self.tokens.extend(tokens)
            for i in range(rows):
                self._story.write(self._rows[i], self._writes, len(self.tokens) - rows + 1 + i)
        return self._rows[:rows]

    def keep(self, path: Sequence[int]) -> None:
        pass

    def mark(self, depth: int) -> None:
        pass

    def truncate(self, length: int) -> None:
        del self.tokens[length:]

    def sync(self, tokens: Sequence[int]) -> int:
        self.truncate(0)
        return 0


class TimedDrafter(ModelDrafter):
    """A draft model's side, timed."""

    clock = Clock()
    seconds = 0.0
    drafted = 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        began, waited = thread_time(), self.clock.waited
        draft = super().propose(context, budget, pace)
        self.seconds += thread_time() - began - (self.clock.waited - waited)
        self.drafted += len(draft.tokens) + (draft.refused is not None)
        return draft


class TimedVerifier:
    """Keyed verification, timed."""

    seconds = 0.0

    def __call__(self, rows: Logits, draft: Draft, sampler: Sampler) -> Verdict:
        began = thread_time()
        verdict = keyed(rows, draft, sampler)
        self.seconds += thread_time() - began
        return verdict


class Device:
    """A machine that exists only as costs, and what decodes on it."""

    def __init__(
        self, how: Namespace, clock: Clock, array: type[NDArray[np.float32]] = np.ndarray
    ) -> None:
        self.how, self.clock = how, clock
        self.story = Story(PROMPT_TOKENS + how.tokens + 64, how.acceptance)
        target, extra = how.target_ms / 1e3, how.row_ms / 1e3
        self.target = Stub(clock, target, extra, self.story, self.story.target, array)
        draft = how.draft_ms / 1e3
        self.draft = Stub(clock, draft, 0.0, self.story, self.story.draft, array)

    def speculator(self, name: str) -> tuple[Speculator, TimedDrafter]:
        """The speculator of that name, and its draft model."""
        model = TimedDrafter(self.draft)
        model.clock = self.clock
        if name == "none":
            return FixedK(NoDrafter(), 0), model
        if name != "auto":
            return FixedK(model, int(name.rpartition("=")[2])), model
        target, draft, how = CostCurve(), CostCurve(), self.how
        for _ in range(3):
            for width in (1, 2, 4, 8):
                seconds = how.target_ms + how.row_ms * (width - 1)
                target.observe(width, PROMPT_TOKENS, seconds / 1e3)
            for width in (1, 2):
                draft.observe(width, PROMPT_TOKENS, how.draft_ms / 1e3)
        states = {"lookup": DrafterState(), "model": DrafterState(draft)}
        return Adaptive([LookupDrafter(), model], Controller(target, states)), model

    def answer(
        self, speculator: Speculator, verify: TimedVerifier, temperature: float
    ) -> Iterator[int]:
        """Write an answer; yields how many tokens every round has emitted."""
        sampling = Sampling(temperature=temperature)
        context = self.story.target[:PROMPT_TOKENS]
        self.target.truncate(0)
        self.draft.truncate(0)
        chain = LlamaChain(sampling, n_vocab=N_VOCAB, n_ctx=N_CTX)
        sampler = TokenSampler(sampling, chain, context)
        rounds = generate(
            self.target,
            speculator,
            verify,
            sampler,
            context,
            max_tokens=self.how.tokens,
            is_end=lambda _token: False,
        )
        for chunk in to_chunks(rounds, lambda tokens: b"word " * len(tokens), (), Event(), 0):
            yield len(chunk.tokens)
        sampler.close()
