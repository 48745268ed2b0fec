"""The measurement: every prompt at every temperature; what is done counts if it is interrupted."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from time import perf_counter
from typing import Any

from spec_local.bench.hindsight import replay
from spec_local.bench.hindsight.bounds import Recorded, bounds
from spec_local.bench.record.result import (
    CURVE_CONTEXT,
    PLAIN,
    SCHEMA,
    ModelFile,
    Result,
    Run,
    Settings,
)
from spec_local.bench.record.summary import cells, overall
from spec_local.bench.run.conversation import Conversation
from spec_local.bench.run.environment import commit, model_file, peak_rss, this_machine
from spec_local.bench.run.opened import Field
from spec_local.bench.run.recording import LosslessCheck
from spec_local.bench.run.running_peers import RunningPeers
from spec_local.bench.run.schedule import Schedule
from spec_local.control.costs import MAX_WIDTH, CostCurve
from spec_local.drafters import of_each
from spec_local.errors import ContextOverflow, EngineError
from spec_local.llama.options import LoadOptions
from spec_local.machine.software import versions
from spec_local.util.progress import Progress, no_progress
from spec_local.workloads.workloads import WorkloadPrompt


class Benchmark:
    """Measures what a schedule says on an open field, beside peers or none."""

    def __init__(
        self,
        schedule: Schedule,
        field: Field,
        peers: RunningPeers,
        progress: Progress = no_progress,
    ) -> None:
        self.schedule, self.field, self.peers = schedule, field, peers
        self.runs: list[Run] = []
        self.left_out: list[str] = []
        """Workloads whose prompts there was no time for."""
        self._progress = progress
        self._recorded: list[Recorded] = []
        self._check = LosslessCheck(field.target)
        self._started = perf_counter()
        self._answers = 0
        self._files: list[ModelFile] = []

    def run(self) -> None:
        """Measure everything; after an interruption `result` has the prompts that were finished.

        Raises ContextOverflow, before anything is measured, for a prompt that does not fit.
        """
        for prompt in self.schedule.prompts:
            self._check_length(prompt)
        self._files = self._hash()
        answers = self.schedule.answers(len(self.peers.running))
        for number, prompt in enumerate(self.schedule.prompts):
            if number > 0 and self._is_late():
                self.left_out.append(prompt.workload)
                continue

            def advance(more: int, stage: str = prompt.workload) -> None:
                self._answers += more
                self._progress(stage, min(1.0, self._answers / answers))

            for temperature in self.schedule.temperatures:
                conversation = Conversation(
                    self.schedule,
                    self.field,
                    prompt,
                    temperature,
                    peers=self.peers,
                    turned=number % 2 == 1,
                    advance=advance,
                    is_late=self._is_late,
                )
                runs = conversation.run()
                self._look_again(conversation)
                self.runs += runs
                self._check.take(conversation.check)

    def _is_late(self) -> bool:
        most = self.schedule.most_seconds
        return most is not None and perf_counter() - self._started > most

    def _check_length(self, prompt: WorkloadPrompt) -> None:
        plain, target = self.field.running[PLAIN].runner, self.field.target
        said: list[dict[str, str]] = []
        for turn in prompt.turns:  # templates want roles to alternate
            said += [{"role": "user", "content": turn}, {"role": "assistant", "content": ""}]
        needed = len(plain.tokenize(said[:-1])) + self.schedule.tokens
        if needed > target.n_ctx:
            raise ContextOverflow(
                f"Prompt {prompt.number} of {prompt.workload} needs {needed:,} tokens and the "
                f"context has {target.n_ctx:,}; ask for a larger one with --ctx-size."
            )

    def _look_again(self, conversation: Conversation) -> None:
        """At plain decoding's answers, from every drafter."""
        where, sampling = conversation.prompt.workload, conversation.sampling
        field = self.field
        for context, answer in conversation.said:
            if len(answer) < 2:
                continue
            recording = replay.record(
                field.target, sampling, context, answer, conversation.most_tokens
            )
            if field.draft is not None:
                # A trimmed draft may spell the prompt with more tokens than its context has.
                with suppress(ContextOverflow, EngineError):
                    recording = replay.with_draft(
                        recording, field.draft, field.target, sampling, context, answer
                    )
            self._recorded.append((where, sampling.temperature, recording))

    def result(self, command: str) -> Result:
        """What has been measured so far; command: how to do it again."""
        field = self.field
        contenders = (*self.schedule.contenders, *self.peers.contenders.values())
        failed = {contender.name for contender in contenders if contender.error is not None}
        runs = [run for run in self.runs if run.contender not in failed]
        names = ["target", *of_each("draft", len(field.drafts))]
        curves = zip(names, [field.target_curve, *field.draft_curves], strict=True)
        found = cells(runs, contenders, field.target_curve, field.draft_curves)
        target, *drafts = self._files
        return Result(
            schema=SCHEMA,
            made=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=perf_counter() - self._started,
            command=command,
            commit=commit(),
            versions=versions(),
            machine=this_machine(field.target.model.options),
            target=target,
            draft=next(iter(drafts), None),
            more_drafts=tuple(drafts[1:]),
            settings=self._settings(),
            curves={name: _by_width(curve) for name, curve in curves},
            contenders=contenders,
            runs=tuple(runs),
            cells=tuple(found),
            overall=tuple(overall(found)),
            bounds=tuple(bounds(self._recorded, field.target_curve, field.draft_curve)),
            lossless=tuple(e for e in self._check.lossless if e.contender not in failed),
            divergences=tuple(e for e in self._check.divergences if e.contender not in failed),
            peak_rss=peak_rss(),
        )

    def _settings(self) -> Settings:
        schedule, options = self.schedule, self.field.target.model.options
        return Settings(
            tokens=schedule.tokens,
            repeats=schedule.repeats,
            per_workload=max(prompt.number for prompt in schedule.prompts) + 1,
            workloads=tuple(dict.fromkeys(prompt.workload for prompt in schedule.prompts)),
            temperatures=tuple(schedule.temperatures),
            seed=schedule.seed,
            load=json.loads(json.dumps(_load(options), default=str)),
        )

    def _hash(self) -> list[ModelFile]:
        return [
            model_file(session.model.path, lambda share: self._progress("hash the models", share))
            for session in (self.field.target, *self.field.drafts)
        ]


def _by_width(curve: CostCurve) -> dict[str, float]:
    row = curve.row(CURVE_CONTEXT)
    return {str(width): row[width] for width in range(1, MAX_WIDTH + 1)}


def _load(options: LoadOptions) -> dict[str, Any]:
    """The options by name; adapters, which few have, are told by the names of their files."""
    found = {**asdict(options), "draft": {**options.draft.given}, "lora": options.lora}
    return {name: value for name, value in found.items() if name != "lora" or value}
