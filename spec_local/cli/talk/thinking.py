"""Text between <think> and </think>, told from the answer while both arrive in pieces."""

from __future__ import annotations

from typing import NamedTuple

_OPEN, _CLOSE = "<think>", "</think>"


class Part(NamedTuple):
    """A piece of what a model writes."""

    text: str
    thought: bool


class Thinking:
    """Splits a stream; what may be the beginning of a mark waits for the rest of it."""

    def __init__(self) -> None:
        self._thinking = False
        self._held = ""

    def feed(self, text: str) -> list[Part]:
        """What is certain now."""
        parts, rest = list[Part](), self._held + text
        while (at := rest.find(self._mark)) >= 0:
            parts.append(Part(rest[:at], self._thinking))
            rest = rest[at + len(self._mark) :]
            self._thinking = not self._thinking
        mark = self._mark
        held = next((n for n in range(len(mark) - 1, 0, -1) if rest.endswith(mark[:n])), 0)
        self._held = rest[len(rest) - held :]
        parts.append(Part(rest[: len(rest) - held], self._thinking))
        return [part for part in parts if part.text]

    def finish(self) -> list[Part]:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        return [Part(held, self._thinking)] if held else []

    @property
    def _mark(self) -> str:
        return _CLOSE if self._thinking else _OPEN
