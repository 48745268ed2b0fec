"""`spec-local chat`: a conversation in the terminal, or line by line through a pipe."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.flat import flat
from spec_local.cli.interrupt import interrupt_cancels
from spec_local.cli.options import MachineOptions, ModelOptions, load_runner
from spec_local.cli.output import write
from spec_local.cli.sampling_options import SamplingOptions
from spec_local.cli.summary import summary
from spec_local.errors import ContextOverflow

if TYPE_CHECKING:
    from spec_local.chat import Chat
    from spec_local.generation import Generation
    from spec_local.llama.model import Model

_COMMANDS = {
    "/help": "this list",
    "/reset": "forget the conversation",
    "/stats": "figures of the last answer",
    "/exit": "leave (or Ctrl-D)",
}


@flat
def chat(
    *,
    system: Annotated[str | None, typer.Option("--system", "-s", help="System message.")] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            "-n",
            min=1,
            help="Longest answer, in tokens.",
            show_default="until the model ends or the context is full",
        ),
    ] = None,
    models: ModelOptions,
    sampling: SamplingOptions,
    machine: MachineOptions,
) -> None:
    """Talk with a model. Ctrl-C stops the answer; /exit leaves."""
    interactive = sys.stdin.isatty()
    if interactive:
        with suppress(ImportError):  # not on Windows, whose console edits lines by itself
            import readline  # noqa: F401  gives input() its line editing and history
    with load_runner(models, sampling, machine) as runner:
        conversation = runner.chat(system, max_tokens=max_tokens)
        _greet(runner.target.model, runner.speculator.name, runner.template.is_plain)
        while (line := _read_line(interactive)) is not None:
            if line.startswith("/"):
                if not _obey(line, conversation):
                    return
            elif line:
                try:
                    _answer(conversation, line)
                except KeyboardInterrupt:  # just before or after the time it cancels the answer
                    print()


def _greet(target: Model, drafter: str, plain: bool) -> None:
    print(
        f"{target.path.stem} ({target.description}), drafter {drafter}. {_list_commands()}",
        file=sys.stderr,
    )
    if plain:
        print(
            "note: this model has no chat template; messages are written as plain lines.",
            file=sys.stderr,
        )


def _list_commands() -> str:
    return "Commands: " + ", ".join(f"{name} ({what})" for name, what in _COMMANDS.items())


def _read_line(interactive: bool) -> str | None:
    """The next thing the user says; None at the end of the input."""
    try:
        return input("> " if interactive else "").strip()
    except EOFError:
        if interactive:
            print()
        return None
    except KeyboardInterrupt:
        if not interactive:
            raise
        print()  # at the prompt, forget the line, as a shell does
        return ""


def _obey(line: str, conversation: Chat) -> bool:
    """Carry out a command; False to leave."""
    command = line.split()[0]
    if command == "/exit":
        return False
    if command == "/reset":
        conversation.reset()
        print("The conversation is forgotten.", file=sys.stderr)
    elif command == "/stats":
        print(_stats(conversation.generation), file=sys.stderr)
    elif command == "/help":
        print(_list_commands(), file=sys.stderr)
    else:
        print(f"There is no command {command}. {_list_commands()}", file=sys.stderr)
    return True


def _stats(generation: Generation | None) -> str:
    if generation is None:
        return "Nothing has been said yet."
    return summary(generation.stats, generation.finish_reason)


def _answer(conversation: Chat, line: str) -> None:
    try:
        chunks = conversation.send(line)
    except ContextOverflow as error:
        print(f"{error} Or start anew with /reset.", file=sys.stderr)
        return
    assert conversation.generation is not None
    with interrupt_cancels(conversation.generation):
        for chunk in chunks:
            write(chunk.text)
    print()
    if conversation.generation.finish_reason in ("length", "context"):
        print(_stats(conversation.generation), file=sys.stderr)
