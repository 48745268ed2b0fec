"""The Typer application: global options and the list of commands."""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from spec_local.cli import (
    bench,
    chat,
    doctor,
    draft,
    generate,
    kept_models,
    models,
    race,
    remembered,
    rpc_server,
    serve,
    tune,
    verify,
)
from spec_local.cli.brief_help import ALL, BriefHelp, narrow


@dataclass(slots=True)
class State:
    """Options of the program itself."""

    debug: bool = False


state = State()

_SHORT = {"--exact": "--exact=certified", "-cmoe": "--cpu-moe=all", ALL: "--help"}
"""What may be said shorter than Typer reads it."""
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
    "-devd": "--draft-device",
    "-ngld": "--draft-gpu-layers",
    "-td": "--draft-threads",
    "-ctkd": "--draft-kv-type",
    "-ctvd": "--draft-kv-type",
    "-ts": "--tensor-split",
    "-ncmoe": "--cpu-moe",
    "--model": "--target",
    "--model-draft": "--draft",
    "--n-gpu-layers": "--gpu-layers",
    "--n-gpu-layers-draft": "--draft-gpu-layers",
    "--gpu-layers-draft": "--draft-gpu-layers",
    "--device-draft": "--draft-device",
    "--threads-draft": "--draft-threads",
    "--n-cpu-moe": "--cpu-moe",
    "--flash-attn": "--flash-attention",
    "--cache-type-k": "--kv-type",
    "--cache-type-v": "--kv-type",
    "--predict": "--max-tokens",
    "--n-predict": "--max-tokens",
    "--temp": "--temperature",
    "--chat-template-file": "--chat-template",
}
"""Switches that people know from llama.cpp, and ours."""


class _Program(TyperGroup):
    """Lets `--exact` stand alone, which Typer's options with a value cannot.

    A mode follows after `=` only, so that a prompt is never taken for one. Switches of llama.cpp
    are taken for ours. `--help-all` is `--help`, with all of it.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = args[: args.index("--")] if "--" in args else args
        ours = [_OF_LLAMA_CPP.get(arg, arg) for arg in options]
        complete = [_SHORT.get(arg, arg) for arg in ours]
        ctx.meta[ALL] = ALL in options
        return super().parse_args(ctx, complete + args[len(options) :])

    def format_help(self, ctx: Any, formatter: Any) -> None:
        shown = copy(self)
        narrow(shown, formatter)
        TyperGroup.format_help(shown, ctx, formatter)


app = typer.Typer(
    name="spec-local",
    cls=_Program,
    help="Run GGUF models on your own machine, faster and without changing a word they write.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(name: str, command: Callable[..., None], *examples: str) -> None:
    shown = [f"spec-local {name} {example}".rstrip() for example in examples]
    app.command(name, cls=BriefHelp, epilog="\n".join(shown) or None)(command)


_add("race", race.race, "", "qwen2.5-coder-1.5b --all", "-m model.gguf 'Explain recursion.'")
_add("chat", chat.chat, "", "qwen2.5-coder-1.5b", "bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M")
_add(
    "generate",
    generate.generate,
    "'Write a haiku about caches.'",
    "-m qwen2.5-coder-1.5b --file main.c 'What does this do?'",
    "'A cat as JSON.' --json-schema cat.schema.json",
)
_add("serve", serve.serve, "", "qwen2.5-coder-1.5b --parallel 2", "--host 0.0.0.0 --api-key KEY")
_add("tune", tune.tune, "qwen2.5-coder-1.5b", "--show qwen2.5-coder-1.5b")
_add("verify", verify.verify, "qwen2.5-coder-1.5b", "--exact qwen2.5-coder-1.5b")
_add("doctor", doctor.doctor, "", "--json")
_add("rpc-server", rpc_server.rpc_server, "", "--host 192.168.1.20")
app.command("remembered")(remembered.remembered)
models.app.command("verify")(kept_models.verify)
models.app.command("remove")(kept_models.remove)
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
    elif logging.lastResort is not None:  # the library is silent; a person shall know
        # Of lost files, other sources, smaller contexts, layers that GPUs have no room for.
        of_these = ("drafters", "models", "machine", "llama.model", "llama.placing")
        for name in (f"spec_local.{room}" for room in of_these):
            logging.getLogger(name).addHandler(logging.lastResort)
