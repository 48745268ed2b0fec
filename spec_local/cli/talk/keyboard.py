"""What a person types: several lines, pasted blocks, a history across sessions, completion."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from spec_local.errors import ConfigError
from spec_local.util.paths import state_directory

_QUOTE = '"""'
"""Begins and ends a text of several lines, as in Python."""


class Keyboard:
    """Reads from the terminal. Enter sends; Alt-Enter, or Ctrl-J, begins another line."""

    def __init__(self, commands: Iterable[str], status: Callable[[], str]) -> None:
        """commands: completed at the beginning of a line. status: shown below what is typed."""
        self._session: PromptSession[str] = PromptSession(
            history=_history(),
            auto_suggest=AutoSuggestFromHistory(),
            completer=Commands(list(commands)),
            complete_while_typing=False,
            multiline=Condition(lambda: _is_open(get_app().current_buffer.text)),
            prompt_continuation="  ",
            key_bindings=_keys(),
            bottom_toolbar=status,
            enable_history_search=False,
        )

    def read(self, prefill: str = "") -> str | None:
        """The next thing said; None at the end (Ctrl-D). Ctrl-C forgets what was typed.

        prefill: stands there already, to be edited.
        """
        try:
            with given_back():  # a signal may come before prompt_toolkit has seen to it
                return _unquoted(self._session.prompt("> ", default=prefill))
        except EOFError:
            return None
        except KeyboardInterrupt:
            return ""


@contextmanager
def given_back(*, echo: bool = True) -> Iterator[None]:
    """After the block the terminal is as it was before, whatever ends it.

    echo: without it, what is typed ahead is not shown in the middle of an answer.
    """
    try:
        import termios
    except ImportError:  # Windows
        yield
        return
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        if not echo:
            silent = [*before]
            silent[3] &= ~termios.ECHO
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, silent)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _is_open(text: str) -> bool:
    """Whether Enter begins another line, as a quote has not been ended."""
    return text.lstrip().startswith(_QUOTE) and text.count(_QUOTE) < 2


def _unquoted(text: str) -> str:
    text = text.strip()
    if text.startswith(_QUOTE) and text.count(_QUOTE) > 1:
        text = text.removeprefix(_QUOTE).replace(_QUOTE, "", 1)
    return text.strip()


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def another_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _history() -> History:
    """A file that only its owner can read; in memory where none can be written."""
    try:
        path = history_file()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND, 0o600))
    except (OSError, ConfigError):
        return InMemoryHistory()
    return FileHistory(str(path))


def history_file() -> Path:
    """Where what was typed is kept."""
    return state_directory() / "chat-history"


class Commands(Completer):
    """Completes the word of a command, and nothing else."""

    def __init__(self, names: list[str]) -> None:
        self._names = names

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterable[Completion]:
        """Those that begin with what stands before the cursor."""
        typed = document.text_before_cursor
        if typed.startswith("/") and " " not in typed:
            for name in self._names:
                if name.startswith(typed):
                    yield Completion(name, start_position=-len(typed))
