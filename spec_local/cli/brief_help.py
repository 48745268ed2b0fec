"""A command's help on one screen: what most people need, and with `--help-all` the rest."""

from __future__ import annotations

from copy import copy
from typing import Any

from typer.core import TyperCommand

ALL = "--help-all"
"""Asks for the whole help; `spec_local/cli/app.py` reads it as `--help` and remembers it."""

_PANEL = "rich_help_panel"


def filled(text: str) -> str:
    """Paragraphs of one line each, however they are wrapped in the source."""
    return "\n\n".join(" ".join(each.split()) for each in text.split("\n\n"))


class BriefHelp(TyperCommand):
    """`--help` shows the arguments and the options that are in no panel.

    Paragraphs are filled to the terminal's width, whatever it is in the source.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help; `ctx.meta` says if all of it is wanted."""
        shown = copy(self)
        shown.help = filled(self.help or "")
        if not ctx.meta.get(ALL):
            self._shorten(shown, ctx)
        TyperCommand.format_help(shown, ctx, formatter)

    def _shorten(self, brief: TyperCommand, ctx: Any) -> None:
        brief.params = [each for each in self.params if getattr(each, _PANEL, None) is None]
        typed = ctx.parent if self.hidden else ctx  # `bench` alone is its hidden command `run`
        more = f"{len(self.params) - len(brief.params)} more options: {typed.command_path} {ALL}"
        brief.epilog = more if self.epilog is None else f"{self.epilog}\n\n{more}"
