"""`spec-local models`: what is known, what is here, getting it, and whether a pair fits."""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.output import say
from spec_local.cli.progress import on_terminal
from spec_local.cli.tables import gigabytes, named_table, print_table

if TYPE_CHECKING:
    from spec_local.llama.vocab import Vocabulary
    from spec_local.models.registry import Registry

app = typer.Typer(help="List, pull and check models.", no_args_is_help=True)

Names = Annotated[
    list[str],
    typer.Argument(help="Models or pairs of models.toml, or OWNER/REPO.", show_default=False),
]
NameOrFile = Annotated[str, typer.Argument(help="A model's name or a .gguf file.")]


@app.command("list")
def list_models() -> None:
    """Show the models and pairs that have a name here, and what they take on the disk."""
    from spec_local.models.download import bytes_below, origin_of, store
    from spec_local.models.kept import kept_models
    from spec_local.models.registry import load_registry, user_file

    registry, kept = load_registry(), kept_models()
    models = named_table("model", "here", "size", "source")
    for name, spec in registry.models.items():
        size = _size_here(name, registry)
        shown = size or spec.bytes
        models.add_row(
            name, "yes" if size else "no", gigabytes(shown) if shown else "", spec.source
        )
    for each in kept:
        if each.name not in registry.models and each.path is not None:
            origin = origin_of(each.name)
            source = f"Hugging Face {origin.hf.repo}" if origin else "pulled by its own name"
            models.add_row(each.name, "yes", gigabytes(each.bytes), source)
    pairs = named_table("pair", "target", "draft", "drafter")
    for name, pair in registry.pairs.items():
        pairs.add_row(name, pair.target, ", ".join(pair.drafts) or "-", pair.drafter)
    print_table(models)
    print()
    print_table(pairs)
    print()
    unfinished = sum(each.unfinished for each in kept)
    rest = f", {gigabytes(unfinished)} of it of pulls that were broken off" if unfinished else ""
    say(f"{gigabytes(bytes_below(store()))} are in {store()}{rest}")
    if (own := user_file()) is not None:
        say(f"Your own entries go into {own}")


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
        say("No models were found; name a folder, or give -m a .gguf file.", err=True)
        return
    shown = named_table(
        "name", "store", "size", "architecture", "context", "template", "vocabulary"
    )
    for each in found:
        shown.add_row(each.name, each.store, *each.row())
    print_table(shown)


@app.command()
def pair(
    target: NameOrFile,
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Other folders to look into.", show_default=False)
    ] = None,
) -> None:
    """List models that could draft for a target, the best first, and what each would earn here.

    Predicted is the speed over plain decoding: from what the pair has shown on this machine, else
    from the sizes. `spec-local bench drafts` measures which is worth most.
    """
    from spec_local.models.download import resolve
    from spec_local.models.registry import load_registry
    from spec_local.partners import partners

    registry = load_registry()
    name = registry.pairs[target].target if target in registry.pairs else target
    found = partners(name, registry, folders or ())
    if resolve(name, registry) is None:
        say(f"{name} is not here yet; get it with: spec-local models pull {name}")
        if not found:
            raise typer.Exit(1)
    if not found:
        say(f"No model here can draft for {name}; lookup drafts without one.")
        _print_experts(name, None)
        return
    shown = named_table("draft", "from", "size", "of the target", "predicted")
    for each in found:
        shown.add_row(
            each.name,
            each.store or "to pull",
            gigabytes(each.bytes) if each.bytes else "-",
            "-" if each.share is None else f"{each.share:.0%}",
            str(each.prediction or "-"),
        )
    print_table(shown)
    _print_experts(name, next((each.path for each in found if each.path), None))


def _print_experts(target: str, draft: Path | None) -> None:
    """What the experts of a target do to drafts, if it is here and has any."""
    from spec_local.llama.options import LoadOptions
    from spec_local.machine.experts import experts_advice
    from spec_local.machine.profile import ProfileStore
    from spec_local.models.download import resolve
    from spec_local.models.registry import load_registry

    path = resolve(target, load_registry())
    if path is None:
        return
    if said := experts_advice(path, draft, LoadOptions(), ProfileStore.of_user()):
        print()
        say(said)


