"""What begins with a slash: one function for each command."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from spec_local.cli.sampling_options import drawn_seed
from spec_local.cli.summary import summary
from spec_local.cli.talk import transcript
from spec_local.cli.template_options import NO_SWITCH, SYSTEM_FOLDED
from spec_local.errors import ConfigError, require
from spec_local.util.files import read_text

if TYPE_CHECKING:
    from spec_local.chat import Chat
    from spec_local.cli.talk.kept import KeptConversation
    from spec_local.cli.talk.runners import Runners
    from spec_local.cli.talk.screen import Screen
    from spec_local.generation import Generation
    from spec_local.llama.model import Model
    from spec_local.runner import Runner

_COMMAND = re.compile(r"(/[a-z?]+)(?:\s+(.*))?", re.DOTALL)


@dataclass(slots=True)
class Talk:
    """A conversation under way, and what commands have prepared for its next turn."""

    runners: Runners
    chat: Chat
    screen: Screen
    kept: KeptConversation | None = None
    """Where it is kept between runs, if anywhere."""
    attached: list[str] = field(default_factory=list)
    """Texts of files, which go before the next message."""
    prefill: str = ""
    """Stands in the next line already, to be edited."""
    changed: dict[str, Any] = field(default_factory=dict)
    """Sampling that /set has changed, for the next model also."""
    folding_said: bool = False
    over: bool = False

    @property
    def runner(self) -> Runner:
        """The one that answers."""
        return self.runners.runner

    def keep(self) -> None:
        """Write what was said to where it is kept; raises ConfigError if that fails."""
        if self.kept is not None:
            self.kept.write(self.chat.messages)

    def say_what_is_folded(self) -> None:
        """Once for a model: where its system message goes, if not where one expects it."""
        if self.chat.system and not self.folding_said and not self.runner.template.takes_system:
            self.folding_said = True
            self.screen.note(SYSTEM_FOLDED)

    def say(self, text: str) -> Generation:
        """Send a message, with what was attached."""
        answer = self.chat.send("\n\n".join([*self.attached, text]))
        self.attached = []
        return answer


class Command(NamedTuple):
    """A command; `run` may give an answer to show."""

    names: tuple[str, ...]
    argument: str
    what: str
    run: Callable[[Talk, str], Generation | None]


def parsed(line: str) -> tuple[Command, str] | None:
    """The command of a line and its argument; None if the line is text.

    A path such as /usr/bin is text, and what begins with two slashes. Raises ConfigError for a
    command that is not there.
    """
    found = _COMMAND.fullmatch(line)
    if found is None:
        return None
    for command in COMMANDS:
        if found[1] in command.names:
            argument = (found[2] or "").strip()
            require(bool(command.argument) or not argument, f"{found[1]} takes nothing after it.")
            return command, argument
    raise ConfigError(f"There is no command {found[1]}; /help lists them, // begins a text with /.")


def unescaped(line: str) -> str:
    """A text without the first of two slashes."""
    return line[1:] if line.startswith("//") else line


def _help(talk: Talk, _argument: str) -> None:
    names = (f"{', '.join(each.names)} {each.argument}" for each in COMMANDS)
    talk.screen.table(zip(names, (each.what for each in COMMANDS), strict=True))
    talk.screen.note("Alt-Enter begins another line; three quotes before and after a text of many.")


def _system(talk: Talk, argument: str) -> None:
    if argument:
        talk.chat.system = argument
    talk.screen.note(f"system: {talk.chat.system or 'none'}")


def _reset(talk: Talk, _argument: str) -> None:
    talk.chat.reset()
    talk.attached.clear()
    talk.screen.note("The conversation is forgotten.")


def _undo(talk: Talk, _argument: str) -> None:
    said = talk.chat.undo()
    require(said is not None, "There is no turn to take back.")
    talk.screen.note(f"taken back: {_shortened(said or '')}")


def _edit(talk: Talk, _argument: str) -> None:
    said = talk.chat.undo()
    require(said is not None, "There is no turn to edit.")
    talk.prefill = said or ""


def _retry(talk: Talk, _argument: str) -> Generation:
    # The same seed would write the same text.
    talk.runner.sampling = replace(talk.runner.sampling, seed=drawn_seed())
    return talk.chat.retry()


def _save(talk: Talk, argument: str) -> None:
    require(bool(argument), "Name the file: /save talk.json, or talk.md to read it.")
    transcript.save(Path(os.path.expanduser(argument)), talk.chat.messages)
    talk.screen.note(f"written: {argument}")


def _load(talk: Talk, argument: str) -> None:
    require(bool(argument), "Name the file that /save has written.")
    talk.chat.take_up(transcript.load(Path(os.path.expanduser(argument))))
    said = sum(message["role"] != "system" for message in talk.chat.messages)
    talk.screen.note(f"{said:,} messages")


def _file(talk: Talk, argument: str) -> None:
    require(bool(argument), "Name a text file; it goes before your next message.")
    path = Path(os.path.expanduser(argument))
    talk.attached.append(f"{path.name}:\n\n{read_text(path)}")
    talk.screen.note(f"{path.name} goes before your next message.")


def _set(talk: Talk, argument: str) -> None:
    sampling = talk.runner.sampling
    settings = {
        each.name: getattr(sampling, each.name)
        for each in fields(sampling)
        if isinstance(getattr(sampling, each.name), (int, float))
    }
    if not argument:
        for name, value in settings.items():
            talk.screen.note(f"{name} {value}")
        return
    name, _, given = argument.replace("-", "_").partition(" ")
    require(name in settings, f"There is no setting {name}; /set lists them.")
    changed = replace(sampling, **{name: _number(given, settings[name], name)})
    talk.runner.check(changed)
    talk.runner.sampling = changed
    talk.changed[name] = getattr(changed, name)
    talk.screen.note(f"{name} {talk.changed[name]}")


def _number(given: str, before: float, name: str) -> Any:
    try:
        return type(before)(given.replace("_", "-"))
    except ValueError:
        kind = "a whole number" if isinstance(before, int) else "a number"
        raise ConfigError(f"{name} is {kind}; /set {name} {before} is what it is now.") from None


def _seed(talk: Talk, argument: str) -> None:
    if argument:
        _set(talk, f"seed {argument}")
    else:
        talk.screen.note(f"seed {talk.runner.sampling.seed}")


def _model(talk: Talk, argument: str) -> None:
    if argument:
        try:
            talk.runners.use_model(argument)
        finally:  # the one before may have been loaded again
            talk.chat.use(talk.runner)
        talk.runner.sampling = replace(talk.runner.sampling, **talk.changed)
        talk.folding_said = False
    talk.screen.note(models_of(talk.runner))


def _drafter(talk: Talk, argument: str) -> None:
    if argument:
        try:
            talk.runners.use_drafter(argument)
        finally:  # everything may have been loaded again
            talk.chat.use(talk.runner)
    talk.screen.note(f"drafter {talk.runner.speculator.name}")


def models_of(runner: Runner) -> str:
    """The models that answer, for people."""
    target, pair = runner.target.model, runner.pair
    names = chain(pair.drafts if pair and target.head is None else (), repeat(None))
    drafts = (_called(each.model, name) for each, name in zip(runner.drafts, names, strict=False))
    named = f"target {_called(target, pair.target if pair else None)} ({target.description})"
    return ", draft ".join([named, *drafts])


def _called(model: Model, name: str | None) -> str:
    """What it was asked for by, if that is no path: Ollama's files are called by their hash."""
    if name is None or os.path.exists(os.path.expanduser(name)):
        return model.path.stem
    return name


