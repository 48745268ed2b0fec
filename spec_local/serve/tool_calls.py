"""Calls of tools, told from the text of an answer while it is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, Protocol

from spec_local.thoughts import possible_mark


class WrittenCall(NamedTuple):
    """A call in a text."""

    name: Any
    arguments: Any
    end: int
    """Where it ends."""


class ToolCall(NamedTuple):
    """A call."""

    name: str
    arguments: str
    """As JSON."""


class Said(NamedTuple):
    """What is certain now."""

    text: str
    calls: list[ToolCall]
    thought: str = ""
    """What was thought between texts and calls, where that is told apart."""


class CallReader(Protocol):
    """Tells the calls of an answer from its text."""

    def feed(self, text: str) -> Said:
        """More of the answer."""

    def finish(self) -> Said:
        """The answer has ended: what is left."""


class MarkedCalls:
    """Splits an answer into its text and the calls after it.

    What could be the beginning of a mark waits for the rest of it. What follows a mark and is no
    call of a known tool is text after all.
    """

    def __init__(
        self,
        find: Callable[[str], WrittenCall | None],
        mark: str,
        names: Collection[str],
        begun: str | None = None,
    ) -> None:
        """find: the first call in a text; None while there is no complete one.

        mark: tells that calls begin; without one an answer that begins with { is calls.
        names: of the tools. begun: what of a call is part of the prompt, after its mark.
        """
        self._find, self._mark, self._names = find, mark, names
        self._calling = begun is not None
        self._begun = False  # whether any text of the answer has been let out
        self._held = begun or ""
        self._any = False

    def feed(self, text: str) -> Said:
        """More of the answer."""
        self._held += text
        out = ""
        if not self._calling:
            out = self._text()
        return Said(out, self._calls() if self._calling else [])

    def finish(self) -> Said:
        """The answer has ended: what is left."""
        calls = self._calls() if self._calling else []
        rest, self._held = self._held, ""
        is_text = not self._any and (rest.strip() or not self._calling)
        marked = self._mark if self._calling else ""
        return Said(marked + rest if is_text else "", calls)

    def _text(self) -> str:
        """Text up to the mark, which is dropped."""
        mark = self._mark
        if not mark:
            begin = self._held.lstrip()
            if not begin or self._begun:
                return self._let_out(len(self._held) if self._begun else 0)
            self._calling = begin.startswith("{")
            return "" if self._calling else self._let_out(len(self._held))
        at = self._held.find(mark)
        if at >= 0:
            self._calling = True
            text, self._held = self._held[:at].rstrip(), self._held[at + len(mark) :]
            return text
        held = len(possible_mark(self._held, mark))
        # White space before a mark belongs to the mark.
        sure = len(self._held[: len(self._held) - held].rstrip())
        return self._let_out(sure)

    def _let_out(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        self._begun = self._begun or bool(text)
        return text

    def _calls(self) -> list[ToolCall]:
        """Those that are complete; what stands between them is dropped."""
        calls = list[ToolCall]()
        while (found := self._find(self._held)) is not None:
            call = call_of(found, self._names)
            if call is None:
                break
            calls.append(call)
            self._any, self._held = True, self._held[found.end :]
        return calls


def call_of(found: WrittenCall, names: Collection[str]) -> ToolCall | None:
    """The call, if it is one of a tool with such a name and its arguments are a JSON object."""
    given = found.arguments
    if found.name not in names:
        return None
    given = _parsed(given) if isinstance(given, str) else given
    if not isinstance(given, dict):
        return None
    try:
        written = json.dumps(given, ensure_ascii=False, allow_nan=False)
    except ValueError:  # Python reads NaN and 1e999, which are no JSON
        return None
    return ToolCall(found.name, written.encode(errors="replace").decode())  # no half characters


def _parsed(text: str) -> Any:
    """What that JSON says; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
