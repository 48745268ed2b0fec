"""`spec-local chat`: a conversation in the terminal, or line by line through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spec_local.cli.flat import flat
from spec_local.cli.interrupt import interrupt_cancels
from spec_local.cli.machine_options import MachineOptions
from spec_local.cli.names import NameArgument
from spec_local.cli.options import ModelOptions, named
from spec_local.cli.output import say, write
from spec_local.cli.sampling_options import SamplingOptions
from spec_local.cli.summary import gain
from spec_local.cli.template_options import TemplateOptions
from spec_local.errors import SpecLocalError, require
from spec_local.util.files import text_of

if TYPE_CHECKING:
    from spec_local.cli.talk.commands import Talk
    from spec_local.cli.talk.kept import KeptConversation
    from spec_local.generation import Generation
    from spec_local.llama.messages import Message
    from spec_local.runner import Runner


def _kept(*flags: str, help: str, **more: Any) -> Any:
    return typer.Option(*flags, help=help, rich_help_panel="Kept conversations", **more)


@flat
def chat(
    name: NameArgument = None,
    *,
    system: Annotated[
        str | None, typer.Option("--system", "-s", metavar="TEXT", help="System message.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            "-n",
            metavar="N",
            min=1,
            help="Longest answer, in tokens.",
            show_default="until the model ends",
        ),
    ] = None,
    go_on: Annotated[
        bool, _kept("--continue", help="Go on with the conversation kept last, and keep it.")
    ] = False,
    session: Annotated[
        str | None,
        _kept("--session", metavar="NAME", help="Keep it under a name, or go on with that one."),
    ] = None,
    list_sessions: Annotated[
        bool, _kept("--list-sessions", help="Print the names, the latest first, and their folder.")
    ] = False,
    prompt_cache: Annotated[
        Path | None,
        _kept(
            "--prompt-cache",
            metavar="FILE",
            help="Where the system message is kept as read, for the next time.",
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
    from spec_local.cli.talk.loader import Loader
    from spec_local.cli.talk.runners import Runners
    from spec_local.cli.talk.screen import Screen

    if list_sessions:
        _list_sessions()
        return
    models = named(models, name)
    console = Console(highlight=False, stderr=not sys.stdout.isatty())
    with ExitStack() as stack:
        kept = _opened(stack, session, go_on)
        said = [] if kept is None else kept.read()
        runners = stack.enter_context(Runners(models, Loader(models, sampling, machine, template)))
        screen = Screen(console)
        conversation = runners.runner.chat(None, max_tokens=max_tokens, progress=screen.progress)
        conversation.take_up(said)
        if system is not None:
            conversation.system = system
        if prompt_cache is not None:
            _begin_from(runners.runner, prompt_cache, conversation.system)
        talk = Talk(runners, conversation, screen, kept)
        _greet(talk)
        read = _reader(talk)
        while not talk.over and (line := read()) is not None:
            _take(talk, line)


def _list_sessions() -> None:
    from spec_local.cli.talk.kept import all_kept, directory

    names = list(all_kept())
    for name in names:
        print(name)
    say(f"{len(names):,} in {directory()}", err=True)


def _opened(stack: ExitStack, session: str | None, go_on: bool) -> KeptConversation | None:
    """The conversation to be kept, which no other chat has meanwhile; None if none is."""
    from spec_local.cli.talk.kept import KeptConversation, latest

    require(session is None or not go_on, "Say --session or --continue, not both.")
    if session is None and not go_on:
        return None
    return stack.enter_context(KeptConversation(latest() if session is None else session))


def _begin_from(runner: Runner, path: Path, system: str | None) -> None:
    """Have the model read the system message, or have it from the file."""
    from spec_local.cli.progress import on_terminal
    from spec_local.cli.prompt_cache import begin_from

    require(bool(system), "--prompt-cache keeps a system message; give one with --system.")

    def asking(said: str) -> list[Message]:
        return [{"role": "system", "content": system}, {"role": "user", "content": said}]

    with on_terminal() as progress:
        begin_from(runner, path, asking, progress)


def _reader(talk: Talk) -> Callable[[], str | None]:
    """How lines are read: with a keyboard's comfort, or from a pipe."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        lines = (text_of(line, "replace").strip() for line in sys.stdin.buffer)
        return lambda: next(lines, None)
    from spec_local.cli.talk.commands import COMMANDS
    from spec_local.cli.talk.keyboard import Keyboard

    keyboard = Keyboard((each.names[0] for each in COMMANDS), lambda: _status(talk))

    def read() -> str | None:
        prefill, talk.prefill = talk.prefill, ""
        return keyboard.read(prefill)

    return read


def _greet(talk: Talk) -> None:
    from spec_local.cli.talk.commands import models_of

    runner, note = talk.runner, talk.screen.note
    note(f"{models_of(runner)}, drafter {runner.speculator.name}. /help lists commands.")
    if runner.template.is_plain:
        note("This model has no chat template; messages are written as plain lines.")
    if talk.kept is not None:
        if talk.kept.trouble is not None:
            say(f"error: {talk.kept.trouble}", err=True)
        said = sum(message["role"] != "system" for message in talk.chat.messages)
        note(f"Conversation {talk.kept.name}, {said:,} messages; what is said is kept.")


def _status(talk: Talk) -> str:
    """What stands below the line that is typed."""
    from spec_local.cli.talk.commands import models_of

    used = talk.chat.tokens / talk.runner.n_ctx
    return f" context {used:.0%} full · {models_of(talk.runner)}"


def _take(talk: Talk, line: str) -> None:
    """A line; whatever goes wrong with it, the conversation goes on while there is a model."""
    from spec_local.cli.talk.runners import NoModelLeft

    try:
        try:
            _obey_or_answer(talk, line)
        finally:
            talk.keep()
    except NoModelLeft:
        raise
    except SpecLocalError as error:
        say(f"error: {error}", err=True)
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


def _show(talk: Talk, answer: Generation) -> None:
    """Show an answer while it is written, and what was gained."""
    generation = talk.chat.generation
    assert generation is not None
    talk.say_what_is_folded()
    if talk.chat.forgotten:
        oldest = f"the {talk.chat.forgotten:,} oldest messages"
        talk.screen.note(f"The context is full; {oldest} are left out.")
    with interrupt_cancels(generation), closing(answer):
        if sys.stdout.isatty():
            from spec_local.cli.talk.keyboard import given_back

            with given_back(echo=False):
                talk.screen.show(answer, talk.chat.begins_thinking)
        else:
            for text in talk.screen.plain(answer, talk.chat.begins_thinking):
                write(text)
            print()
    cut = generation.finish_reason in ("length", "context")
    if cut or sys.stdout.isatty():
        talk.screen.note(
            gain(generation.stats, generation.finish_reason, talk.runner.speculator.name)
        )