def _image(talk: Talk, argument: str) -> None:
    require(bool(argument), "Name an image; it goes before your next message.")
    talk.attached.append(talk.runner.target.model.show(argument))
    talk.screen.note(f"{os.path.basename(argument)} goes before your next message.")


def _think(talk: Talk, argument: str) -> None:
    require(argument in ("on", "off"), "Say /think on or /think off.")
    require(talk.runner.template.think(argument == "on"), NO_SWITCH)
    does = "thinks before it answers" if argument == "on" else "answers at once"
    talk.screen.note(f"The model {does} from now on.")


def _thoughts(talk: Talk, _argument: str) -> None:
    talk.screen.folds = not talk.screen.folds
    shown = "are folded into one line" if talk.screen.folds else "are shown"
    talk.screen.note(f"Thoughts {shown}.")


def _accepted(talk: Talk, _argument: str) -> None:
    talk.screen.tints = not talk.screen.tints
    how = "underlined" if talk.screen.console.no_color else "coloured"
    shown = f"are {how}; Markdown is not drawn" if talk.screen.tints else "look like all others"
    talk.screen.note(f"Drafted tokens {shown}.")


def _stats(talk: Talk, _argument: str) -> None:
    generation = talk.chat.generation
    require(generation is not None, "Nothing has been said yet.")
    assert generation is not None
    talk.screen.note(summary(generation.stats, generation.finish_reason))


def _exit(talk: Talk, _argument: str) -> None:
    talk.over = True


def _shortened(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


COMMANDS = (
    Command(("/help", "/?"), "", "this list", _help),
    Command(("/retry",), "", "another answer to the same", _retry),
    Command(("/undo",), "", "take back the last turn", _undo),
    Command(("/edit",), "", "take it back and change what you said", _edit),
    Command(("/reset", "/clear"), "", "forget the conversation", _reset),
    Command(("/system",), "[TEXT]", "show or change the system message", _system),
    Command(("/file",), "PATH", "put a text file before your next message", _file),
    Command(("/save",), "PATH", "keep the conversation: .json, or .md to read", _save),
    Command(("/load",), "PATH", "take up a conversation that was saved", _load),
    Command(("/set",), "[NAME VALUE]", "sampling: temperature, top_p …", _set),
    Command(("/seed",), "[N]", "same seed, same text", _seed),
    Command(("/model",), "[NAME]", "go on with another model or pair", _model),
    Command(("/drafter",), "[NAME]", "draft otherwise; the text stays the same", _drafter),
    Command(("/image",), "PATH", "put an image before your next message", _image),
    Command(("/think",), "on|off", "whether the model thinks first, if it can", _think),
    Command(("/thoughts",), "", "fold thoughts into one line, or show them", _thoughts),
    Command(("/accepted",), "", "colour what was drafted", _accepted),
    Command(("/stats",), "", "figures of the last answer", _stats),
    Command(("/exit", "/quit", "/bye"), "", "leave (or Ctrl-D)", _exit),
)
