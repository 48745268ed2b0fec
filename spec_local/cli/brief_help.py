"""A command's help on one screen: what most people need, and with `--help-all` the rest."""

from __future__ import annotations

from copy import copy
from functools import partial
from shutil import get_terminal_size
from typing import Any

from typer.core import TyperCommand

ALL = "--help-all"
"""Asks for the whole help; `spec_local/cli/app.py` reads it as `--help` and remembers it."""

_PANEL = "rich_help_panel"
_NARROW = 80
"""Columns below which a table would cut the names of options short, and a plain list does not."""
_INDENT = 4
"""Of what stands below a name there, so far that it is never beside it."""


def filled(text: str) -> str:
    """Paragraphs of one line each, however they are wrapped in the source."""
    return "\n\n".join(" ".join(each.split()) for each in text.split("\n\n"))


def narrow(shown: Any, formatter: Any) -> None:
    """On a narrow terminal: have a copy of a command show its help as a list, not as a table."""
    columns = get_terminal_size().columns
    if columns < _NARROW:
        shown.rich_markup_mode, formatter.width = None, columns
        formatter.write_dl = partial(formatter.write_dl, col_max=_INDENT)
        lines = (shown.epilog or "").splitlines()
        shown.epilog = "\n\n".join(filter(None, lines)) or None  # else they would be joined


class BriefHelp(TyperCommand):
    """`--help` shows the arguments and the options that are in no panel.

    Paragraphs are filled to the terminal's width, whatever it is in the source. Where that is
    narrow, what an option means stands below its name.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help; `ctx.meta` says if all of it is wanted."""
        shown = copy(self)
        shown.help = filled(self.help or "")
        if not ctx.meta.get(ALL):
            self._shorten(shown, ctx)
        narrow(shown, formatter)
        TyperCommand.format_help(shown, ctx, formatter)

    def _shorten(self, brief: TyperCommand, ctx: Any) -> None:
        brief.params = [each for each in self.params if getattr(each, _PANEL, None) is None]
        left_out = len(self.params) - len(brief.params)
        if left_out:
            typed = ctx.parent if self.hidden else ctx  # `bench` alone is its hidden command `run`
            more = f"{left_out} more options: {typed.command_path} {ALL}"
            brief.epilog = more if self.epilog is None else f"{self.epilog}\n\n{more}"
