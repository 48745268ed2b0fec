"""`spec-local remembered`: which answers `--remember` has kept, and forgetting them."""

from __future__ import annotations

from typing import Annotated

import typer

from spec_local.cli.output import say
from spec_local.errors import ConfigError


def remembered(
    model: Annotated[
        str | None,
        typer.Argument(help="Only answers of this model file.", show_default="all models"),
    ] = None,
    *,
    forget: Annotated[bool, typer.Option("--forget", help="Delete them.")] = False,
) -> None:
    """Show the answers kept by --remember, or forget them."""
    from spec_local.drafters.past_answers import all_kept, directory

    found = [kept for kept in all_kept() if model in (None, kept.model)]
    if model is not None and not found:
        raise ConfigError(f"No answers of {model} are kept; see: spec-local remembered")
    for kept in found:
        answers = kept.read()
        if forget:
            kept.path.unlink(missing_ok=True)
        say(
            f"{kept.model}: {len(answers):,} answers, {sum(map(len, answers)):,} tokens"
            + (", forgotten" if forget else "")
        )
    if not found:
        say(f"Nothing is kept in {directory()}")
