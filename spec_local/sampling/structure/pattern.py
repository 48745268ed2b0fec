"""Regular expressions of JSON schemas as GBNF over the characters of a JSON string."""

from __future__ import annotations

import json
from collections.abc import Iterable

from spec_local.errors import require

MOST_REPETITIONS = 2_000
"""llama.cpp takes no more, and silently reads a larger number as no bound."""

Ranges = list[tuple[int, int]]

_BARE: Ranges = [
    (0x20, 0x21), (0x23, 0x5B), (0x5D, 0x7E), (0x80, 0xD7FF), (0xE000, 0x10FFFF)
]  # fmt: skip
"""Code points that stand in a JSON string as they are."""

_DIGIT: Ranges = [(0x30, 0x39)]
_WORD: Ranges = [*_DIGIT, (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
_SPACE: Ranges = [(0x09, 0x0D), (0x20, 0x20)]
_LINE_ENDS: Ranges = [(0x0A, 0x0A), (0x0D, 0x0D)]
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v"}


def literal(text: str) -> str:
    """GBNF for exactly this text."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def repeated(item: str, least: int, most: int | None) -> str:
    """GBNF for so many of an item, which must be one element."""
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (least, most or 0))
    require(whole and least >= 0, "a number of repetitions must be 0 or more")
    require(most is None or least <= most, f"there are no repetitions from {least} to {most}")
    require(least <= MOST_REPETITIONS, f"it can require at most {MOST_REPETITIONS} repetitions")
    # A smaller bound is stricter, so what follows it still validates.
    return f"{item}{{{least},{'' if most is None else min(most, MOST_REPETITIONS)}}}"


def pattern_rule(pattern: str) -> str:
    """GBNF for the characters of the strings a pattern matches; `char` must be a rule.

    Characters that JSON would escape are matched only where the pattern names them one by one, so
    the grammar may be stricter than the pattern, never looser.
    """
    parser = _Parser(pattern)
    rule = parser.alternatives(top=True)
    require(parser.rest == "", f"the pattern {pattern} has a parenthesis too many")
    return rule


class _Parser:
    """Recursive descent; `rest` is what has not been read yet."""

    def __init__(self, pattern: str) -> None:
        self._pattern = self.rest = pattern

    def alternatives(self, top: bool = False) -> str:
        found = [self._sequence(top)]
        while self._take("|"):
            found.append(self._sequence(top))
        return " | ".join(found)

    def _sequence(self, top: bool) -> str:
        items = [] if top and self._take("^") else ["char*"] if top else []
        ends = False
        while self.rest and self.rest[0] not in "|)":
            if top and self.rest[0] == "$" and self.rest[1:2] in ("", "|"):
                ends = self._take("$")
            else:
                items.append(self._quantified(self._atom()))
        if top and not ends:
            items.append("char*")
        return " ".join(items) or '""'

    def _quantified(self, atom: str) -> str:
        if self.rest[:1] in ("*", "+", "?"):
            atom, self.rest = atom + self.rest[0], self.rest[1:]
        elif self._take("{"):
            inside, closed, self.rest = self.rest.partition("}")
            least, comma, most = inside.partition(",")
            numbers = least.isdecimal() and (most.isdecimal() or most == "")
            self._require(closed == "}" and numbers, "has a quantifier that is not understood")
            bound = (int(most) if most else None) if comma else int(least)
            atom = repeated(atom, int(least), bound)
        else:
            return atom
        self._take("?")  # lazy or not, the same strings match
        self._require(self.rest[:1] not in ("*", "+", "?", "{"), "repeats a repetition")
        return f"({atom})"

    def _atom(self) -> str:
        if self._take("("):
            self._require(self._take("?:") or not self.rest.startswith("?"), "looks around")
            inside = self.alternatives()
            self._require(self._take(")"), "has a parenthesis too few")
            return f"({inside})"
        if self._take("["):
            return self._one_of(self._class())
        if self._take("."):
            return self._one_of(_complement(_LINE_ENDS))
        if self.rest[0] == "\\":
            escape = self._escape()
            return self._one_of(escape) if isinstance(escape, list) else _character(escape)
        self._require(
            self.rest[0] not in "^$*+?{", f"has a {self.rest[0]} where none is understood"
        )
        char, self.rest = self.rest[0], self.rest[1:]
        return _character(char)

    def _class(self) -> Ranges:
        negated, ranges = self._take("^"), Ranges()
        while not self._take("]"):
            self._require(self.rest != "", "has a bracket too few")
            low = self._class_member()
            if isinstance(low, list):
                ranges += low
            elif self.rest[:1] == "-" and self.rest[1:2] not in ("]", ""):
                self.rest = self.rest[1:]
                high = self._class_member()
                self._require(isinstance(high, str) and low <= high, "has a range out of order")
                ranges.append((ord(low), ord(str(high))))
            else:
                ranges.append((ord(low), ord(low)))
        return _complement(ranges) if negated else ranges

    def _class_member(self) -> str | Ranges:
        if self.rest[:1] == "\\":
            return self._escape()
        char, self.rest = self.rest[:1], self.rest[1:]
        return char

    def _escape(self) -> str | Ranges:
        """What stands after a backslash: a character, or a set of them."""
        kind, self.rest = self.rest[1:2], self.rest[2:]
        sets = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
        if kind.lower() in sets:
            ranges = sets[kind.lower()]
            return ranges if kind.islower() else _complement(ranges)
        digits = {"x": 2, "u": 4}.get(kind, 0)
        if digits:
            code, self.rest = self.rest[:digits], self.rest[digits:]
            self._require(all(c in "0123456789abcdefABCDEF" for c in code), "has a bad escape")
            self._require(len(code) == digits, "has a bad escape")
            return chr(int(code, 16))
        self._require(kind in _CONTROLS or (kind != "" and not kind.isalnum()), "has a bad escape")
        return _CONTROLS.get(kind, kind)

    def _one_of(self, ranges: Ranges) -> str:
        bare = _intersection(ranges, _BARE)
        self._require(bool(bare), "needs a character that JSON escapes")
        return "[" + "".join(f"\\U{low:08X}-\\U{high:08X}" for low, high in bare) + "]"

    def _take(self, text: str) -> bool:
        if not self.rest.startswith(text):
            return False
        self.rest = self.rest[len(text) :]
        return True

    def _require(self, condition: bool, complaint: str) -> None:
        require(condition, f"the pattern {self._pattern} {complaint}")


def _character(char: str) -> str:
    return literal(json.dumps(char, ensure_ascii=False)[1:-1])


def _complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    found, start = Ranges(), 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    return [*found, (start, 0x10FFFF)] if start <= 0x10FFFF else found


def _intersection(first: Ranges, second: Ranges) -> Ranges:
    pairs = ((max(a, c), min(b, d)) for a, b in first for c, d in second)
    return sorted((low, high) for low, high in pairs if low <= high)
