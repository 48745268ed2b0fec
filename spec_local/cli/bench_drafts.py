"""`spec-local bench drafts`: which draft model is best for a target here."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.bench_options import TUNE_SECONDS, PromptOptions, chosen_prompts
from spec_local.cli.bench_output import check_file, stdout
from spec_local.cli.flat import flat
from spec_local.cli.interrupt import end_early
from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.cli.output import say
from spec_local.cli.progress import on_terminal

if TYPE_CHECKING:
    from spec_local.bench.report.ranking import Candidate
    from spec_local.control.costs import CostCurve
    from spec_local.util.progress import Progress

_CONTEXTS = 3
"""Of the winner: beside plain decoding with its best number of tokens, and with the controller."""


@flat
def drafts(
    *,
    target: Annotated[
        str, typer.Option("--target", "-m", help="Target model: a name or a .gguf file.")
    ],
    draft: Annotated[
        list[str],
        typer.Option("--draft", "-d", help="Candidate: a name or a .gguf file; repeatable."),
    ],
    trim: Annotated[
        list[int] | None,
        typer.Option(
            "--trim",
            help="Also every candidate trimmed to so many tokens, in Q4_0; repeatable.",
            min=1,
        ),
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", "-n", help="Most tokens of an answer.", min=2)
    ] = 64,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0)] = 0.0,
    run: Annotated[
        bool, typer.Option("--run/--predict-only", help="Run the winner to check the prediction.")
    ] = True,
    json: Annotated[Path | None, typer.Option("--json", help="Write the ranking.")] = None,
    prompts: PromptOptions,
    machine: MachineOptions,
) -> None:
    """Rank draft models for a target: each is measured once, its speed-ups are predicted."""
    from spec_local.bench.report.ranking import save
    from spec_local.bench.run.contenders import line_up
    from spec_local.bench.run.draft_trial import DraftTrial, run_winner, winner_schedule
    from spec_local.bench.run.opened import Field
    from spec_local.bench.run.schedule import Schedule
    from spec_local.gguf.header import model_bytes
    from spec_local.models.download import pulled
    from spec_local.models.loading import load_draft
    from spec_local.models.registry import PairSpec, load_registry
    from spec_local.pair import open_pair

    if json is not None:
        check_file(json)
    registry = load_registry()
    schedule = Schedule(
        prompts=chosen_prompts(prompts),
        contenders=line_up(["none"], [], drafts=0),
        tokens=tokens,
        temperatures=(temperature,),
        seed=prompts.seed,
    )
    judged: dict[str, Candidate] = {}
    stopped: BaseException | None = None
    with ExitStack() as stack, on_terminal(time_left=True) as progress:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="spec-local-bench-")))
        names = [*draft, *_trimmed(draft, trim or [], directory, progress)]
        largest = max(names, key=lambda name: model_bytes(pulled(name, registry, progress)))
        pair = stack.enter_context(
            open_pair(
                PairSpec(target),
                options=load_options(machine, contexts=_CONTEXTS),
                progress=progress,
                later=[largest],
            )
        )
        model, store = pair.target, pair.profiles
        for name in names:  # whether it can draft is said before minutes are spent
            load_draft(name, model, registry, progress).close()
        try:
            with Field(schedule.contenders, model, (), store, TUNE_SECONDS, progress) as field:
                curve = field.target_curve
                trial = DraftTrial(schedule, field, store, TUNE_SECONDS, progress)
                for name in names:
                    with load_draft(name, model, registry, progress) as candidate:
                        judged[name] = trial.judge(candidate)
            if run:
                best = max(judged, key=lambda name: judged[name].auto)
                schedule = winner_schedule(schedule, judged[best])
                winner = stack.enter_context(load_draft(best, model, registry, progress))
                with Field(
                    schedule.contenders, model, [winner], store, TUNE_SECONDS, progress
                ) as field:
                    judged[best] = run_winner(judged[best], schedule, field, progress)
        except KeyboardInterrupt as reason:
            if not judged:
                raise
            stopped = reason
    ranking = sorted(judged.values(), key=lambda each: -each.auto)
    print_found(ranking, model.path, curve)
    if json is not None:
        save(model.path.name, ranking, json)
    if stopped is not None:
        end_early(stopped, "known")


def print_found(ranking: Sequence[Candidate], target: Path, curve: CostCurve) -> None:
    """The table, and what experts of the target do to the drafts of the best one."""
    from spec_local.bench.report.terminal import print_ranking
    from spec_local.machine.experts import advice
    from spec_local.machine.prediction import experts_in

    print_ranking(ranking, stdout())
    if (experts := experts_in(target)) is not None:
        say(f"\n{advice(experts, curve, ranking[0].relative_cost, ranking[0].agreement)}")


def _trimmed(names: list[str], sizes: list[int], directory: Path, progress: Progress) -> list[str]:
    """Every draft trimmed to every size, in files of their own."""
    from spec_local.models.download import pulled
    from spec_local.models.registry import load_registry
    from spec_local.models.trim import trim

    made = []
    for name in names if sizes else ():
        path = pulled(name, load_registry(), progress)
        for size in sizes:
            made.append(directory / f"{path.stem}-trim{size}-Q4_0.gguf")
            trim(path, made[-1], size, file_type="Q4_0", progress=progress)
    return [str(path) for path in made]
