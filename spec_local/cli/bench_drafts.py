"""`spec-local bench drafts`: which draft model is best for a target here."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.bench_options import PromptOptions, chosen_prompts
from spec_local.cli.bench_output import check_outputs, stdout
from spec_local.cli.flat import flat
from spec_local.cli.options import MachineOptions, load_options
from spec_local.cli.progress import on_terminal
from spec_local.errors import ConfigError

if TYPE_CHECKING:
    from spec_local.bench.drafts import Candidate
    from spec_local.loading import Progress

_TUNE_SECONDS = 12.0


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
    from spec_local.bench.drafts import DraftTrial, verified, verifying
    from spec_local.bench.field import Field
    from spec_local.bench.lineup import line_up
    from spec_local.bench.plan import Plan
    from spec_local.bench.report import print_ranking
    from spec_local.loading import load_draft, load_models
    from spec_local.profile import ProfileStore
    from spec_local.registry import load_registry

    check_outputs(json)
    registry, store = load_registry(), ProfileStore.of_user()
    plan = Plan(
        prompts=chosen_prompts(prompts),
        contenders=line_up(["none"], [], has_draft=False),
        tokens=tokens,
        temperatures=(temperature,),
        seed=prompts.seed,
    )
    with ExitStack() as stack, on_terminal(time_left=True) as progress:
        directory = Path(stack.enter_context(TemporaryDirectory(prefix="spec-local-bench-")))
        names = [*draft, *_trimmed(draft, trim or [], directory, progress)]
        (model,) = load_models([target], registry, load_options(machine), progress, stack)
        with Field(plan.contenders, model, None, store, _TUNE_SECONDS, progress) as field:
            trial = DraftTrial(plan, field, store, _TUNE_SECONDS, progress)
            candidates: dict[str, Candidate] = {}
            for name in names:
                with ExitStack() as opened:
                    candidate = load_draft(name, model, registry, progress, opened)
                    candidates[name] = trial.judge(candidate)
        best = max(candidates, key=lambda name: candidates[name].auto)
        if run:
            plan = verifying(plan, candidates[best])
            winner = load_draft(best, model, registry, progress, stack)
            with Field(plan.contenders, model, winner, store, _TUNE_SECONDS, progress) as field:
                candidates[best] = verified(candidates[best], plan, field, progress)
    ranking = sorted(candidates.values(), key=lambda each: -each.auto)
    if json is not None:
        _save(ranking, json)
    print_ranking(ranking, stdout())


def _trimmed(names: list[str], sizes: list[int], directory: Path, progress: Progress) -> list[str]:
    """Every draft trimmed to every size, in files of their own."""
    from spec_local.download import pull
    from spec_local.registry import load_registry
    from spec_local.trim import trim

    made = []
    for name in names if sizes else ():
        path = pull(name, load_registry(), lambda done, total: progress("pull", done / total))
        for size in sizes:
            made.append(directory / f"{path.stem}-trim{size}-Q4_0.gguf")
            trim(path, made[-1], size, file_type="Q4_0", progress=progress)
    return [str(path) for path in made]


def _save(ranking: Sequence[Candidate], path: Path) -> None:
    try:
        path.write_text(json_format.dumps([asdict(each) for each in ranking], indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
