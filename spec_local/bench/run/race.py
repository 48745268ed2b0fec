"""Contenders in lockstep: all of them write the same text at the same time, token by token.

Whoever has written least goes next, one round at a time, and in every other pass the order is
turned around (A B B A). So what else the machine does meanwhile falls on all of them alike, even if
its speed doubles from one second to the next, and a ratio of their times is one of like with like.
Measured whole, one after the other, the same two runs differ by far more than drafting changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from spec_local.bench.run.energy import EnergyMeter
from spec_local.control.costs import CostCurve
from spec_local.engine.rounds import Stats
from spec_local.generation import Chunk, Generation
from spec_local.llama.session import Session
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling


@dataclass(slots=True)
class Answer:
    """What one contender wrote, and what that took after the first token; times are seconds."""

    tokens: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    """For each token, how many were verified together when it was decided."""
    text: str = ""
    prompt_seconds: float = 0.0
    seconds: float = 0.0
    overheads: list[float] = field(default_factory=list)
    """For each round, what it spent outside llama.cpp's evaluations, of target and draft."""
    joules: float | None = None
    stats: Stats = field(default_factory=Stats)
    first: Stats = field(default_factory=Stats)
    """As they were after the first token."""
    rounds: list[tuple[int, int, int]] = field(default_factory=list)
    """For each round, the tokens drafted and accepted, and the target's width."""

    def add(self, chunk: Chunk) -> None:
        """Take in what a round has written."""
        before, after = self.stats, chunk.stats
        evaluated = after.target_evaluated - before.target_evaluated
        if before.rounds > 0:
            drafted, accepted = after.drafted - before.drafted, after.accepted - before.accepted
            self.rounds.append((drafted, accepted, evaluated))
        self.tokens += chunk.tokens
        self.widths += [evaluated if before.rounds > 0 else 1] * len(chunk.tokens)
        self.text += chunk.text
        self.stats = after
        if before.rounds == 0:
            self.first = after


def warm_up(runner: Runner) -> None:
    """Let a context do its first evaluations, which are slow."""
    runner.complete("The first evaluations of a context are slow.", max_tokens=8)


class Spent(NamedTuple):
    """A session's evaluations so far, or between two moments: how many, and seconds of them all."""

    calls: int
    seconds: float


class RunningContender:
    """A contender at the start: its runner, and the generation it is at."""

    def __init__(
        self,
        name: str,
        runner: Runner,
        meter: EnergyMeter,
        curves: Sequence[CostCurve] = (),
    ) -> None:
        """The curves, of the target and each draft model, are told what evaluations take here; no
        contender looks into them.
        """
        self.name = name
        self.runner = runner
        self.answer = Answer()
        self._meter = meter
        self._curves = curves
        self._generation: Generation | None = None

    @property
    def finished(self) -> bool:
        """Whether there is no answer under way."""
        return self._generation is None or self._generation.finish_reason is not None

    def forget(self, target: int, draft: int) -> None:
        """Keep no more than so many tokens in the caches."""
        self.runner.target.truncate(target)
        for session in self.runner.drafts:
            session.truncate(draft)

    def start(self, context: Sequence[int], max_tokens: int, sampling: Sampling) -> Chunk:
        """Write the first token."""
        self.answer = Answer()
        self._generation = self.runner.generate(context, max_tokens=max_tokens, sampling=sampling)
        begun = perf_counter()
        chunk = next(self._generation)
        self.answer.prompt_seconds = perf_counter() - begun
        self.answer.add(chunk)
        return chunk

    def step(self) -> Chunk:
        """One more round."""
        assert self._generation is not None
        answer, spent, joules = self.answer, self._spent(), self._meter.joules()
        context, stats = len(self.runner.target.tokens), answer.stats
        begun = perf_counter()
        chunk = next(self._generation)
        took = perf_counter() - begun
        now = self._spent()
        spent = [
            Spent(b.calls - a.calls, b.seconds - a.seconds) for a, b in zip(spent, now, strict=True)
        ]
        answer.seconds += took
        answer.overheads.append(took - sum(each.seconds for each in spent))
        used = self._meter.joules()
        if joules is not None and used is not None:
            answer.joules = (answer.joules or 0.0) + used - joules
        answer.add(chunk)
        self._observe(context, spent, stats, chunk.stats)
        return chunk

    def stop(self) -> None:
        """End a generation that is not finished; the caches stay in order."""
        if self._generation is not None:
            self._generation.close()
            self._generation = None

    @property
    def _sessions(self) -> list[Session]:
        """The target's and, after it, the draft models'."""
        return [self.runner.target, *self.runner.drafts]

    def _spent(self) -> list[Spent]:
        return [Spent(each.decode_calls, each.decode_seconds) for each in self._sessions]

    def _observe(self, context: int, spent: Sequence[Spent], before: Stats, after: Stats) -> None:
        """Tell the curves what evaluations took; where their widths differ no one can say."""
        drafted = after.draft_evaluated - before.draft_evaluated
        one_drafted = sum(calls > 0 for calls, _seconds in spent[1:]) == 1  # else whose were they?
        widths = [after.target_evaluated - before.target_evaluated]
        widths += [drafted if calls > 0 and one_drafted else 0 for calls, _seconds in spent[1:]]
        for session, curve, (calls, seconds), evaluated in zip(
            self._sessions, self._curves, spent, widths, strict=False
        ):
            # Other memories may have evaluated something again, to go back.
            single = calls == evaluated and session.capabilities.rollback == "remove"
            if evaluated > 0 and (calls == 1 or single):
                curve.observe(evaluated // calls, context, *[seconds / calls] * calls)


def race(
    contenders: Sequence[RunningContender],
    context: Sequence[int],
    max_tokens: int,
    sampling: Sampling,
    turned: bool,
    watch: Callable[[RunningContender, Chunk], None] = lambda _contender, _chunk: None,
) -> None:
    """All contenders answer the same prompt; `turned`: the last one goes first.

    watch: told what was written, after every round; the time that takes is nobody's.
    """
    order = list(reversed(contenders)) if turned else list(contenders)
    try:
        for contender in order:
            watch(contender, contender.start(context, max_tokens, sampling))
        while running := [contender for contender in order if not contender.finished]:
            hindmost = min(running, key=lambda contender: len(contender.answer.tokens))
            watch(hindmost, hindmost.step())
    finally:
        for contender in order:
            contender.stop()
