"""`spec-local verify`: does drafting change the text?"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.bench_options import PromptOptions, chosen_prompts
from spec_local.cli.bench_output import check_file, stdout
from spec_local.cli.flat import flat
from spec_local.cli.interrupt import end_early
from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.cli.names import NameArgument
from spec_local.cli.options import ExactOption, PairOptions, chosen_pair, named
from spec_local.cli.progress import on_terminal
from spec_local.errors import SpecLocalError
from spec_local.util.files import write_text

if TYPE_CHECKING:
    from spec_local.bench.run.verification import Tally, Verification
    from spec_local.exact.modes import Exactness


@flat
def verify(
    name: NameArgument = None,
    *,
    drafter: Annotated[
        list[str] | None,
        typer.Option(
            "--drafter",
            metavar="WHO",
            help="To compare; repeatable.",
            show_default="auto, lookup, model",
        ),
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", "-n", metavar="N", help="Most tokens of an answer.", min=1)
    ] = 256,
    temperature: Annotated[
        list[float] | None,
        typer.Option(
            "--temperature", metavar="T", help="Repeatable.", min=0.0, show_default="0 and 0.8"
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", metavar="N", help="Seeds of sampled answers, from --seed on.", min=1
        ),
    ] = 1,
    exact: ExactOption = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write everything found.")
    ] = None,
    prompts: PromptOptions,
    models: PairOptions,
    machine: MachineOptions,
) -> None:
    """Compare the text of every drafter with plain decoding's, token by token.

    With --exact a difference is an error: exit code 1. Without, it is reported.
    """
    from spec_local.bench.run.verification import Verification
    from spec_local.drafters import of_each
    from spec_local.models.loading import head_drafters
    from spec_local.models.registry import load_registry
    from spec_local.pair import open_pair
    from spec_local.runner import Runner

    spec = chosen_pair(named(models, name))
    heads = head_drafters(spec.drafts, load_registry())
    own = [*of_each("model", len(spec.drafts) - len(heads)), *heads]
    wanted = drafter or ["auto", "lookup", *own]
    if json_file is not None:
        check_file(json_file)
    stopped: BaseException | None = None
    with ExitStack() as stack, on_terminal(time_left=True) as progress:
        chosen = chosen_prompts(prompts)
        pair = stack.enter_context(
            open_pair(spec, wanted, options=load_options(machine), exact=exact, progress=progress)
        )
        target, drafts = pair.sessions(stack)
        exactness = pair.exactness(target)
        runners = {
            each: stack.enter_context(
                Runner(target, each, draft=drafts, profiles=pair.profiles, exact=exactness)
            )
            for each in ["none", *dict.fromkeys(wanted)]
        }
        verification = Verification(
            runners.pop("none"),
            runners,
            chosen,
            tuple(dict.fromkeys(temperature or [0.0, 0.8])),
            range(prompts.seed, prompts.seed + seeds),
            tokens,
        )
        done = 0

        def advance(answers: int) -> None:
            nonlocal done
            done += answers
            progress("verify", done / verification.answers)

        verification.advance = advance
        try:
            verification.run()
        except (KeyboardInterrupt, SpecLocalError) as reason:
            if not verification.tallies:
                raise
            stopped = reason
    _print(verification, exactness, target.model.path.name)
    if json_file is not None:
        found = {
            "target": target.model.identity,
            "exact": exact,
            "interrupted": stopped is not None,
            **verification.as_dict(),
        }
        write_text(json_file, json.dumps(found, indent=2) + "\n")
    if stopped is not None:
        end_early(stopped, "compared")
    if exactness is not None and verification.differences:
        raise typer.Exit(1)


def _rechecks(tally: Tally) -> str:
    """How often the guard fired, and its share of the time."""
    share = tally.guard_seconds / tally.seconds if tally.seconds else 0.0
    return f"{tally.rechecked:,} ({share:.0%} of the time)"


def _print(verification: Verification, exactness: Exactness | None, target: str) -> None:
    """The table, the differences, and the verdict."""
    from rich.table import Table

    from spec_local.cli.exact_output import describe

    console = stdout()
    console.print(f"{target}: {describe(exactness)}")
    table = Table("drafter", "temperature", box=None, pad_edge=False)
    for column in ("answers", "identical", "tokens", "tokens a round", "accepted"):
        table.add_column(column, justify="right")
    guarded = exactness is not None and exactness.mode == "guard"
    if guarded:
        table.add_column("decided anew", justify="right")
    for (drafter, temperature), tally in verification.tallies.items():
        rounds = tally.rounds - tally.answers  # the first of each reads the prompt
        written = tally.tokens - tally.answers
        table.add_row(
            drafter,
            f"{temperature:g}",
            str(tally.answers),
            str(tally.identical),
            f"{tally.tokens:,}",
            f"{written / rounds:.2f}" if rounds else "",
            f"{tally.accepted:,} of {tally.drafted:,}",
            *([_rechecks(tally)] if guarded else []),
        )
    console.print(table)
    for each in verification.differences:
        how = "" if each.margin is None else f", {each.margin:.3f} logits apart"
        console.print(
            f"- {each.drafter} on {each.workload} {each.prompt + 1}, turn {each.turn + 1}, "
            f"temperature {each.temperature:g}, seed {each.seed}: token {each.at + 1} is "
            f"{each.other!r}, in plain decoding {each.plain!r}{how}, in a round of {each.width}",
            markup=False,
        )
    compared = sum(tally.answers for tally in verification.tallies.values())
    tokens = sum(tally.tokens for tally in verification.tallies.values())
    console.print(
        f"Plain decoding wrote {verification.plain_answers:,} answers of "
        f"{verification.plain_tokens:,} tokens (SHA-256 {verification.digest[:16]})."
    )
    if verification.differences:
        console.print(
            f"DIFFERENT: {len(verification.differences):,} of {compared:,} answers differ."
        )
    elif compared:
        console.print(f"IDENTICAL: all {compared:,} answers, {tokens:,} tokens.")
