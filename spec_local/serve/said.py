"""What a model writes, told apart: what it thinks, what it says, and the tools that it calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from spec_local.generation import Chunk
from spec_local.sampling.settings import Sampling
from spec_local.serve.serving import Vocabulary
from spec_local.serve.tool_calls import CallReader, ToolCall
from spec_local.serve.tool_choice import Calling
from spec_local.thoughts import Part, Thinking, opened

_MARK = 32
"""Tokens that any mark has at most, with blank ones after it."""


class Told(NamedTuple):
    """What is new, of each kind."""

    thought: str
    text: str
    calls: list[ToolCall]


class Telling:
    """Tells the parts of one answer, chunk by chunk."""

    def __init__(self, calls: CallReader | None, thinking: Thinking | None) -> None:
        """calls, thinking: None where such parts are not told from the text."""
        self._calls, self._thinking = calls, thinking

    def feed(self, chunk: Chunk) -> Told:
        """What is certain now; all of it with the last chunk."""
        ends = chunk.finish_reason is not None
        parts = self._parts(chunk.text, ends)
        thought = "".join(part.text for part in parts if part.thought)
        text = "".join(part.text for part in parts if not part.thought)
        if self._calls is None:
            return Told(thought, text, [])
        said = [self._calls.feed(text), *([self._calls.finish()] if ends else [])]
        return Told(
            thought + "".join(each.thought for each in said),
            "".join(each.text for each in said),
            [call for each in said for call in each.calls],
        )

    def _parts(self, text: str, ends: bool) -> list[Part]:
        if self._thinking is None:
            return [Part(text, False)]
        return self._thinking.feed(text) + (self._thinking.finish() if ends else [])


def telling(
    reasoning: str | None,
    tools: Calling,
    sampling: Sampling,
    prompt: Sequence[int],
    vocab: Vocabulary,
) -> Telling:
    """What tells the parts of an answer to that prompt.

    reasoning: the request's reasoning_format. An answer that is bound to a form is all of it.
    """
    bound = sampling.grammar is not None or sampling.json_schema is not None
    thinking = None if reasoning == "none" or bound else Thinking(begun(prompt, vocab))
    return Telling(tools.reader(thinks=thinking is not None), thinking)


def begun(prompt: Sequence[int], vocab: Vocabulary) -> str:
    """The mark by which a prompt opens a thought at its end; else nothing."""
    return opened(b"".join(map(vocab.piece, prompt[-_MARK:])).decode(errors="replace"))
