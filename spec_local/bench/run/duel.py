"""Plain decoding against a drafter: two contexts on the same weights write the same text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from spec_local.bench.record.result import PLAIN
from spec_local.bench.run.divergence import first_difference, margin
from spec_local.bench.run.energy import EnergyMeter
from spec_local.bench.run.race import Answer, RunningContender, race, warm_up
from spec_local.generation import Chunk
from spec_local.llama.session import Session
from spec_local.pair import OpenPair
from spec_local.prompt import Prompt
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a duel ended; times are seconds after the first token."""

    tokens: int
    """The drafted side's answer has so many, the first one included."""
    plain_per_second: float
    """Tokens per second of plain decoding."""
    per_second: float
    drafted: int
    accepted: int
    differs_at: int | None = None
    """The first token that is not plain decoding's; None if the texts are the same."""
    margin: float | None = None
    """By how many logits plain decoding preferred its own token there; None: unknown."""

    @property
    def ratio(self) -> float:
        """Speed against plain decoding."""
        return self.per_second / self.plain_per_second if self.plain_per_second else 1.0


class Duel:
    """Both sides of it; a context manager. What is learned of the machine is kept, as always."""

    def __init__(self, opened: OpenPair, drafter: str, k: int | None = None) -> None:
        """opened: the models, which must be closed after this."""
        with ExitStack() as stack:
            meter = EnergyMeter()
            target, drafts = opened.sessions(stack)
            swift = stack.enter_context(
                Runner(target, drafter, draft=drafts, k=k, profiles=opened.profiles)
            )
            alone = stack.enter_context(Session(opened.target))
            plain = stack.enter_context(Runner(alone, "none"))
            for runner in (plain, swift):
                warm_up(runner)
            self.plain = RunningContender(PLAIN, plain, meter)
            self.swift = RunningContender(drafter, swift, meter)
            self._stack = stack.pop_all()

    def run(
        self,
        prompt: Prompt,
        max_tokens: int,
        sampling: Sampling,
        watch: Callable[[RunningContender, Chunk], None] = lambda _side, _chunk: None,
    ) -> Outcome:
        """Answer a prompt on both sides, in lockstep; watch: told of every round of each side."""
        context = self.plain.runner.tokenize(prompt)
        both = [self.plain, self.swift]
        for side in both:
            side.forget(0, 0)
        race(both, context, max_tokens, sampling, turned=False, watch=watch)
        return self._outcome(context, sampling)

    def _outcome(self, context: Sequence[int], sampling: Sampling) -> Outcome:
        plain, swift = self.plain.answer, self.swift.answer
        at, gap = first_difference(plain.tokens, swift.tokens), None
        if at is not None:
            target = self.plain.runner.target
            gap = margin(target, sampling, context, plain.tokens, swift.tokens, at)
        return Outcome(
            tokens=len(swift.tokens),
            plain_per_second=_per_second(plain),
            per_second=_per_second(swift),
            drafted=swift.stats.drafted,
            accepted=swift.stats.accepted,
            differs_at=at,
            margin=gap,
        )

    def close(self) -> None:
        """Free the contexts; the models stay."""
        self._stack.close()

    def __enter__(self) -> Duel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _per_second(answer: Answer) -> float:
    return (len(answer.tokens) - 1) / answer.seconds if answer.seconds else 0.0
