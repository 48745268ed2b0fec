"""`spec-local tune`: what evaluations cost on this machine, and what follows from it."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.flat import flat
from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.cli.names import NameArgument
from spec_local.cli.options import PairOptions, chosen_pair, named
from spec_local.cli.output import say
from spec_local.cli.progress import on_terminal
from spec_local.errors import ConfigError

if TYPE_CHECKING:
    from spec_local.control.costs import CostCurve
    from spec_local.llama.options import LoadOptions
    from spec_local.machine.profile import ProfileStore
    from spec_local.models.registry import PairSpec

_BAR = 30


@flat
def tune(
    name: NameArgument = None,
    *,
    show: Annotated[
        bool, typer.Option("--show", help="Measure nothing; explain what is stored.")
    ] = False,
    seconds: Annotated[
        float,
        typer.Option("--seconds", metavar="S", help="Time for each model.", min=1.0, max=3600.0),
    ] = 40.0,
    exact: Annotated[
        str | None,
        typer.Option(
            "--exact",
            metavar="[=MODE]",
            help="Also certify what that exact mode needs: certified, fixed or guard.",
            show_default="off; without a mode certified",
            rich_help_panel="Exactness",
        ),
    ] = None,
    models: PairOptions,
    machine: MachineOptions,
) -> None:
    """Measure what checking several tokens at once costs here, and keep it.

    With --exact also at which widths the same bits are computed. Nothing else should run meanwhile.
    Without this command costs are learned in use.
    """
    from spec_local.exact.modes import exact_options
    from spec_local.machine.profile import ProfileStore
    from spec_local.models.adapters import with_adapters

    spec = chosen_pair(named(models, name))
    options, store = with_adapters(spec, load_options(machine)), ProfileStore.of_user()
    if show:
        paths = [_path(spec.target), *_draft_paths(spec)]
        options = _placed(spec, options)
    else:
        paths, options = _measure(spec, options, store, seconds, exact)
    if exact is not None:
        options = exact_options(exact, options)
    _explain(paths, options, store)
    if exact is not None:
        _explain_exactness(paths[0], options, store)


def _draft_paths(spec: PairSpec) -> list[Path]:
    """Those of draft models; heads are not measured."""
    from spec_local.models.loading import names_head
    from spec_local.models.registry import load_registry

    registry = load_registry()
    return [_path(name) for name in spec.drafts if not names_head(name, registry)]


def _path(name: str) -> Path:
    from spec_local.models.download import resolve
    from spec_local.models.registry import load_registry

    path = resolve(name, load_registry())
    if path is None:
        raise ConfigError(f"{name} has not been pulled; run spec-local models pull {name}.")
    return path


def _placed(spec: PairSpec, options: LoadOptions) -> LoadOptions:
    """How the pair would be loaded now."""
    from spec_local.pair import placement

    return placement(spec, options=options).options


def _measure(
    spec: PairSpec,
    options: LoadOptions,
    store: ProfileStore,
    seconds: float,
    exact: str | None,
) -> tuple[list[Path], LoadOptions]:
    """Measure the models one after the other and keep their curves; certify the target.

    A certificate that is there already is made anew. Gives the files, and how they were loaded.
    """
    from spec_local.machine.others import DISTURBING, Others
    from spec_local.machine.tune import compare, keep
    from spec_local.machine.tune import tune as measure
    from spec_local.pair import open_pair

    with ExitStack() as stack, on_terminal() as progress:
        pair = stack.enter_context(
            open_pair(spec, options=options, exact=exact, profiles=store, progress=progress)
        )
        target, drafts = pair.sessions(stack)
        sessions = [target, *drafts]
        curves, others = [], Others()
        for session in sessions:
            show = partial(progress, f"measure {session.model.path.stem}")
            curves.append(measure(session, seconds, show)[0])
        compare(sessions, curves)
        keep(store, sessions, curves)
        used = others.processors
        pair.exactness(sessions[0], anew=True)
        paths = [session.model.path for session in sessions]
        options = pair.target.options
    if used >= DISTURBING:
        print(
            f"note: other programs used {used:.1f} processors meanwhile, so this is too dear; "
            "measure again when they rest.",
            file=sys.stderr,
        )
    return paths, options


def _explain(paths: list[Path], options: LoadOptions, store: ProfileStore) -> None:
    from spec_local.control.acceptance import overall
    from spec_local.control.advice import explain
    from spec_local.llama.identity import identity
    from spec_local.machine.experts import experts_advice
    from spec_local.machine.learned import pairs_of

    identities = [identity(paths[0], options)]
    identities += [identity(path, options.for_draft()) for path in paths[1:]]
    curves = [store.curve(identities[0])]
    curves += [store.draft_curve(each, identities[0], curves[0]) for each in identities[1:]]
    for path, curve, each in zip(paths, curves, identities, strict=True):
        if not curve.is_known:
            raise ConfigError(f"Nothing is known of {path.name} yet; measure it without --show.")
        how = "measured by spec-local tune" if store.tuned_at(each) else "learned in use"
        say(f"{path.name} ({how})\n")
        _print_curve(curve)
    if said := experts_advice(paths[0], next(iter(paths[1:]), None), options, store):
        say(f"- {said}")
    drafters = ["lookup", *(["model", "window"] if len(paths) > 1 else [])]
    for number, pair in enumerate(pairs_of(identities[0], identities[1:]), start=1):
        known = {
            name: overall(store.acceptance(pair, name, drawn=name != "lookup").values())
            for name in drafters
        }
        if len(paths) > 2:
            say(f"With {paths[number].name}:")
        for sentence in explain(curves[0], curves[number] if drafters[1:] else None, known):
            say(f"- {sentence}")


def _explain_exactness(path: Path, options: LoadOptions, store: ProfileStore) -> None:
    from spec_local.cli.exact_output import findings
    from spec_local.llama.identity import identity

    certificates = store.certificates(identity(path, options))
    if not certificates:
        raise ConfigError(f"{path.name} has not been certified; do that without --show.")
    for certificate in certificates:
        typer.echo("")
        for sentence in findings(certificate):
            say(sentence)


def _print_curve(curve: CostCurve) -> None:
    """A table of the widths measured, with bars; a second context length only as figures."""
    from rich.console import Console
    from rich.table import Table

    from spec_local.control.costs import MAX_WIDTH

    contexts = curve.measured()
    first, *others = contexts
    table = Table("width", "ms", "x one", "ms a token", "", box=None, pad_edge=False)
    for context in others:
        table.add_column(f"x one at {context:,}", justify="right")
    for column in table.columns[:4]:
        column.justify = "right"
    widths = [width for width in contexts[first] if width <= MAX_WIDTH]
    scale = _BAR / curve.seconds(widths[-1], first)
    for width in widths:
        seconds = curve.seconds(width, first)
        table.add_row(
            str(width),
            f"{seconds * 1e3:.1f}",
            f"{seconds / curve.seconds(1, first):.2f}",
            f"{seconds * 1e3 / width:.1f}",
            "█" * max(1, round(seconds * scale)),
            *(f"{curve.seconds(width, c) / curve.seconds(1, c):.2f}" for c in others),
        )
    console = Console()
    console.print(f"Evaluations of up to {first:,} tokens of context:", highlight=False)
    console.print(table)
    wide = max(contexts[first])
    if wide > MAX_WIDTH:
        rate = wide / curve.seconds(wide, first)
        console.print(f"Prompts are read at {rate:,.0f} tokens/s.", highlight=False)
    console.print()
