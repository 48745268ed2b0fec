"""docs/cli.md: every command and option, taken from the commands themselves.

python scripts/cli_reference.py > docs/cli.md
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from spec_local.cli.app import app
from spec_local.cli.brief_help import filled

_INTRODUCTION = """\
# The command line

Made by `python scripts/cli_reference.py > docs/cli.md` from what `--help` says; a test compares it.
`-h` and `--help` explain every command, `spec-local --debug` shows tracebacks and llama.cpp's log.
Exit codes: 0; 1 after an error, a difference that was not to be, or what `doctor` found to mend; 2
for options that cannot be read; 130 after Ctrl-C."""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command as it is typed, with its click command; the program itself is not one."""

    def below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        subcommands = getattr(command, "commands", None)
        if subcommands is None:
            yield words, command
            return
        for name, each in subcommands.items():
            # `bench` alone is its hidden command `run`.
            yield from below(words if each.hidden else f"{words} {name}", each)

    yield from below("spec-local", get_command(app))


def reference() -> str:
    """The whole page."""
    found = list(commands())
    listed = "\n".join(
        f"| [`{words}`](#{_anchor(words)}) | {_first_sentence(command.help)} |"
        for words, command in found
    )
    blocks = [_INTRODUCTION, f"| command | does |\n|---|---|\n{listed}"]
    for words, command in found:
        blocks += _section(words, command)
    return "\n\n".join(blocks) + "\n"


def _section(words: str, command: Any) -> Iterator[str]:
    """Heading, usage, explanation, and a table for each panel of options."""
    yield f"## {words}"
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([words, *map(_usage, arguments), "[OPTIONS]"])
    yield f"```\n{usage}\n```"
    yield filled(command.help)
    if arguments:
        rows = [f"| `{each.metavar or each.name.upper()}` | {_text(each)} |" for each in arguments]
        yield "\n".join(["| argument | |", "|---|---|", *rows])
    panels: dict[str, list[str]] = {}
    for option in command.params:
        if option.param_type_name == "option" and not option.hidden:
            panel = getattr(option, "rich_help_panel", None) or "Options"
            panels.setdefault(panel, []).append(f"| {_flags(option)} | {_text(option)} |")
    for panel, rows in panels.items():
        yield "\n".join([f"| {panel} | |", "|---|---|", *rows])


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = name.strip("[]")
    repeated = "…" if argument.nargs == -1 else ""
    return f"{name}{repeated}" if argument.required else f"[{name}{repeated}]"


def _flags(option: Any) -> str:
    kind = ""
    if not option.is_flag:
        metavar = option.metavar or option.name.upper()
        kind = metavar if metavar.startswith("[") else f" {metavar}"
    on, off = ", ".join(option.opts), ", ".join(option.secondary_opts)
    return f"`{on}{kind}`" + (f", `{off}`" if off else "")


def _text(parameter: Any) -> str:
    """The help, and the default in brackets where it says something."""
    text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
    shown = getattr(parameter, "show_default", False)
    if isinstance(shown, str):
        return f"{text} [{shown}]"
    if shown and parameter.default not in (None, False, True, (), []) and not parameter.required:
        return f"{text} [{parameter.default}]"
    return text


def _first_sentence(help_text: str) -> str:
    return " ".join(help_text.split("\n\n")[0].split())


def _anchor(words: str) -> str:
    return words.replace(" ", "-")


if __name__ == "__main__":
    print(reference(), end="")
