"""`spec-local models verify` and `remove`: what has been pulled, checked and taken away."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.models import Names, models_of
from spec_local.cli.output import say
from spec_local.cli.progress import on_terminal
from spec_local.cli.tables import gigabytes

if TYPE_CHECKING:
    from spec_local.models.kept import KeptModel
    from spec_local.models.registry import Registry


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models or pairs of models.toml, or OWNER/REPO.", show_default="all pulled ones"
        ),
    ] = None,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Pull what is wrong again without asking.")
    ] = False,
) -> None:
    """Compare pulled files with the hashes of models.toml; exit code 1 if one is wrong.

    On a terminal it offers to pull that one again.
    """
    from spec_local.models.kept import kept_models
    from spec_local.models.registry import load_registry

    registry, kept = load_registry(), kept_models()
    if not names:
        chosen = [each.name for each in kept if each.path is not None]
        if not kept:
            say("Nothing has been pulled yet.", err=True)
    else:
        known = [each.name for each in kept]
        chosen = [model for name in names for model in models_of(name, registry, known)]
    right = [_is_right(name, registry, yes) for name in dict.fromkeys(chosen)]
    for each in kept if not names else ():
        if each.unfinished:
            left = gigabytes(each.unfinished)
            say(f"{each.name}: {left} of a pull that was broken off; pull it again or remove it")
    if not all(right):
        raise typer.Exit(1)


def remove(
    names: Names,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
) -> None:
    """Remove what `pull` has fetched, and what is left of pulls that were broken off.

    Files of your own and of other programs stay, the Hugging Face cache among them.
    """
    from spec_local.models.kept import kept_models
    from spec_local.models.kept import remove as remove_kept
    from spec_local.models.registry import load_registry

    registry, kept = load_registry(), kept_models()
    known = [each.name for each in kept]
    chosen: dict[str, KeptModel] = {}
    for models in [models_of(name, registry, known) for name in names]:  # a wrong name stops all
        chosen |= _kept_of(models, registry)
    for each in chosen.values():
        size = gigabytes(each.bytes + each.unfinished)
        say(f"{each.name}, {size}{_still_drafts_for(each.name, chosen, known, registry)}")
    if not chosen:
        return
    if not yes and not _asked("Remove?", "add --yes to remove without being asked"):
        raise typer.Exit(1)
    for each in chosen.values():
        remove_kept(each)


def _kept_of(models: list[str], registry: Registry) -> dict[str, KeptModel]:
    """Those of one name that are in the store; raises ConfigError if a single one is not."""
    from spec_local.errors import ConfigError
    from spec_local.models.kept import find_kept

    found = {}
    for model in models:
        spec = registry.models.get(model)
        if spec is not None and spec.path is not None:
            say(f"{model} stays: {spec.path} is a file of your own")
            continue
        try:
            kept = find_kept(model, registry)
        except ConfigError:
            if len(models) == 1:
                raise
            say(f"{model} has not been pulled")
            continue
        found[kept.name] = kept
    return found


def _still_drafts_for(
    model: str, chosen: Collection[str], known: Collection[str], registry: Registry
) -> str:
    """The pulled targets that stay and lose their draft model with this one, as a clause."""
    pairs = (pair for pair in registry.pairs.values() if model in pair.drafts)
    left = [pair.target for pair in pairs if pair.target in known and pair.target not in chosen]
    return f", the draft of {', '.join(left)} as well" if left else ""


def _is_right(name: str, registry: Registry, yes: bool) -> bool:
    """Say whether a model is what it should be, and have it pulled again if it is not."""
    from spec_local.models.download import pulled
    from spec_local.models.kept import can_be_pulled, judge, place_of

    with on_terminal() as show:
        judgement = judge(name, registry, lambda share: show(f"verify {name}", share))
    say(f"{name}: {judgement.words}")
    if judgement.right is not False:
        return True
    place = place_of(name, registry)
    if not can_be_pulled(name, registry):
        say(f"{name} is {place}; replace that file, or remove it.", err=True)
        return False
    if not yes and not _asked(f"Pull {name} again?", "add --yes to pull it again"):
        return False
    with _aside(place), on_terminal() as show:
        pulled(name, registry, show)
    say(f"{name}: pulled again")
    return True


@contextmanager
def _aside(place: Path | None) -> Iterator[None]:
    """Another file may come here; if none does, the one that is here stays: its hash may be old."""
    if place is None:
        yield
        return
    aside = place.replace(place.with_name(f"{place.name}.wrong"))
    try:
        yield
    finally:
        if not place.exists() and aside.exists():
            aside.replace(place)
        aside.unlink(missing_ok=True)


def _asked(question: str, otherwise: str) -> bool:
    """What somebody at a terminal answers; else no, and what to do otherwise is said."""
    if sys.stdin.isatty():
        return typer.confirm(question, err=True)
    say(f"Nobody can be asked here; {otherwise}.", err=True)
    return False
