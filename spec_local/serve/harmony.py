"""Calls of tools as gpt-oss writes them: messages, each with a channel, calls with a recipient.

    <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}

The recipient may also stand before the channel, which is how chat templates write it. Before a call
may come a message of commentary, which is told to the user. The format is OpenAI's harmony
(https://github.com/openai/harmony, docs/format.md).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from spec_local.serve.tool_calls import Said, ToolCall, WrittenCall, call_of
from spec_local.serve.tool_format import Demand, object_at, only_one, parameters

_HEADER_BEGINS = ("<|start|>", "<|channel|>", "to=functions.")
_HEADER_ENDS = "<|message|>"
_END = "<|end|>"
_MESSAGE_ENDS = (_END, "<|start|>", "<|channel|>")
"""A message without an end has one where the next begins."""
_RECIPIENT = re.compile(r"to=functions\.([\w.-]+)")
_SILENT = re.compile(r"(<\|end\|>)?\s*(<\|start\|>assistant)?\s*<\|channel\|>(commentary|final)\s*")
"""What stands before a message to the user and is not part of it."""
_NOTHING = Said("", [])


class HarmonyCalls:
    """The format of calls."""

    def reader(self, names: Collection[str], begun: str | None = None) -> HarmonyReader:
        """Tells calls of tools with such names from an answer."""
        return HarmonyReader(names, begun or "")

    def demand(self, tools: Sequence[Mapping[str, Any]]) -> Demand:
        """That the tool be called."""
        tool = only_one(tools)
        to = f"<|channel|>commentary to=functions.{tool['function']['name']}"
        begun = f"{to} <|constrain|>json<|message|>"
        return Demand(begun, begun, dict(parameters(tool)))


class HarmonyReader:
    """Splits an answer into its messages: calls, and text.

    A call of an unknown tool, or of no JSON, is text as it was written.
    """

    def __init__(self, names: Collection[str], begun: str) -> None:
        """names: of the tools. begun: what of a call is part of the prompt."""
        self._names, self._held = names, begun
        self._reads = self._between
        """What reads on, as far as it can, and says what reads after it."""
        self._apart = ""
        """What stands before the next text, if there has been one."""

    def feed(self, text: str) -> Said:
        """More of the answer."""
        self._held += text
        out, calls = "", list[ToolCall]()
        while True:
            before = len(self._held), self._reads
            said = self._reads()
            out += said.text
            calls += said.calls
            if before == (len(self._held), self._reads):
                return Said(out, calls)

    def finish(self) -> Said:
        """The answer has ended: what is left is text, if it is not blank."""
        rest, self._held = self._held, ""
        return Said(rest if rest.strip() else "", [])

    def _between(self) -> Said:
        """Messages: a header, which waits for its end, or a text without one."""
        begun = self._held.removeprefix(_END).lstrip()
        if any(each.startswith(begun[: len(each)]) for each in _HEADER_BEGINS):
            header, ends, rest = self._held.partition(_HEADER_ENDS)
            if not ends:
                return _NOTHING
            if _RECIPIENT.search(header):
                self._reads = self._in_call
                return _NOTHING
            self._held, self._reads = rest, self._in_text
            apart, self._apart = self._apart, "\n\n"
            return Said(apart if _SILENT.fullmatch(header) else header + ends, [])
        if not _END.startswith(self._held):
            self._held, self._reads = self._held.removeprefix(_END), self._in_text
            self._apart = "\n\n"
        return _NOTHING

    def _in_text(self) -> Said:
        """Up to the end of the message."""
        found = [at for mark in _MESSAGE_ENDS if (at := self._held.find(mark)) >= 0]
        if found:
            self._reads = self._between
        length = min(found) if found else len(self._held) - self._possible_end()
        text, self._held = self._held[:length], self._held[length:]
        return Said(text, [])

    def _possible_end(self) -> int:
        """How many characters at the end may become a mark."""
        longest = min(max(map(len, _MESSAGE_ENDS)), len(self._held))
        ends = (self._held[-length:] for length in range(longest, 0, -1))
        return next((len(e) for e in ends if any(m.startswith(e) for m in _MESSAGE_ENDS)), 0)

    def _in_call(self) -> Said:
        """The call, once it is complete; text, if it is none."""
        header, ends, rest = self._held.partition(_HEADER_ENDS)
        to = _RECIPIENT.search(header)
        assert to is not None
        start = len(rest) - len(rest.lstrip())
        value, end = object_at(rest, start)
        call = None if value is None else call_of(WrittenCall(to[1], value, end), self._names)
        if call is not None:
            self._held, self._reads = rest[end:], self._between
            return Said("", [call])
        if value is None and rest[start : start + 1] in ("", "{"):
            return _NOTHING
        self._held, self._reads = rest, self._in_text
        return Said(header + ends, [])
