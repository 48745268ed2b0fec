"""Options of how messages are written for the model: its chat template, another, and variables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spec_local.cli.output import say
from spec_local.errors import require
from spec_local.util.files import read_text

if TYPE_CHECKING:
    from spec_local.runner import Runner


NO_SWITCH = "This model's chat template has no switch for thinking."
SYSTEM_FOLDED = (
    "This model's chat template takes no system message; it goes before the first message."
)


def _option(*flags: str, help: str, default: str | bool = False, **more: Any) -> Any:
    panel = "Chat template"
    return typer.Option(*flags, help=help, show_default=default, rich_help_panel=panel, **more)


@dataclass(frozen=True, slots=True)
class TemplateOptions:
    """How messages are written for the model."""

    chat_template: Annotated[
        Path | None,
        _option("--chat-template", metavar="FILE", help="A Jinja template instead of the model's."),
    ] = None
    template_var: Annotated[
        list[str] | None,
        _option(
            "--template-var",
            metavar="KEY=VALUE",
            help="What the template reads, as JSON or else as text; repeatable.",
        ),
    ] = None
    think: Annotated[
        bool | None,
        _option(
            "--think/--no-think",
            help="Let the model think before it answers, if its template has that switch.",
            default="as the template has it",
        ),
    ] = None

    def prepared(self) -> Callable[[Runner], None]:
        """What sets a runner's template so; raises ConfigError for what cannot be read.

        What the template does not know is said on stderr.
        """
        from spec_local.llama.template_variables import check_variables

        source = None if self.chat_template is None else read_text(self.chat_template)
        variables = dict(map(_variable, self.template_var or ()))
        check_variables(variables)

        def set_template(runner: Runner) -> None:
            from spec_local.llama.template import ChatTemplate

            template = ChatTemplate(runner.target.model, source, variables)
            runner.template = template
            for name in sorted(variables.keys() - template.reads):
                say(f"note: the model's chat template does not read {name}.", err=True)
            if self.think is not None and not template.think(self.think):
                say(f"note: {NO_SWITCH}", err=True)

        return set_template if self != TemplateOptions() else lambda _runner: None


def _variable(given: str) -> tuple[str, object]:
    name, equals, value = given.partition("=")
    require(bool(name and equals), f"--template-var {given} must be like enable_thinking=false.")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, value
