"""What a model is called on the command line: one argument, and how the shell completes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from spec_local.errors import SpecLocalError

MEANS = "A pair, a model, a .gguf file, or OWNER/REPO[:QUANT]"


def known_names(incomplete: str) -> list[str]:
    """Names and files that begin so, for the shell; no error may show there."""
    try:
        return sorted(set(_names(incomplete)))
    except (SpecLocalError, OSError):
        return []


def _names(incomplete: str) -> Iterator[str]:
    from spec_local.models.kept import kept_models
    from spec_local.models.registry import load_registry
    from spec_local.models.stores import stored_files

    registry = load_registry()
    files = [*(kept.name for kept in kept_models()), *(stored.name for stored in stored_files())]
    named = [*registry.pairs, *registry.models, *files]
    yield from (name for name in named if name.startswith(incomplete))
    written = Path(incomplete)
    folder, start = (written, "") if incomplete.endswith("/") else (written.parent, written.name)
    for path in folder.glob(f"{start}*"):
        if path.is_dir():
            yield f"{path}/"
        elif path.suffix == ".gguf":
            yield str(path)


NameArgument = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help=f"{MEANS}.", autocompletion=known_names),
]
