"""What a model thinks before it answers, told from the answer by the marks around it.

Only what stands before the answer is a thought; a mark later on is what the answer is about. Marks
of all families are known at once: a conversation may go on with another model.
"""

from __future__ import annotations

from typing import NamedTuple


class Marks(NamedTuple):
    """How a family of models marks what it thinks."""

    opens: str
    closes: str
    leads: tuple[str, ...] = ()
    """What it may write between a thought and the answer, or before one without a thought."""


MARKS = (
    Marks("<think>", "</think>"),  # DeepSeek R1, Qwen 3, and most
    Marks("<thinking>", "</thinking>"),  # Reflection
    Marks("<thought>", "</thought>"),  # EXAONE Deep
    Marks("<reasoning>", "</reasoning>"),  # Reka Flash 3
    Marks("<seed:think>", "</seed:think>"),  # Seed-OSS
    Marks("<mm:think>", "</mm:think>"),  # MiniMax M3
    Marks("◁think▷", "◁/think▷"),  # Kimi-VL
    Marks("[THINK]", "[/THINK]"),  # Magistral, Ministral 3
    Marks("<|START_THINKING|>", "<|END_THINKING|>"),  # Command R7B, Command A Reasoning
    Marks("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
    Marks("<|channel>thought", "<channel|>"),  # Gemma 4
    Marks(  # gpt-oss
        "<|channel|>analysis<|message|>",
        "<|end|>",
        ("<|start|>assistant", "<|channel|>final<|message|>"),
    ),
    Marks("<|think|>", "<|end|>", ("<|begin|>assistant", "<|content|>")),  # Solar Open
)
"""No mark that opens, and no lead, is the beginning of another."""
_LEADS = tuple(lead for marks in MARKS for lead in marks.leads)
_BEGINNINGS = (*(marks.opens for marks in MARKS), *_LEADS)


class Part(NamedTuple):
    """A piece of what a model writes."""

    text: str
    thought: bool


class Thinking:
    """Splits a stream; what may be the beginning of a mark waits for the rest of it.

    Blank text around a thought is dropped.
    """

    def __init__(self, begun: str = "") -> None:
        """begun: the mark by which the template has opened a thought, see `opened`."""
        self._marks = _opened_by(begun)
        self._thought = self.is_thinking
        self._answering = False
        self._held = ""

    @property
    def is_thinking(self) -> bool:
        """Whether what comes next is a thought."""
        return self._marks is not None

    def feed(self, text: str) -> list[Part]:
        """What is certain now."""
        parts, rest = list[Part](), self._held + text
        self._held = ""
        while not self._answering:
            if self._marks is not None:
                thought, closed, after = rest.partition(self._marks.closes)
                if not closed:
                    self._held = possible_mark(thought, self._marks.closes)
                    thought = thought.removesuffix(self._held)
                parts.append(Part(thought, True))
                if not closed:
                    return _with_text(parts)
                self._marks, rest = None, after
                continue
            begun = rest.lstrip()
            found = next((each for each in _BEGINNINGS if begun.startswith(each)), "")
            if found:
                self._marks = _opened_by(found)
                self._thought = True
                rest = begun.removeprefix(found)
            elif any(each.startswith(begun) for each in _BEGINNINGS):  # also if nothing has come
                self._held = rest
                return _with_text(parts)
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


def _opened_by(mark: str) -> Marks | None:
    return next((marks for marks in MARKS if marks.opens == mark), None)


def possible_mark(text: str, mark: str) -> str:
    """The longest end of the text that may become the mark."""
    longest = range(len(mark) - 1, 0, -1)
    return next((mark[:length] for length in longest if text.endswith(mark[:length])), "")


def _with_text(parts: list[Part]) -> list[Part]:
    return [part for part in parts if part.text]


def without_thoughts(text: str) -> str:
    """The answer alone."""
    thinking = Thinking()
    parts = thinking.feed(text) + thinking.finish()
    return "".join(part.text for part in parts if not part.thought)


def opened(prompt: str) -> str:
    """The mark by which a rendered prompt begins its answer inside a thought; else nothing."""
    written = prompt.rstrip()
    return next((marks.opens for marks in MARKS if written.endswith(marks.opens)), "")


def closed(prompt: str) -> str:
    """The prompt, and the end of the thought inside which it begins its answer, if it does."""
    marks = _opened_by(opened(prompt))
    return prompt if marks is None else f"{prompt.rstrip()}\n\n{marks.closes}\n\n"
