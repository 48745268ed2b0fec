"""What a model thinks before it answers: text between <think> and </think>, told from the answer.

Only what stands before the answer is a thought; a <think> later on is what the answer is about.
"""

from __future__ import annotations

from typing import NamedTuple

OPEN = "<think>"
_CLOSE = "</think>"


class Part(NamedTuple):
    """A piece of what a model writes."""

    text: str
    thought: bool


class Thinking:
    """Splits a stream; what may be the beginning of a mark waits for the rest of it.

    Blank text around a thought is dropped.
    """

    def __init__(self, begun: bool = False) -> None:
        """begun: the text begins inside a thought, as the template has opened it."""
        self.is_thinking = begun
        """Whether what comes next is a thought."""
        self._thought = begun
        self._answering = False
        self._held = ""

    def feed(self, text: str) -> list[Part]:
        """What is certain now."""
        parts, rest = list[Part](), self._held + text
        self._held = ""
        while not self._answering:
            if self.is_thinking:
                thought, closed, after = rest.partition(_CLOSE)
                if not closed:
                    self._held = _possible_mark(thought)
                    thought = thought.removesuffix(self._held)
                parts.append(Part(thought, True))
                if not closed:
                    return _with_text(parts)
                self.is_thinking, rest = False, after
                continue
            begun = rest.lstrip()
            if OPEN.startswith(begun):  # also when nothing has come yet
                self._held = rest
                return _with_text(parts)
            if begun.startswith(OPEN):
                self.is_thinking = self._thought = True
                rest = begun.removeprefix(OPEN)
            else:
                self._answering = True
                rest = begun if self._thought else rest
        return _with_text([*parts, Part(rest, False)])

    def finish(self) -> list[Part]:
        """What was held back, at the end."""
        held, self._held = self._held, ""
        if self._thought and not self.is_thinking:
            held = held.lstrip()
        return [Part(held, self.is_thinking)] if held else []


def _possible_mark(text: str) -> str:
    """The longest end of the text that may become the mark that closes a thought."""
    longest = range(len(_CLOSE) - 1, 0, -1)
    return next((_CLOSE[:length] for length in longest if text.endswith(_CLOSE[:length])), "")


def _with_text(parts: list[Part]) -> list[Part]:
    return [part for part in parts if part.text]


def without_thoughts(text: str) -> str:
    """The answer alone."""
    thinking = Thinking()
    parts = thinking.feed(text) + thinking.finish()
    return "".join(part.text for part in parts if not part.thought)


def is_opened(prompt: str) -> bool:
    """Whether the answer to a rendered prompt begins inside a thought."""
    return prompt.rstrip().endswith(OPEN)
