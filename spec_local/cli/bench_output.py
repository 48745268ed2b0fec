"""Where the result of a benchmark goes: the terminal, and the files that were asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from spec_local.errors import ConfigError, require

if TYPE_CHECKING:
    from rich.console import Console

    from spec_local.bench.result import Result

_WIDTH = 100
"""Of a report that goes into a file or a pipe."""


def check_outputs(*paths: Path | None) -> None:
    """Raise ConfigError for a file that could not be written, before minutes are spent."""
    for path in filter(None, paths):
        there = path if path.is_dir() else path.parent
        require(there.is_dir(), f"There is no directory {there}; make it first.")
        require(os.access(there, os.W_OK), f"{there} cannot be written into; choose another place.")


def stdout() -> Console:
    """A console on stdout."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def write(result: Result, json: Path | None, markdown: Path | None, plots: Path | None) -> None:
    """Show a result, and write it in every form that has a path."""
    from spec_local.bench.plots import draw
    from spec_local.bench.report import print_report

    if json is not None:  # first of all: what was measured is not lost by what follows
        result.save(json)
    print_report(result, stdout())
    drawn = [] if plots is None else draw(result, plots)
    if markdown is not None:
        _write_markdown(result, markdown, drawn)
    for path in filter(None, (json, markdown, plots)):
        typer.echo(f"written: {path}", err=True)


def _write_markdown(result: Result, path: Path, plots: list[Path]) -> None:
    from spec_local.bench.markdown import markdown

    links = [os.path.relpath(plot, path.parent) for plot in plots]
    try:
        path.write_text(markdown(result, links), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
