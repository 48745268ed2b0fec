"""`spec-local race`: plain and speculative decoding side by side, on the same prompt."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spec_local.cli.bench_output import stdout
from spec_local.cli.flat import flat
from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.cli.names import MEANS, known_names
from spec_local.cli.options import PairOptions, chosen_pair, named
from spec_local.cli.output import say
from spec_local.cli.progress import on_terminal
from spec_local.cli.race_words import sentence, together
from spec_local.cli.signals import INTERRUPTED
from spec_local.errors import require

if TYPE_CHECKING:
    from spec_local.bench.run.duel import Duel, Outcome
    from spec_local.sampling.settings import Sampling

WORKLOADS = ("code edit", "code generation", "chat")
"""Whose first prompts are shown: they are the benchmark's, so nobody chose them for this."""

_rare = partial(typer.Option, rich_help_panel="Of both sides")


@flat
def race(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME] [PROMPT]…",
            help=f"{MEANS}; then prompts. Without prompts, an edit of code.",
            autocompletion=known_names,
        ),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="An edit, a generation and a chat, one after the other.")
    ] = False,
    max_tokens: Annotated[
        int,
        typer.Option("--max-tokens", "-n", metavar="N", help="Longest answer, in tokens.", min=2),
    ] = 200,
    temperature: Annotated[
        float, typer.Option("--temperature", metavar="T", help="0: the likeliest token.", min=0.0)
    ] = 0.0,
    seed: Annotated[int, _rare("--seed", metavar="N", help="Of sampled answers.", min=0)] = 1,
    drafter: Annotated[
        str,
        _rare("--drafter", metavar="WHO", help="auto, lookup, model, tree ... or lookup,model."),
    ] = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list instead of sentences.")
    ] = False,
    models: PairOptions,
    machine: MachineOptions,
) -> None:
    """Watch plain and speculative decoding write the same text, side by side.

    Drafted tokens are in colour. The sides take turns, so that whatever else the machine does falls
    on both alike.
    """
    from spec_local.bench.run.duel import Duel
    from spec_local.pair import open_pair
    from spec_local.sampling.settings import Sampling

    name, prompts = _understood(words or [], models)
    chosen = _chosen(prompts, everything)
    sampling = Sampling(temperature=temperature, seed=seed)
    spec = chosen_pair(named(models, name), drafter)
    found: list[tuple[str, Outcome]] = []
    try:
        with ExitStack() as stack:
            with on_terminal() as progress:
                options = load_options(
                    machine, contexts=2
                )  # the drafted side's and the plain one's
                opened = open_pair(spec, [drafter], options=options, progress=progress)
                duel = stack.enter_context(Duel(stack.enter_context(opened), drafter))
            for what, prompt in chosen:
                outcome = _run(duel, what, prompt, max_tokens, sampling, shown=not as_json)
                found.append((what, outcome))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print(json.dumps([_as_json(*each) for each in found], ensure_ascii=False, indent=2))
    elif len(found) > 1:
        say(together([outcome for _what, outcome in found]))


def _understood(words: list[str], models: PairOptions) -> tuple[str | None, list[str]]:
    """NAME, or None, and the prompts."""
    from spec_local.models.loading import is_name

    if words and models.target is None and is_name(words[0]):
        return words[0], words[1:]
    return None, words


def _chosen(prompts: list[str], everything: bool) -> list[tuple[str, str]]:
    """What to call each prompt, and the prompt."""
    from spec_local.workloads.workloads import bundled

    require(all(map(str.strip, prompts)), "A prompt is empty; give at least one word.")
    require(not (prompts and everything), "Give prompts or --all, not both.")
    if prompts:
        return [("", prompt) for prompt in prompts]
    first = {each.workload: each.turns[0] for each in reversed(bundled())}
    return [(what, first[what]) for what in (WORKLOADS if everything else WORKLOADS[:1])]


def _run(
    duel: Duel, what: str, prompt: str, max_tokens: int, sampling: Sampling, shown: bool
) -> Outcome:
    """One duel, live where there is a terminal, and how it ended in a sentence."""
    messages = [{"role": "user", "content": prompt}]
    console = stdout()
    if not (shown and console.is_terminal):
        outcome = duel.run(messages, max_tokens, sampling)
    else:
        from spec_local.cli.race_view import RaceView

        named = f"{what}, " if what else ""
        titles = {
            duel.plain.name: f"{named}plain decoding",
            duel.swift.name: f"drafter {duel.swift.name}",
        }
        with RaceView(console, titles) as view:
            outcome = duel.run(messages, max_tokens, sampling, view.watch)
            view.play_out()
    if shown:
        say(f"{what}: {sentence(outcome)}" if what else sentence(outcome))
    return outcome


def _as_json(what: str, outcome: Outcome) -> dict[str, Any]:
    return {"workload": what or None, "ratio": outcome.ratio, **asdict(outcome)}
