"""`spec-local models`: what is known, what is here, getting it, and whether a pair fits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.progress import on_terminal

if TYPE_CHECKING:
    from rich.table import Table

    from spec_local.llama.vocab import Vocabulary

app = typer.Typer(help="List, pull and check models.", no_args_is_help=True)

Names = Annotated[
    list[str],
    typer.Argument(help="Models or pairs of models.toml, or OWNER/REPO.", show_default=False),
]
NameOrFile = Annotated[str, typer.Argument(help="A model's name or a .gguf file.")]


@app.command("list")
def list_models() -> None:
    """Show the models and pairs that have a name here."""
    from rich.console import Console

    from spec_local.errors import ModelFileError
    from spec_local.models.download import resolve
    from spec_local.models.registry import load_registry, user_file

    registry = load_registry()
    models = _table("model", "here", "size", "source")
    for name, spec in registry.models.items():
        try:
            here = resolve(name, registry) is not None
        except ModelFileError:
            here = False
        size = "" if spec.bytes is None else f"{spec.bytes / 1e9:.2f} GB"
        models.add_row(name, "yes" if here else "no", size, spec.source)
    pairs = _table("pair", "target", "draft", "drafter")
    for name, pair in registry.pairs.items():
        pairs.add_row(name, pair.target, pair.draft or "-", pair.drafter)
    console = Console()
    console.print(models, "", pairs, "")
    console.print(f"Your own entries go into {user_file()}", soft_wrap=True)


@app.command()
def scan(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Other folders to look into.", show_default=False)
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Find models of LM Studio, Ollama, llama.cpp and the Hugging Face cache; `-m NAME` takes them.

    Nothing is changed there.
    """
    from spec_local.models.scan import scanned

    found = scanned(folders or ())
    if as_json:
        print(json.dumps([each.as_dict() for each in found], ensure_ascii=False, indent=2))
        return
    if not found:
        print("No models were found; name a folder, or give -m a .gguf file.", file=sys.stderr)
        return
    shown = _table("name", "store", "size", "architecture", "context", "template", "vocabulary")
    for each in found:
        shown.add_row(each.name, each.store, *each.row())
    _print(shown)


@app.command()
def pair(target: NameOrFile) -> None:
    """List the models here that could draft for a target, the smallest first.

    `spec-local bench drafts` measures which of them is worth most.
    """
    from spec_local.models.download import resolve
    from spec_local.models.pairing import drafts_for, model_bytes
    from spec_local.models.registry import load_registry

    registry = load_registry()
    here = resolve(target, registry)
    if here is None:
        print(f"{target} is not here yet; get it with: spec-local models pull {target}")
        raise typer.Exit(1)
    shown = _table("draft", "from", "size", "share of the target")
    size = model_bytes(here)
    for each in drafts_for(here, registry):
        own = model_bytes(each.path)
        shown.add_row(each.name, each.store, f"{own / 1e9:.2f} GB", f"{own / size:.0%}")
    if not shown.row_count:
        print(f"No model here can draft for {here.name}; lookup drafts without one.")
        return
    _print(shown)


def _print(*what: Table | str) -> None:
    from rich.console import Console

    Console().print(*what)


def _table(name: str, *rest: str) -> Table:
    """A table whose names stay whole, to be copied, however narrow the terminal."""
    from rich.table import Column, Table

    columns = [Column(name, no_wrap=True), *(Column(head, overflow="fold") for head in rest)]
    return Table(*columns, box=None, pad_edge=False)


@app.command()
def pull(names: Names) -> None:
    """Fetch models, or both models of a pair, and check the hashes."""
    from spec_local.models.download import pulled
    from spec_local.models.registry import load_registry

    registry = load_registry()
    wanted = [model for name in names for model in _models_of(name)]  # a wrong name stops all
    for model in dict.fromkeys(wanted):
        with on_terminal() as show:
            path = pulled(model, registry, show)
        print(path)


@app.command()
def path(name: NameOrFile) -> None:
    """Print where a model's file is; exit code 1 if it has not been pulled."""
    from spec_local.errors import ModelFileError
    from spec_local.models.download import resolve
    from spec_local.models.registry import load_registry

    found = resolve(name, load_registry())
    if found is None:
        raise ModelFileError(f"{name} is not here yet; get it with: spec-local models pull {name}")
    print(found)


@app.command()
def check(target: NameOrFile, draft: NameOrFile) -> None:
    """Compare two models' vocabularies; exit code 1 if the draft cannot serve the target."""
    from spec_local.llama.model import Model
    from spec_local.models.download import pulled
    from spec_local.models.registry import load_registry

    registry = load_registry()
    with on_terminal() as show:
        files = [pulled(name, registry, show) for name in (target, draft)]
    with Model(files[0], vocab_only=True) as mine, Model(files[1], vocab_only=True) as theirs:
        for role, model in (("target", mine), ("draft", theirs)):
            print(f"{role:7}{model.path.name}: {_describe(model.vocab)}")
        differences = list(mine.vocab.differences(theirs.vocab, theirs.token_map))
    for difference in differences:
        print(f"differs: {difference}")
    if differences:
        print("The draft cannot be used with this target.", file=sys.stderr)
        raise typer.Exit(1)
    print("The vocabularies agree; the draft can be used with this target.")


def _describe(vocab: Vocabulary) -> str:
    specials = ", ".join(
        f"{name.upper()} {token} {vocab.text(token).decode(errors='replace')}"
        for name, token in vocab.special_ids.items()
        if name != "nl"
    )
    return f"{vocab.kind}, {vocab.n_tokens:,} tokens, {specials}"


def _models_of(name: str) -> list[str]:
    """The model itself, or target and draft of a pair; a name can be both."""
    from spec_local.models.hub import hub_name
    from spec_local.models.registry import load_registry

    registry = load_registry()
    if name in registry.pairs:
        pair = registry.pairs[name]
        return [model for model in (pair.target, pair.draft) if model is not None]
    if hub_name(name) is None:
        registry.model(name)
    return [name]
