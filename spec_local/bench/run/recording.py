"""From answers to the records that are kept: what was written, and whether it is the same text."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from spec_local.bench.peers.specs import PeerAnswer
from spec_local.bench.record.result import Divergence, Lossless, Run
from spec_local.bench.run.divergence import first_difference, margin
from spec_local.bench.run.race import Answer
from spec_local.llama.session import Session
from spec_local.sampling.settings import Sampling

Where = tuple[str, str, int, float, int, int]
"""Contender, workload, prompt, temperature, repeat, heat: how a `Run` begins."""


def to_run(where: Where, turns: Sequence[Answer], fresh: bool) -> Run:
    """The record of a conversation; `fresh`: its prompts were not in the cache."""
    rounds = [each for turn in turns for each in turn.rounds]
    widths: dict[str, int] = {}
    for _drafted, _accepted, width in rounds:
        widths[str(width)] = widths.get(str(width), 0) + 1
    overheads = [each for turn in turns for each in turn.overheads]
    longest = max((drafted for drafted, _accepted, _width in rounds), default=0)
    joules = [turn.joules for turn in turns if turn.joules is not None]
    return Run(
        *where,
        prompt_tokens=sum(turn.stats.prompt_tokens - turn.stats.cached_tokens for turn in turns)
        if fresh
        else 0,
        prompt_seconds=sum(turn.prompt_seconds for turn in turns) if fresh else None,
        tokens=sum(len(turn.tokens) - 1 for turn in turns),
        seconds=sum(turn.seconds for turn in turns),
        rounds=len(rounds),
        drafted=sum(drafted for drafted, _accepted, _width in rounds),
        accepted=sum(accepted for _drafted, accepted, _width in rounds),
        draft_seconds=sum(turn.stats.draft_seconds for turn in turns),
        verify_seconds=sum(turn.stats.evaluate_seconds for turn in turns),
        sample_seconds=sum(turn.stats.sample_seconds - turn.first.sample_seconds for turn in turns),
        overhead_seconds=sum(overheads),
        overhead_us=median(overheads) * 1e6 if overheads else None,
        widths=dict(sorted(widths.items(), key=lambda item: int(item[0]))),
        offered_at=tuple(sum(drafted > i for drafted, _a, _w in rounds) for i in range(longest)),
        accepted_at=tuple(sum(right > i for _d, right, _w in rounds) for i in range(longest)),
        joules=sum(joules) if joules else None,
    )


def peer_run(where: Where, prompts: Sequence[int], answers: Sequence[PeerAnswer]) -> Run:
    """The record of a conversation with a peer; `prompts`: tokens of each turn's prompt."""
    return Run(
        *where,
        prompt_tokens=sum(prompts),
        prompt_seconds=sum(answer.prompt_seconds for answer in answers),
        tokens=sum(answer.count - 1 for answer in answers),
        seconds=sum(answer.seconds for answer in answers),
        drafted=sum(answer.drafted for answer in answers),
        accepted=sum(answer.accepted for answer in answers),
    )


class LosslessCheck:
    """Answers against those of plain decoding, as they come."""

    def __init__(self, target: Session) -> None:
        """target: evaluates the margin of a difference; any tokens may be in its cache."""
        self._target = target
        self._same: dict[tuple[str, float], list[bool]] = {}
        self.divergences: list[Divergence] = []

    def add(
        self,
        where: Where,
        sampling: Sampling,
        context: Sequence[int],
        plain: Sequence[int],
        answer: Sequence[int],
        widths: Sequence[int] = (),
    ) -> None:
        """widths: for each token of the answer, how many were verified together, if known."""
        contender, workload, prompt, temperature, repeat, _heat = where
        at = first_difference(plain, answer)
        self._same.setdefault((contender, temperature), []).append(at is None)
        if at is None:
            return
        self.divergences.append(
            Divergence(
                contender=contender,
                workload=workload,
                prompt=prompt,
                temperature=temperature,
                repeat=repeat,
                at=at,
                width=widths[at] if widths else None,
                margin=margin(self._target, sampling, context, plain, answer, at),
            )
        )

    def take(self, other: LosslessCheck) -> None:
        """Add what another one has found."""
        self.divergences += other.divergences
        for key, same in other._same.items():
            self._same.setdefault(key, []).extend(same)

    @property
    def lossless(self) -> list[Lossless]:
        """For each contender and temperature, how many answers are plain decoding's."""
        return [Lossless(*key, sum(same), len(same)) for key, same in self._same.items()]