def _size_here(name: str, registry: Registry) -> int:
    """Bytes of a model's files, wherever they are; 0 if they are not here."""
    from spec_local.errors import ModelFileError
    from spec_local.gguf.header import model_bytes
    from spec_local.models.download import resolve

    try:
        path = resolve(name, registry)
    except ModelFileError:
        return 0
    return 0 if path is None else model_bytes(path)


@app.command()
def pull(names: Names) -> None:
    """Fetch models, or all models of a pair, and check the hashes.

    A pull that was broken off goes on where it ended.
    """
    from spec_local.models.download import pulled
    from spec_local.models.kept import kept_models
    from spec_local.models.registry import load_registry

    registry, kept = load_registry(), [each.name for each in kept_models()]
    wanted = [model for name in names for model in models_of(name, registry, kept)]
    for model in dict.fromkeys(wanted):
        with on_terminal() as show:
            path = pulled(model, registry, show)
        print(path)


@app.command()
def path(name: NameOrFile) -> None:
    """Print where a model's file is, or all of a pair; exit code 1 if one has not been pulled."""
    from spec_local.errors import ModelFileError
    from spec_local.models.download import resolve
    from spec_local.models.registry import load_registry

    registry = load_registry()
    is_pair = name in registry.pairs and name not in registry.models
    for model in registry.pairs[name].models if is_pair else [name]:
        if (found := resolve(model, registry)) is None:
            raise ModelFileError(
                f"{model} is not here yet; get it with: spec-local models pull {model}"
            )
        print(found)


@app.command()
def check(target: NameOrFile, draft: NameOrFile) -> None:
    """Compare two models' vocabularies; exit code 1 if the draft cannot serve the target."""
    from spec_local.llama.model import Model
    from spec_local.models.download import pulled
    from spec_local.models.other_vocabulary import facts, shared_vocabulary
    from spec_local.models.registry import load_registry

    registry, shared = load_registry(), None
    with ExitStack() as opened:
        with on_terminal() as show:
            files = [pulled(name, registry, show) for name in (target, draft)]
            mine, theirs = (
                opened.enter_context(Model(file, progress=show, vocab_only=True)) for file in files
            )
        for role, model in (("target", mine), ("draft", theirs)):
            say(f"{role:7}{model.path.name}: {_describe(model.vocab)}")
        differences = list(mine.vocab.differences(theirs.vocab, theirs.token_map))
        if differences and theirs.token_map is None:
            shared = shared_vocabulary(mine.vocab, theirs.vocab)
    for difference in differences:
        say(f"differs: {difference}")
    if not differences:
        say("The vocabularies agree; the draft can be used with this target.")
        return
    if shared is None:
        say("The draft cannot be used with this target.", err=True)
        raise typer.Exit(1)
    for fact in facts(shared):
        say(fact)
    say("The draft can be used if it is named; one of the same model family drafts better.")


def _describe(vocab: Vocabulary) -> str:
    specials = ", ".join(
        f"{name.upper()} {token} {vocab.text(token).decode(errors='replace')}"
        for name, token in vocab.special_ids.items()
        if name != "nl"
    )
    return f"{vocab.kind}, {vocab.n_tokens:,} tokens, {specials}"


def models_of(name: str, registry: Registry, others: Collection[str] = ()) -> list[str]:
    """The model itself, or target and drafts of a pair; a name can be both.

    others: names that are known as well, such as those of the store.
    Raises ConfigError with the nearest names for one that nobody knows.
    """
    from spec_local.models.hub import hub_name

    if name in registry.pairs:
        return registry.pairs[name].models
    if name not in {*registry.models, *others} and hub_name(name) is None:
        raise registry.unknown(name, "model or pair", {**registry.models, **registry.pairs})
    return [name]
