"""`spec-local bench`: is speculation worth it on this machine, and is the text the same?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from spec_local.cli.bench_drafts import drafts
from spec_local.cli.bench_options import (
    TUNE_SECONDS,
    OutputOptions,
    PeerOptions,
    PromptOptions,
    chosen_prompts,
    numbers,
)
from spec_local.cli.bench_output import check_outputs, stdout, write
from spec_local.cli.brief_help import BriefHelp
from spec_local.cli.flat import flat
from spec_local.cli.interrupt import end_early
from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.cli.names import NameArgument
from spec_local.cli.options import PairOptions, chosen_pair, named
from spec_local.cli.output import say
from spec_local.cli.progress import on_terminal
from spec_local.errors import SpecLocalError, require

if TYPE_CHECKING:
    from spec_local.bench.peers.specs import PeerSpec
    from spec_local.llama.model import Model

_RUN = "run"
_QUICK_TUNE_SECONDS = 5.0
_QUICK_SECONDS = 90.0
"""Of measuring; with loading and tuning that is two minutes at most, if not for a single prompt."""


class _RunsByDefault(TyperGroup):
    """`bench` alone measures; `bench compare …` and the like are commands of their own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [_RUN, *args])


app = typer.Typer(cls=_RunsByDefault, help="Measure what speculation earns on this machine.")
app.command("drafts", cls=BriefHelp)(drafts)

_whom = partial(typer.Option, rich_help_panel="Contenders")


@app.command(_RUN, cls=BriefHelp, hidden=True)
@flat
def run(
    name: NameArgument = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Short answers, greedy only.")] = False,
    tokens: Annotated[
        int | None,
        typer.Option(
            "--tokens",
            "-n",
            metavar="N",
            help="Most tokens of an answer.",
            min=2,
            show_default="64, quick 32",
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option("--repeats", metavar="N", help="How often everything is measured.", min=1)
    ] = 2,
    temperature: Annotated[
        list[float] | None,
        typer.Option(
            "--temperature",
            metavar="T",
            help="Repeatable.",
            min=0.0,
            show_default="0 and 0.8, quick 0",
        ),
    ] = None,
    contender: Annotated[
        list[str] | None,
        _whom(
            "--contender",
            help="A drafter or policy, or with its number: model=5; repeatable.",
            show_default="lookup, model, auto; sampled only auto",
        ),
    ] = None,
    sweep_k: Annotated[
        str | None,
        _whom("--sweep-k", help="Also the draft model (or lookup) with k: 1,2,4,8."),
    ] = None,
    prompts: PromptOptions,
    peers: PeerOptions,
    output: OutputOptions,
    models: PairOptions,
    machine: MachineOptions,
) -> None:
    """Measure plain decoding against every drafter, on real prompts, token by token in turn.

    Also: spec-local bench compare A.json B.json, bench show A.json, and bench drafts, which
    chooses a draft model. Nothing else should run meanwhile.
    """
    from spec_local.bench.peers.specs import peer_specs
    from spec_local.bench.run.contenders import HEAT, line_up
    from spec_local.bench.run.measure import Benchmark
    from spec_local.bench.run.opened import Field
    from spec_local.bench.run.running_peers import RunningPeers
    from spec_local.bench.run.schedule import Schedule
    from spec_local.models.loading import head_drafters
    from spec_local.models.registry import load_registry
    from spec_local.pair import open_pair

    check_outputs(output)
    spec = chosen_pair(named(models, name))
    heads = head_drafters(spec.drafts, load_registry())
    schedule = Schedule(
        prompts=chosen_prompts(prompts),
        contenders=line_up(
            contender or [], numbers("--sweep-k", sweep_k), len(spec.drafts) - len(heads), heads
        ),
        tokens=tokens or (32 if quick else 64),
        repeats=repeats,
        temperatures=tuple(dict.fromkeys(temperature or ([0.0] if quick else [0.0, 0.8]))),
        everyone_sampled=bool(contender),
        seed=prompts.seed,
        most_seconds=_QUICK_SECONDS if quick else None,
    )
    specs = peer_specs(
        peers.peer or [], peers.peer_flags or [], bool(spec.draft or peers.peer_draft)
    )
    require(
        schedule.asks_peers or not specs,
        "Peers answer greedily only; add --temperature 0, or no peer.",
    )
    require(
        not (specs and (machine.lora or spec.lora)),
        "Peers write without adapters, which is another text; leave out --lora, or the peers.",
    )
    contexts = min(HEAT, len(schedule.contenders))
    stopped: BaseException | None = None
    with ExitStack() as stack, on_terminal(time_left=True) as progress:
        pair = stack.enter_context(
            open_pair(spec, options=load_options(machine, contexts=contexts), progress=progress)
        )
        drafts = list(pair.drafts.values())
        first = next((each for each in drafts if not each.is_head), None)
        _check_peer_draft(specs, first, peers.peer_draft)
        field = stack.enter_context(
            Field(
                schedule.contenders,
                pair.target,
                drafts,
                pair.profiles,
                _QUICK_TUNE_SECONDS if quick else TUNE_SECONDS,
                progress,
            )
        )
        running_peers = stack.enter_context(
            RunningPeers(specs, field, schedule, peers.peer_draft, progress)
        )
        benchmark = Benchmark(schedule, field, running_peers, progress)
        try:
            benchmark.run()
        except (KeyboardInterrupt, SpecLocalError) as reason:
            if not benchmark.runs:
                raise
            stopped = reason
        result = benchmark.result(shlex.join(["spec-local", *sys.argv[1:]]))
    write(result, output)
    if benchmark.left_out:
        left_out = ", ".join(dict.fromkeys(benchmark.left_out))
        say(f"note: for want of time this was left out: {left_out}.", err=True)
    if stopped is not None:
        end_early(stopped, "measured")


@app.command()
def compare(
    before: Annotated[Path, typer.Argument(help="A result written with --json.")],
    after: Annotated[Path, typer.Argument(help="A later one.")],
) -> None:
    """Show what changed between two results, and whether it is more than noise."""
    from spec_local.bench.record.result import Result
    from spec_local.bench.report import terminal
    from spec_local.bench.report.compare import compare as compare_results

    terminal.print_comparison(compare_results(Result.load(before), Result.load(after)), stdout())


@app.command()
@flat
def show(
    file: Annotated[Path, typer.Argument(help="A result written with --json.")],
    *,
    output: OutputOptions,
) -> None:
    """Show a result again; draw or write it in another form."""
    from spec_local.bench.record.result import Result

    check_outputs(output)
    write(Result.load(file), output)


def _check_peer_draft(
    specs: Sequence[PeerSpec], draft: Model | None, peer_draft: Path | None
) -> None:
    other = draft is not None and (draft.token_map is not None or draft.shared is not None)
    require(
        peer_draft is None or peer_draft.is_file(), f"There is no draft for peers at {peer_draft}."
    )
    require(
        not (other and peer_draft is None and any(spec.needs_draft for spec in specs)),
        "llama-server cannot use a draft with another vocabulary; name one with the target's with "
        "--peer-draft, for a trimmed draft the model it was made of.",
    )
