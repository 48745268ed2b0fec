"""The Typer application: global options and the list of commands."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from spec_local.cli import bench, chat, draft, generate, models, race, remembered, tune, verify


@dataclass(slots=True)
class State:
    """Options of the program itself."""

    debug: bool = False


state = State()

_EXACT = "--exact"
_OF_LLAMA_CPP = {
    "-hf": "--target",
    "-hfr": "--target",
    "-md": "--draft",
    "-hfd": "--draft",
    "-ngl": "--gpu-layers",
    "-fa": "--flash-attention",
    "-ctk": "--kv-type",
    "-ctv": "--kv-type",
    "-dev": "--device",
    "--model": "--target",
    "--model-draft": "--draft",
    "--n-gpu-layers": "--gpu-layers",
    "--flash-attn": "--flash-attention",
    "--cache-type-k": "--kv-type",
    "--cache-type-v": "--kv-type",
    "--predict": "--max-tokens",
    "--n-predict": "--max-tokens",
    "--temp": "--temperature",
}
"""Switches that people know from llama.cpp, and ours."""


class _Program(TyperGroup):
    """Lets `--exact` stand alone, which Typer's options with a value cannot.

    A mode follows after `=` only, so that a prompt is never taken for one. Switches of llama.cpp
    are taken for ours.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = args[: args.index("--")] if "--" in args else args
        ours = [_OF_LLAMA_CPP.get(arg, arg) for arg in options]
        complete = [f"{_EXACT}=certified" if arg == _EXACT else arg for arg in ours]
        return super().parse_args(ctx, complete + args[len(options) :])


app = typer.Typer(
    name="spec-local",
    cls=_Program,
    help="Run GGUF models on your own machine, faster and without changing a word they write.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("generate")(generate.generate)
app.command("chat")(chat.chat)
app.command("race")(race.race)
app.command("tune")(tune.tune)
app.command("verify")(verify.verify)
app.command("remembered")(remembered.remembered)
app.add_typer(bench.app, name="bench")
app.add_typer(models.app, name="models")
app.add_typer(draft.app, name="draft")


def _print_version(wanted: bool) -> None:
    if wanted:
        from spec_local import __version__

        typer.echo(f"spec-local {__version__}")
        raise typer.Exit


@app.callback()
def options(  # noqa: D103 - the help text is the application's own, above
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and llama.cpp's log.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    state.debug = debug
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
    elif logging.lastResort is not None:  # the library is silent; a person shall know of lost files
        logging.getLogger("spec_local.drafters").addHandler(logging.lastResort)
