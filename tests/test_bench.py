"""The measurement itself, on tiny models: who runs when, what is kept, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spec_local.bench.record.result import PLAIN, Result
from spec_local.bench.report.markdown import markdown
from spec_local.bench.run.contenders import line_up
from spec_local.bench.run.draft_trial import DraftTrial, run_winner, winner_schedule
from spec_local.bench.run.measure import Benchmark
from spec_local.bench.run.opened import Field
from spec_local.bench.run.race import race
from spec_local.bench.run.running_peers import RunningPeers
from spec_local.bench.run.schedule import Schedule
from spec_local.control.costs import MAX_WIDTH
from spec_local.drafters import build as drafters
from spec_local.drafters.lookup import LookupDrafter
from spec_local.engine.draft import Draft
from spec_local.engine.types import Pace
from spec_local.generation import Chunk
from spec_local.llama.model import Model
from spec_local.policies.named import POLICIES
from spec_local.sampling.settings import Sampling
from spec_local.util.progress import no_progress
from spec_local.workloads.workloads import WorkloadPrompt

pytestmark = pytest.mark.llama

PROMPTS = (
    WorkloadPrompt("short", ("the thing and the other thing and the thing",)),
    WorkloadPrompt("talk", ("one and the other", "and on", "and the one")),
)
TUNE_SECONDS = 0.05


@contextmanager
def benchmark(schedule: Schedule, target: Path, *drafts: Path) -> Iterator[Benchmark]:
    with ExitStack() as stack:
        first, *others = [stack.enter_context(Model(path)) for path in (target, *drafts)]
        field = stack.enter_context(
            Field(schedule.contenders, first, others, None, TUNE_SECONDS, no_progress)
        )
        yield Benchmark(
            schedule,
            field,
            stack.enter_context(RunningPeers([], field, schedule, None, no_progress)),
        )


def schedule(
    contenders: Sequence[str] = (),
    drafts: int = 1,
    temperatures: Sequence[float] = (0.0, 0.8),
) -> Schedule:
    line = line_up(contenders, [], drafts)
    return Schedule(PROMPTS, line, tokens=12, temperatures=temperatures)


def test_where_time_is_short_less_is_measured_and_it_is_said_what(tiny: Path) -> None:
    asked = replace(schedule(["lookup"], drafts=0), most_seconds=0.0)
    with benchmark(asked, tiny) as bench:
        bench.run()
        result = bench.result("spec-local bench")
    assert bench.left_out == ["talk"]
    ran = {(run.workload, run.repeat, run.contender) for run in result.runs}
    assert ran == {("short", 0, name) for name in ("none", "lookup k=3")}


def test_everything_that_was_asked_for_is_measured(tiny: Path, tiny_draft: Path) -> None:
    asked = schedule()
    with benchmark(asked, tiny, tiny_draft) as bench:
        bench.run()
        result = bench.result("spec-local bench")
    ran = {(r.contender, r.workload, r.temperature, r.repeat) for r in result.runs}
    greedy = [(name, 0.0) for name in ("none", "lookup k=3", "model k=3", "auto")]
    assert ran == {
        (name, workload, temperature, repeat)
        for name, temperature in [*greedy, ("none", 0.8), ("auto", 0.8)]
        for workload in ("short", "talk")
        for repeat in (0, 1)
    }
    assert {(c.contender, c.workload, c.temperature) for c in result.cells} == {
        (name, workload, temperature) for name, workload, temperature, _repeat in ran
    }
    for run in result.runs:
        assert run.tokens == (11 if run.workload == "short" else 9)  # the first is the prompt's
        assert run.tokens == run.rounds + run.accepted
        assert (run.prompt_seconds is None) == (run.repeat == 1)
        assert sum(run.widths.values()) == run.rounds
        assert sum(run.accepted_at) == run.accepted
        assert sum(run.offered_at) == run.drafted
    assert {(b.workload, b.temperature) for b in result.bounds} == {
        (workload, temperature) for workload in ("short", "talk") for temperature in (0.0, 0.8)
    }
    assert [each.answers for each in result.lossless] == [2 * 4] * 4  # turns of both prompts


def test_policies_and_staged_drafts_are_measured_like_any_contender(
    tiny: Path, tiny_draft: Path, tmp_path: Path
) -> None:
    names = [*POLICIES, "staged"]
    with benchmark(schedule(names, temperatures=(0.0,)), tiny, tiny_draft) as bench:
        bench.run()
        result = bench.result("spec-local bench")
    everyone = {PLAIN, *POLICIES, "staged k=3"}
    assert {each.name for each in result.contenders} == everyone
    assert {cell.contender for cell in result.cells} == everyone
    assert {each.contender: each.identical for each in result.lossless} == dict.fromkeys(
        everyone - {PLAIN}, 2 * 4
    )
    longest = {run.contender: len(run.offered_at) for run in result.runs}
    assert longest["assisted"] >= 1
    assert 1 <= longest["dynamic"] <= 4
    result.save(tmp_path / "a.json")
    assert Result.load(tmp_path / "a.json") == result
    assert "| disco |" in markdown(result)


def test_all_contenders_write_the_same_text_in_lockstep(tiny: Path, tiny_draft: Path) -> None:
    asked = schedule()
    with benchmark(asked, tiny, tiny_draft) as bench:
        running = list(bench.field.running.values())
        written: list[int] = []

        def watch(name: str) -> None:
            lengths = [len(e.answer.tokens) for e in running if not e.finished]
            mine = len(bench.field.running[name].answer.tokens)
            written.append(mine - min(lengths, default=mine))

        for contender in running:
            step = contender.step

            def watched(step: Callable[[], Chunk] = step, name: str = contender.name) -> Chunk:
                watch(name)
                return step()

            contender.step = watched  # type: ignore[method-assign]
        context = running[0].runner.tokenize("the thing and the other thing")
        for contender in running:
            contender.forget(target=0, draft=0)
        race(running, context, 24, Sampling(temperature=0.7, seed=3), turned=False)
        answers = [contender.answer.tokens for contender in running]
    assert len(answers[0]) == 24
    assert answers == [answers[0]] * 4
    assert set(written) == {0}  # only who has written least goes on


def test_costs_are_learned_from_what_every_contender_evaluates(
    tiny: Path, tiny_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = dict[str, list[tuple[int, int]]](target=[], draft=[])
    with benchmark(schedule(), tiny, tiny_draft) as bench:
        field, plain = bench.field, bench.field.running["none"]
        assert field.draft_curve is not None
        for name, curve in (("target", field.target_curve), ("draft", field.draft_curve)):

            def observe(width: int, _context: int, *seconds: float, name: str = name) -> None:
                assert min(seconds) > 0.0
                seen[name].append((width, len(seconds)))

            monkeypatch.setattr(curve, "observe", observe)
        context = plain.runner.tokenize("the thing and the other thing")
        race([plain], context, 24, Sampling(), turned=False)
        assert seen == {"target": [(1, 1)] * 23, "draft": []}
        drafting = field.running["model k=3"]
        race([drafting], context, 24, Sampling(), turned=False)
        rounds = drafting.answer.rounds
    assert seen["target"][23:] == [(evaluated, 1) for _drafted, _accepted, evaluated in rounds]
    assert seen["draft"]
    assert all(width == 1 or calls == 1 for width, calls in seen["draft"])


def test_an_interrupted_benchmark_has_what_was_finished(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = schedule(drafts=0, temperatures=(0.0,))
    with benchmark(asked, tiny) as bench:
        contender = bench.field.running["auto"]
        start = contender.start

        def interrupted(*arguments: Any) -> None:
            if bench.runs:
                raise KeyboardInterrupt
            start(*arguments)

        monkeypatch.setattr(contender, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.run()
        result = bench.result("spec-local bench")
    assert {run.workload for run in result.runs} == {"short"}
    assert {bound.workload for bound in result.bounds} == {"short"}


def test_the_json_file_is_the_whole_result(tiny: Path, tmp_path: Path) -> None:
    with benchmark(schedule(drafts=0), tiny) as bench:
        bench.run()
        result = bench.result("spec-local bench --json a.json")
    result.save(tmp_path / "a.json")
    assert Result.load(tmp_path / "a.json") == result
    assert result.target.bytes == tiny.stat().st_size
    assert len(result.target.sha256) == 64
    assert list(result.curves["target"]) == [str(width) for width in range(1, MAX_WIDTH + 1)]
    assert result.draft is None


class Clock:
    """A clock that goes on by a millisecond whenever it is looked at."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Slow(LookupDrafter):
    """Takes a second to draft, by a clock of its own; an evaluation takes milliseconds."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        self._clock.now += 1.0
        return super().propose(context, budget, pace)


def test_a_slowed_contender_is_said_to_be_slower(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    builders = {**drafters.BUILDERS, "lookup": lambda _drafts, _library: Slow(clock)}
    monkeypatch.setattr(drafters, "BUILDERS", builders)
    asked = schedule(["lookup"], drafts=0, temperatures=(0.0,))
    with benchmark(asked, tiny) as bench:
        for module in ("bench.run.race", "engine.decode", "llama.session"):
            monkeypatch.setattr(f"spec_local.{module}.perf_counter", clock)
        bench.run()
        result = bench.result("spec-local bench")
    verdicts = {each.contender: each.verdict for each in result.overall}
    assert verdicts == {PLAIN: "same", "lookup k=3": "slower"}
    assert all(c.speedup.median < 0.5 for c in result.cells if c.contender != PLAIN)
    assert all(c.shares["draft"] > 0.5 for c in result.cells if c.contender != PLAIN)
    usual = {c.contender: c.usual_overhead_us or 0.0 for c in result.cells}
    assert usual["lookup k=3"] == pytest.approx(1e6 + usual[PLAIN], rel=0.01)  # what drafting takes
    assert 1e3 <= usual[PLAIN] < 3e4  # each look at the clock takes a millisecond


def test_a_perfect_draft_is_found_and_verified(tiny: Path, tiny_draft: Path) -> None:
    asked = Schedule(PROMPTS, line_up([PLAIN], [], drafts=0), tokens=24, temperatures=(0.0,))
    with Model(tiny) as target, Model(tiny) as same, Model(tiny_draft) as other:
        with Field(asked.contenders, target, (), None, TUNE_SECONDS, no_progress) as field:
            trial = DraftTrial(asked, field, None, TUNE_SECONDS, no_progress)
            perfect, poor = trial.judge(same), trial.judge(other)
        assert perfect.agreement == 1.0
        assert poor.agreement < 0.5
        assert perfect.by_k[4] > poor.by_k[4]
        again = winner_schedule(asked, perfect)
        with Field(again.contenders, target, [same], None, TUNE_SECONDS, no_progress) as field:
            winner = run_winner(perfect, again, field, no_progress)
    assert winner.measured is not None
    assert set(winner.measured) == {f"k={perfect.best_k}", "auto"}
