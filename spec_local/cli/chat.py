"""`spec-local chat`: a conversation in the terminal, or line by line through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.flat import flat
from spec_local.cli.interrupt import interrupt_cancels
from spec_local.cli.options import MachineOptions, ModelOptions, load_runner
from spec_local.cli.output import write
from spec_local.cli.sampling_options import SamplingOptions
from spec_local.cli.summary import gain
from spec_local.cli.template_options import TemplateOptions
from spec_local.errors import SpecLocalError

if TYPE_CHECKING:
    from spec_local.cli.talk.commands import Answer, Talk
    from spec_local.runner import Runner


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
    template: TemplateOptions,
    sampling: SamplingOptions,
    machine: MachineOptions,
) -> None:
    """Talk with a model. Ctrl-C stops the answer; Ctrl-D leaves; /help lists commands."""
    from rich.console import Console

    from spec_local.cli.talk.commands import Talk
    from spec_local.cli.talk.screen import Screen

    console = Console(highlight=False, stderr=not sys.stdout.isatty())
    with load_runner(models, sampling, machine, template) as runner:
        screen = Screen(console)
        conversation = runner.chat(system, max_tokens=max_tokens, progress=screen.progress)
        talk = Talk(runner, conversation, screen)
        _greet(talk)
        read = _reader(talk)
        while not talk.over and (line := read()) is not None:
            _take(talk, line)


def _reader(talk: Talk) -> Callable[[], str | None]:
    """How lines are read: with a keyboard's comfort, or from a pipe."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return lambda: line.strip() if (line := sys.stdin.readline()) else None
    from spec_local.cli.talk.commands import COMMANDS
    from spec_local.cli.talk.keyboard import Keyboard

    keyboard = Keyboard((each.names[0] for each in COMMANDS), lambda: _status(talk))

    def read() -> str | None:
        prefill, talk.prefill = talk.prefill, ""
        return keyboard.read(prefill)

    return read


def _greet(talk: Talk) -> None:
    runner = talk.runner
    talk.screen.note(f"{_models(runner)}, drafter {runner.speculator.name}. /help lists commands.")
    if runner.template.is_plain:
        talk.screen.note("This model has no chat template; messages are written as plain lines.")


def _models(runner: Runner) -> str:
    target = runner.target.model
    named = f"target {target.path.stem} ({target.description})"
    return named if runner.draft is None else f"{named}, draft {runner.draft.model.path.stem}"


def _status(talk: Talk) -> str:
    """What stands below the line that is typed."""
    used = talk.chat.tokens / talk.runner.n_ctx
    return f" {_models(talk.runner)} · context {used:.0%} full"


def _take(talk: Talk, line: str) -> None:
    """A line; whatever goes wrong with it, the conversation goes on."""
    try:
        _obey_or_answer(talk, line)
    except SpecLocalError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:  # just before or after the time it cancels the answer
        print()


def _obey_or_answer(talk: Talk, line: str) -> None:
    from spec_local.cli.talk.commands import parsed, unescaped

    found = parsed(line)
    if found is not None:
        command, argument = found
        answer = command.run(talk, argument)
        if answer is not None:
            _show(talk, answer)
    elif line:
        _show(talk, talk.say(unescaped(line)))


def _show(talk: Talk, answer: Answer) -> None:
    """Show an answer while it is written, and what was gained."""
    generation = talk.chat.generation
    assert generation is not None
    talk.say_what_is_folded()
    if talk.chat.forgotten:
        oldest = f"the {talk.chat.forgotten:,} oldest messages"
        talk.screen.note(f"The context is full; {oldest} are left out.")
    with interrupt_cancels(generation):
        if sys.stdout.isatty():
            from spec_local.cli.talk.keyboard import unechoed

            with unechoed():
                talk.screen.show(answer, talk.runner.vocab, talk.chat.begins_thinking)
        else:
            for text in talk.screen.plain(answer, talk.chat.begins_thinking):
                write(text)
            print()
    cut = generation.finish_reason in ("length", "context")
    if cut or sys.stdout.isatty():
        talk.screen.note(gain(generation.stats, generation.finish_reason))
