"""Whether a GBNF grammar can be read: asked before llama.cpp, which complains on stderr.

What a process writes to stderr is the application's affair, and no thread can catch the complaints
of one call without catching what all other threads write meanwhile. So what llama.cpp would refuse
is refused here, by the same rules (llama.cpp, src/llama-grammar.cpp), and with the number of the
line.
"""

from __future__ import annotations

import re
from typing import NoReturn

from spec_local.errors import ConfigError

_MOST_RULES = 2_000
"""llama.cpp writes repetitions out as rules of its own, and makes no more than so many of one."""

_ESCAPE = r'\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[trn\\"\[\]-])'
ITEM = re.compile(
    rf""""(?P<literal>(?:{_ESCAPE}|[^"\\])*)"
    | \[(?P<characters>\^?(?:{_ESCAPE}|[^\]\\])*)\]
    | (?P<name>[a-zA-Z0-9-]+)
    | (?P<any>\.)
    | (?P<sign>[*+?])
    | \{{[ \t]*(?P<least>\d+)[ \t]*(?:(?P<comma>,)[ \t]*(?P<most>\d*)[ \t]*)?\}}
    | (?P<mark>[()|])""",
    re.VERBOSE,
)
_BEGUN = {
    '"': "an end of the literal and known escapes",
    "[": "an end of the characters and known escapes",
    "{": "one or two numbers in braces",
}
HEAD = re.compile(r"(?P<name>[a-zA-Z0-9-]+)[ \t]*::=")
_BLANK = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
BLANK_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_SIGNS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def require_readable(grammar: str) -> None:
    """Raise ConfigError, which names the line, for a grammar that llama.cpp cannot read."""
    _Reader(grammar).read()


class _Reader:
    """Goes through a grammar once."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._defined = set[str]()
        self._named = dict[str, int]()
        """Where each rule is named first."""
        self._made = 0
        """Rules that llama.cpp makes itself, for groups and repetitions."""

    def read(self) -> None:
        if "\0" in self._text:
            raise ConfigError("The grammar cannot be used: it contains a zero byte.")
        self._skip(BLANK_LINES)
        while self._at < len(self._text):
            self._rule()
        if "root" not in self._defined:
            raise ConfigError("The grammar cannot be used: it has no rule named root.")
        for name, at in self._named.items():
            if name not in self._defined:
                self._fail(f"a rule {name}, which is named but not there", at)

    def _rule(self) -> None:
        head = HEAD.match(self._text, self._at)
        if head is None:
            self._fail("the name of a rule and ::=")
        self._named.setdefault(head["name"], self._at)
        self._defined.add(head["name"])
        self._at = head.end()
        self._skip(BLANK_LINES)
        self._alternatives()
        if self._text[self._at : self._at + 1] not in ("", "\r", "\n"):
            self._fail("a new line or the end")
        self._skip(BLANK_LINES)

    def _alternatives(self) -> None:
        """What a rule may be, with the groups in it."""
        groups = list[int]()
        """For each that is open, how many rules there were before."""
        size = 0
        """Of the item before this one, in rules; 0: there is none that could be repeated."""
        while (item := ITEM.match(self._text, self._at)) and (groups or item["mark"] != ")"):
            size = self._size(item, size, groups)
            self._at = item.end()
            self._skip(BLANK_LINES if groups or item["mark"] == "|" else _BLANK)
        expected = _BEGUN.get(self._text[self._at : self._at + 1])
        if expected or groups:
            self._fail(expected or "')'")

    def _size(self, item: re.Match[str], before: int, groups: list[int]) -> int:
        """Of this item, when the one before it has that size."""
        mark = item["mark"]
        if mark == "(":
            groups.append(self._rules)
            self._made += 1
        if mark == ")":
            return max(1, self._rules - groups.pop())
        if mark:
            return 0
        if item["sign"] or item["least"]:
            return self._repeated(before, item)
        if item["name"]:
            self._named.setdefault(item["name"], self._at)
        return 0 if item["literal"] == "" or item["characters"] in ("", "^") else 1

    @property
    def _rules(self) -> int:
        return len(self._named) + self._made

    def _repeated(self, size: int, item: re.Match[str]) -> int:
        """The size of an item when it has been repeated."""
        if size == 0:
            self._fail(f"something to repeat before {item[0][0]}")
        if item["sign"]:
            least, most = _SIGNS[item["sign"]]
        else:
            least = int(item["least"])
            most = int(item["most"]) if item["most"] else None if item["comma"] else least
        times = most or least or 1
        if size * times > _MOST_RULES:
            self._fail("fewer repetitions or a simpler item before them")
        optional = 1 if most is None else most - least
        self._made += optional
        return size * times if least or optional else 0

    def _skip(self, blank: re.Pattern[str]) -> None:
        found = blank.match(self._text, self._at)
        assert found is not None  # it matches nothing, too
        self._at = found.end()

    def _fail(self, expected: str, at: int | None = None) -> NoReturn:
        line = self._text.count("\n", 0, self._at if at is None else at) + 1
        raise ConfigError(f"The grammar cannot be used: expecting {expected}, in line {line}.")
