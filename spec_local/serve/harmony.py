"""Calls of tools as gpt-oss writes them: messages, each with a channel, calls with a recipient.

    <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}

The recipient may also stand before the channel, which is how chat templates write it. Before a call
may come a message of commentary, which is told to the user. The format is OpenAI's harmony
(https://github.com/openai/harmony, docs/format.md).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from spec_local.serve.tool_calls import Said, ToolCall, WrittenCall, call_of
from spec_local.serve.tool_format import Demand, object_at, only_one, parameters
from spec_local.thoughts import possible_mark

_END, _START, _CHANNEL, _MESSAGE = "<|end|>", "<|start|>assistant", "<|channel|>", "<|message|>"
_HEADERS = tuple(
    f"{end}{start}{_CHANNEL}{channel}"
    for end in ("", _END)
    for start in ("", _START)
    for channel in ("analysis", "commentary", "final")
)
"""How headers begin, without white space and recipients."""
_LONGEST_HEADER = 200
_MARK = re.compile(r"<\|(end|start)\|>")
"""One of these ends a message."""
_TO = re.compile(r"(^|assistant)\s*t(o(=[\w.-]*)?)?")
"""A recipient before the channel, or the beginning of one."""
_RECIPIENT = re.compile(r"to=functions\.([\w.-]+)")
_UNFINISHED = 10
"""Characters at the end of JSON that may only be the beginning of a word or a number."""
_NOTHING = Said("", [])


class HarmonyCalls:
    """The format of calls."""

    def reader(
        self, names: Collection[str], begun: str | None = None, *, thinks: bool = False
    ) -> HarmonyReader:
        """Tells calls of tools with such names from an answer."""
        return HarmonyReader(names, begun or "", thinks=thinks)

    def demand(self, tools: Sequence[Mapping[str, Any]]) -> Demand:
        """That the tool be called."""
        tool = only_one(tools)
        to = f"<|channel|>commentary to=functions.{tool['function']['name']}"
        begun = f"{to} <|constrain|>json<|message|>"
        return Demand(begun, begun, dict(parameters(tool)))


class HarmonyReader:
    """Splits an answer into its messages: calls, thoughts, and text.

    A call of an unknown tool, or of no JSON, is text as it was written.
    """

    def __init__(self, names: Collection[str], begun: str, *, thinks: bool) -> None:
        """names: of the tools. begun: what of a call is part of the prompt.

        thinks: thoughts are told apart; else they stay in the text, and all marks from there on.
        """
        self._names, self._held, self._thinks = names, begun, thinks
        self._raw = self._said = False
        """Whether marks are written out, and whether there has been any text."""
        self._reads = self._between
        """What reads on, as far as it can, and says what reads after it."""

    def feed(self, text: str) -> Said:
        """More of the answer."""
        self._held += text
        out, calls, thought = "", list[ToolCall](), ""
        while True:
            before = len(self._held), self._reads
            said = self._reads()
            out, calls, thought = out + said.text, calls + said.calls, thought + said.thought
            self._said = self._said or bool(said.text)
            if before == (len(self._held), self._reads):
                return Said(out, calls, thought)

    def finish(self) -> Said:
        """The answer has ended: what is left is text, but for a header that nothing follows."""
        rest, self._held = self._held, ""
        if self._reads == self._in_thought:
            return Said("", [], rest)
        is_begun = rest.startswith((_END, "<|start|>", _CHANNEL)) and not _RECIPIENT.search(rest)
        is_cut = _is_header(rest) is None or _without_recipient(rest) in _HEADERS
        return _NOTHING if not rest.strip() or (is_begun and is_cut) else Said(rest, [])

    def _between(self) -> Said:
        """Messages: a header, which waits for its end, or a text without one."""
        is_header = _is_header(self._held)
        if is_header is False:
            self._reads = self._in_text
            return _NOTHING
        header, ends, rest = self._held.partition(_MESSAGE)
        if len(header) > _LONGEST_HEADER:
            self._reads = self._in_text
            return Said(self._let_out(_LONGEST_HEADER), [])
        if not is_header or not ends:
            return _NOTHING
        if _RECIPIENT.search(header):
            self._reads = self._in_call
            self._held = self._held.removeprefix(_END)
            return Said(_END if self._raw and header.startswith(_END) else "", [])
        self._held, self._reads = rest, self._in_text
        is_plain = re.search(r"<\|channel\|>(commentary|final)\s*$", header) is not None
        if "analysis" in header and self._thinks:
            self._reads = self._in_thought
            return _NOTHING
        if self._raw or not is_plain:
            self._raw = True
            return Said(header + ends, [])
        return Said("\n\n" if self._said else "", [])

    def _in_text(self) -> Said:
        return Said(self._up_to_next(), [])

    def _in_thought(self) -> Said:
        return Said("", [], self._up_to_next())

    def _up_to_next(self) -> str:
        """Text up to where the next message begins, or may begin."""
        for found in _MARK.finditer(self._held):
            is_header = _is_header(self._held[found.start() :])
            if is_header is not False:
                if is_header:
                    self._reads = self._between
                return self._let_out(found.start())
        begun = max(len(possible_mark(self._held, mark)) for mark in (_END, _START))
        return self._let_out(len(self._held) - begun)

    def _let_out(self, length: int) -> str:
        text, self._held = self._held[:length], self._held[length:]
        return text

    def _in_call(self) -> Said:
        """The call, once it is complete; text, if it is none."""
        header, ends, rest = self._held.partition(_MESSAGE)
        to = _RECIPIENT.search(header)
        assert to is not None
        start = len(rest) - len(rest.lstrip())
        value, end = object_at(rest, start)
        call = None if value is None else call_of(WrittenCall(to[1], value, end), self._names)
        if call is not None:
            self._held, self._reads = rest[end:], self._between
            return Said("", [call])
        if value is None and _may_become_an_object(rest[start:]):
            return _NOTHING
        self._held, self._reads, self._raw = rest, self._in_text, True
        return Said(header + ends, [])


def _is_header(text: str) -> bool | None:
    """Whether a message's header begins there; None while that is not known."""
    written = _without_recipient(text)
    if any(written.startswith(each) for each in _HEADERS):
        return True
    return None if any(each.startswith(written) for each in _HEADERS) else False


def _without_recipient(header: str) -> str:
    """Without white space, too."""
    return "".join(_TO.sub(r"\1", header.lstrip(), count=1).split())


def _may_become_an_object(text: str) -> bool:
    """Whether more of it may make that JSON complete."""
    if text[:1] not in ("", "{"):
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        ends = error.pos >= len(text) - _UNFINISHED
        return ends or error.msg.startswith("Unterminated string")
    except RecursionError:
        return False
    return True
