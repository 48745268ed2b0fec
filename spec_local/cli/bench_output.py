"""Where the result of a benchmark goes: the terminal, and the files that were asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from spec_local.cli.bench_options import OutputOptions
from spec_local.cli.output import say
from spec_local.errors import require
from spec_local.util.files import write_text

if TYPE_CHECKING:
    from rich.console import Console

    from spec_local.bench.record.result import Result

_WIDTH = 100
"""Columns of a report that goes into a file or a pipe."""


def check_outputs(output: OutputOptions) -> None:
    """Raise ConfigError for what could not be written, before minutes are spent on measuring."""
    for file in filter(None, (output.json, output.markdown)):
        check_file(file)
    if output.plots is not None:
        from spec_local.bench.report.plots import require_matplotlib

        require_matplotlib()
        made = output.plots.exists()
        require(output.plots.is_dir() or not made, f"{output.plots} is a file; name a directory.")
        _check_writable(output.plots if made else output.plots.parent)


def check_file(path: Path) -> None:
    """Raise ConfigError if the file could not be written."""
    require(not path.is_dir(), f"{path} is a directory; name the file to write.")
    _check_writable(path if path.exists() else path.parent)


def _check_writable(path: Path) -> None:
    require(path.exists(), f"There is no directory {path}; make it first.")
    require(os.access(path, os.W_OK), f"{path} cannot be written; choose another place.")


def stdout() -> Console:
    """A console on stdout."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def write(result: Result, output: OutputOptions) -> None:
    """Show a result, and write it in every form that has a path."""
    from spec_local.bench.report.terminal import print_report

    try:
        if output.json is not None:
            result.save(output.json)
    finally:
        print_report(result, stdout())
    _write_report(result, output)
    for path in filter(None, (output.json, output.markdown, output.plots)):
        say(f"written: {path}", err=True)


def _write_report(result: Result, output: OutputOptions) -> None:
    from spec_local.bench.report.markdown import markdown
    from spec_local.bench.report.plots import draw

    drawn = [] if output.plots is None else draw(result, output.plots)
    if output.markdown is None:
        return
    links = [os.path.relpath(plot, output.markdown.parent) for plot in drawn]
    write_text(output.markdown, markdown(result, links))
