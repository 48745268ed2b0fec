"""The measurement: every prompt at every temperature; what is done counts if it is interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from time import perf_counter

from spec_local.bench import hindsight
from spec_local.bench.answers import Comparison
from spec_local.bench.bounds import Recorded, bounds
from spec_local.bench.conversation import Conversation
from spec_local.bench.field import Field
from spec_local.bench.machine import commit, model_file, peak_rss, this_machine, versions
from spec_local.bench.plan import Plan
from spec_local.bench.result import SCHEMA, ModelFile, Result, Run, Settings
from spec_local.bench.rivals import Rivals
from spec_local.bench.summary import cells, overall
from spec_local.costs import MAX_WIDTH, CostCurve
from spec_local.loading import Progress, no_progress

_CONTEXT = 256
"""Tokens of context for which the curves are reported."""
_WARM_UP = "The first evaluations of a process are slow."


class Benchmark:
    """Measures what a plan says on an open field, beside peers or none."""

    def __init__(
        self, plan: Plan, field: Field, peers: Rivals, progress: Progress = no_progress
    ) -> None:
        self.plan, self.field, self.peers = plan, field, peers
        self.runs: list[Run] = []
        self._progress = progress
        self._recorded: list[Recorded] = []
        self._comparison = Comparison(field.target)
        self._started = perf_counter()
        self._answers = 0

    def run(self) -> None:
        """Measure everything; after an interruption `result` has the prompts that were finished."""
        for entrant in self.field.entrants.values():
            entrant.runner.complete(_WARM_UP, max_tokens=8)
        answers = self.plan.answers(len(self.peers.running))
        for number, prompt in enumerate(self.plan.prompts):

            def advance(more: int, stage: str = prompt.workload) -> None:
                self._answers += more
                self._progress(stage, min(1.0, self._answers / answers))

            for temperature in self.plan.temperatures:
                conversation = Conversation(
                    self.plan,
                    self.field,
                    prompt,
                    temperature,
                    self._comparison,
                    peers=self.peers,
                    turned=number % 2 == 1,
                    advance=advance,
                )
                self.runs += conversation.run()
                self._look_again(conversation)

    def _look_again(self, conversation: Conversation) -> None:
        """At plain decoding's answers, from every drafter."""
        where, sampling = conversation.prompt.workload, conversation.sampling
        field = self.field
        for context, answer in conversation.said:
            if len(answer) < 2:
                continue
            recording = hindsight.record(field.target, sampling, context, answer)
            if field.draft is not None:
                recording = hindsight.with_draft(
                    recording, field.draft, field.target, sampling, context, answer
                )
            self._recorded.append((where, sampling.temperature, recording))

    def result(self, command: str) -> Result:
        """What has been measured so far; command: how to do it again."""
        field = self.field
        contenders = (*self.plan.contenders, *self.peers.contenders.values())
        curves = {"target": field.target_curve}
        if field.draft_curve is not None:
            curves["draft"] = field.draft_curve
        found = cells(self.runs, contenders, field.target_curve, field.draft_curve)
        files = self._files()
        return Result(
            schema=SCHEMA,
            made=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=perf_counter() - self._started,
            command=command,
            commit=commit(),
            versions=versions(),
            machine=this_machine(field.target.model.options),
            target=files[0],
            draft=files[1] if len(files) > 1 else None,
            settings=self._settings(),
            curves={name: _by_width(curve) for name, curve in curves.items()},
            contenders=contenders,
            runs=tuple(self.runs),
            cells=tuple(found),
            overall=tuple(overall(found)),
            bounds=tuple(bounds(self._recorded, field.target_curve, field.draft_curve)),
            lossless=tuple(self._comparison.lossless),
            divergences=tuple(self._comparison.divergences),
            peak_rss=peak_rss(),
        )

    def _settings(self) -> Settings:
        plan = self.plan
        return Settings(
            tokens=plan.tokens,
            repeats=plan.repeats,
            per_workload=max(prompt.number for prompt in plan.prompts) + 1,
            workloads=tuple(dict.fromkeys(prompt.workload for prompt in plan.prompts)),
            temperatures=tuple(plan.temperatures),
            seed=plan.seed,
            load=asdict(self.field.target.model.options),
        )

    def _files(self) -> Sequence[ModelFile]:
        sessions = filter(None, (self.field.target, self.field.draft))
        return [
            model_file(session.model.path, lambda share: self._progress("hash the models", share))
            for session in sessions
        ]


def _by_width(curve: CostCurve) -> dict[str, float]:
    row = curve.row(_CONTEXT)
    return {str(width): row[width] for width in range(1, MAX_WIDTH + 1)}
