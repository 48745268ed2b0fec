"""`spec-local draft`: making draft models that cost less."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.brief_help import BriefHelp
from spec_local.cli.draft_layers import layers
from spec_local.cli.output import say
from spec_local.cli.progress import on_terminal
from spec_local.util.files import read_text

if TYPE_CHECKING:
    from spec_local.models.trim import Trimmed

app = typer.Typer(help="Make draft models that cost less.", no_args_is_help=True)


@app.command(cls=BriefHelp)
def trim(
    source: Annotated[str, typer.Argument(help="A model's name or a .gguf file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    vocab: Annotated[int, typer.Option("--vocab", help="How many tokens to keep.")] = 48000,
    corpus: Annotated[
        list[Path] | None,
        typer.Option(
            "--corpus",
            help="Text whose most frequent tokens are kept; may be repeated.",
            show_default="what is installed: code, English, Markdown",
        ),
    ] = None,
    corpus_from: Annotated[
        str | None,
        typer.Option(
            "--corpus-from",
            help="Target that writes the corpus instead: a name or a .gguf file.",
        ),
    ] = None,
    corpus_tokens: Annotated[
        int, typer.Option("--corpus-tokens", help="How many tokens that target writes.", min=1)
    ] = 4000,
    file_type: Annotated[
        str | None,
        typer.Option(
            "--type", help="Quantize to F16, Q8_0, Q4_K_M or Q4_0.", show_default="as it is"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a draft model with fewer tokens: faster, for the same targets as before.

    Choose a corpus like what will be written: for other languages than English, in particular. With
    --corpus-from the target writes it: it answers prompts of its own, which takes minutes once.
    """
    from spec_local.models.download import pulled
    from spec_local.models.registry import load_registry
    from spec_local.models.target_corpus import target_counts
    from spec_local.models.trim import trim as write_trimmed

    registry = load_registry()
    texts = [read_text(path) for path in corpus] if corpus else None
    with on_terminal(time_left=corpus_from is not None) as show:
        path = pulled(source, registry, show)
        target = None if corpus_from is None else pulled(corpus_from, registry, show)
        result = write_trimmed(
            path,
            out,
            vocab,
            corpus=texts,
            expected=None if target is None else partial(target_counts, target, corpus_tokens),
            file_type=file_type,
            force=force,
            progress=show,
        )
    say(_summary(out, result))


app.command(cls=BriefHelp)(layers)


def _summary(out: Path, result: Trimmed) -> str:
    return (
        f"{out}: {result.source_bytes / 1e6:,.1f} MB before, {result.bytes / 1e6:,.1f} MB now\n"
        f"{result.tokens:,} of {result.source_tokens:,} tokens are kept; "
        f"{result.coverage:.2%} of the corpus is written with them"
    )
