"""Which draft model is best for a target: each one measured once, its speed-ups predicted.

The target answers every prompt once. Each candidate is led along these answers token by token, so
that one pass tells which tokens it would have drafted, how sure it was and whether it was right;
with that and its measured costs every k, and the controller, can be priced without generating
again (`bench/hindsight/replay.py`). The winner is then run for real, to see whether that holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import geometric_mean

from spec_local.bench.hindsight import replay
from spec_local.bench.hindsight.replay import Pricing, Recording
from spec_local.bench.record.result import CURVE_CONTEXT, PLAIN
from spec_local.bench.record.summary import cells, overall
from spec_local.bench.report.ranking import Candidate
from spec_local.bench.run.contenders import contender
from spec_local.bench.run.conversation import Conversation
from spec_local.bench.run.opened import Field, curve_of
from spec_local.bench.run.schedule import Schedule
from spec_local.control.costs import CostCurve
from spec_local.drafters import AUTO
from spec_local.errors import require
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.machine.profile import ProfileStore
from spec_local.machine.tune import compare
from spec_local.sampling.settings import Sampling
from spec_local.util.progress import Progress


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of the target, and how target and lookup see it."""

    context: list[int]
    tokens: tuple[int, ...]
    recording: Recording


class DraftTrial:
    """Ranks draft models for one target on the prompts of a schedule, at its first temperature."""

    def __init__(
        self,
        schedule: Schedule,
        field: Field,
        known: ProfileStore | None,
        tune_seconds: float,
        progress: Progress,
    ) -> None:
        """Writes the answers, which takes most of the time.

        field: of the target alone. known, tune_seconds: as for the field. Raises ConfigError where
        no answer is long enough to say anything.
        """
        self._schedule, self._field = schedule, field
        self._known, self._tune_seconds, self._progress = known, tune_seconds, progress
        self._sampling = Sampling(temperature=schedule.temperatures[0], seed=schedule.seed)
        self._answers = [
            answer for number in range(len(schedule.prompts)) if (answer := self._answer(number))
        ]
        require(bool(self._answers), "Every answer ended at once; give other prompts.")

    def _answer(self, number: int) -> Answered | None:
        """To the first turn of a prompt; None if it is too short to say anything."""
        prompt, runner = self._schedule.prompts[number], self._field.running[PLAIN].runner
        self._progress("answer the prompts", number / len(self._schedule.prompts))
        context = runner.tokenize([{"role": "user", "content": prompt.turns[0]}])
        said = runner.complete(context, max_tokens=self._schedule.tokens, sampling=self._sampling)
        if len(said.tokens) < 2:
            return None
        found = replay.record(
            self._field.target, self._sampling, context, said.tokens, self._schedule.tokens
        )
        return Answered(context, said.tokens, found)

    def judge(self, draft: Model) -> Candidate:
        """What a draft model is expected to earn."""
        target, name = self._field.target, draft.path.name
        with Session(draft) as session:
            curve = curve_of(session, self._known, self._tune_seconds, self._progress)
            compare([target, session], [self._field.target_curve, curve])
            recordings = []
            for number, answer in enumerate(self._answers):
                self._progress(f"agreement of {name}", number / len(self._answers))
                recordings.append(
                    replay.with_draft(
                        answer.recording,
                        session,
                        target,
                        self._sampling,
                        answer.context,
                        answer.tokens,
                    )
                )
        return _candidate(draft, recordings, self._field.target_curve, curve)


def _candidate(
    draft: Model, recordings: Sequence[Recording], target: CostCurve, curve: CostCurve
) -> Candidate:
    pricing = Pricing(target, curve, recordings)
    prices = [pricing.price(recording) for recording in recordings]
    drawn = [right for recording in recordings for right, _confidence in recording.drawn]
    return Candidate(
        name=draft.path.name,
        bytes=draft.path.stat().st_size,
        relative_cost=curve.seconds(1, CURVE_CONTEXT) / target.seconds(1, CURVE_CONTEXT),
        agreement=sum(drawn) / len(drawn),
        by_k={k: geometric_mean(p.static[f"model {k}"] for p in prices) for k in replay.KS},
        auto=geometric_mean(each.auto for each in prices),
    )


def run_winner(
    winner: Candidate, schedule: Schedule, field: Field, progress: Progress
) -> Candidate:
    """Run a candidate for real; field: of target and winner, by what `winner_schedule` makes."""
    runs = []
    for done, prompt in enumerate(schedule.prompts):
        progress(f"run {winner.name}", done / len(schedule.prompts))
        temperature = schedule.temperatures[0]
        one_turn = replace(prompt, turns=prompt.turns[:1])
        conversation = Conversation(schedule, field, one_turn, temperature, turned=done % 2 == 1)
        runs += conversation.run()
    found = overall(cells(runs, schedule.contenders, field.target_curve, field.draft_curves))
    speedups = {each.contender: each.speedup for each in found}
    fixed = contender(f"model={winner.best_k}").name
    return replace(winner, measured={f"k={winner.best_k}": speedups[fixed], AUTO: speedups[AUTO]})


def winner_schedule(schedule: Schedule, winner: Candidate) -> Schedule:
    """The schedule to run a winner by: plain decoding, its best fixed k, and the controller."""
    names = (PLAIN, f"model={winner.best_k}", AUTO)
    return replace(
        schedule,
        contenders=[contender(name) for name in names],
        temperatures=schedule.temperatures[:1],
        everyone_sampled=True,
    )
