"""How much of a GBNF grammar can come first: asked before llama.cpp, which walks all of it.

llama.cpp looks at everything that a rule can begin with, by recursion and, where things may be left
out, along every way through them: a few lines can take it hours, and nothing stops it. So the ways
are counted here, in the time it takes to read the grammar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from spec_local.errors import ConfigError, require
from spec_local.sampling.gbnf_reader import BLANK_LINES, HEAD, ITEM

_MOST_CHARACTERS = 1_000_000
_MOST_WAYS = 10_000
"""Ways that a rule can begin; llama.cpp compares each with each, a second for so many."""
_MOST_RULES, _MOST_ROUNDS = 10_000, 100
_MOST_IN_A_ROW = 300
"""Things in a row that may all be left out; its time grows with the third power of them."""


class _Part(NamedTuple):
    """A part of a sequence: the name of a rule, a group of sequences, or text if it is neither."""

    rule: str | None
    group: list[list[_Part]]
    optional: bool = False
    times: int = 1
    """How often it is written out at most."""


_Sequences = list[list[_Part]]


def require_small(grammar: str) -> None:
    """Raise ConfigError for a readable grammar that llama.cpp would not come to an end with."""
    _require(len(grammar) <= _MOST_CHARACTERS)
    rules = dict(_rules(grammar))
    _require(len(rules) <= _MOST_RULES)
    empty = _left_out(rules)
    first = {name: set(_first(sequences, empty)) for name, sequences in rules.items()}
    ways: dict[str, int] = {}
    try:
        for name in TopologicalSorter(first).static_order():
            ways[name] = _ways(rules[name], empty, ways)
    except CycleError as error:
        rule = error.args[1][0]
        raise ConfigError(
            f"The grammar cannot be used: left recursion, as {rule} begins with itself."
        ) from None


def _require(small: bool) -> None:
    require(small, "The grammar can begin in too many ways; use fewer or simpler rules.")


def _rules(grammar: str) -> Iterator[tuple[str, _Sequences]]:
    """Each rule's name and what it may be."""
    at = _after_blank(grammar, 0)
    while head := HEAD.match(grammar, at):
        at = _after_blank(grammar, head.end())
        open_groups: list[_Sequences] = [[[]]]
        while item := ITEM.match(grammar, at):
            if HEAD.match(grammar, at) and len(open_groups) == 1:
                break
            _take(item.groupdict(), open_groups)
            at = _after_blank(grammar, item.end())
        yield head["name"], open_groups[0]


def _take(item: Mapping[str, str | None], groups: list[_Sequences]) -> None:
    """Put an item where it belongs; groups: those that are open, the outermost first."""
    sequence = groups[-1][-1]
    mark, sign = item["mark"], item["sign"]
    if mark == "(":
        groups.append([[]])
    elif mark == ")":
        closed = groups.pop()
        groups[-1][-1].append(_Part(None, closed))
    elif mark == "|":
        groups[-1].append([])
    elif sign or item["least"]:
        least = {"*": 0, "+": 1, "?": 0}[sign] if sign else int(item["least"] or 0)
        most = int(item["most"] or least) if not sign else 1
        sequence[-1] = sequence[-1]._replace(optional=least == 0, times=max(1, most))
    elif item["literal"] != "" and item["characters"] != "":  # else it is nothing
        sequence.append(_Part(item["name"], []))


def _after_blank(text: str, at: int) -> int:
    found = BLANK_LINES.match(text, at)
    assert found is not None  # it matches nothing, too
    return found.end()


def _left_out(rules: Mapping[str, _Sequences]) -> set[str]:
    """Names of the rules that may be nothing at all."""
    empty = set[str]()
    names = list(rules)
    for _round in range(_MOST_ROUNDS):
        before = len(empty)
        empty |= {name for name in names if name not in empty and _may_be_empty(rules[name], empty)}
        if len(empty) == before:
            return empty
    _require(False)
    return empty


def _may_be_empty(sequences: _Sequences, empty: set[str]) -> bool:
    return any(all(_is_optional(part, empty) for part in sequence) for sequence in sequences)


def _is_optional(part: _Part, empty: set[str]) -> bool:
    return part.optional or _is_nothing(part, empty)


def _is_nothing(part: _Part, empty: set[str]) -> bool:
    """Whether what is repeated may itself be nothing."""
    return part.rule in empty or (bool(part.group) and _may_be_empty(part.group, empty))


def _begin(sequence: list[_Part], empty: set[str]) -> Iterator[_Part]:
    """The parts that may come first."""
    for part in sequence:
        yield part
        if not _is_optional(part, empty):
            break


def _first(sequences: _Sequences, empty: set[str]) -> Iterator[str]:
    """Names of the rules that may come first."""
    for sequence in sequences:
        for part in _begin(sequence, empty):
            if part.rule is not None:
                yield part.rule
            yield from _first(part.group, empty)


def _ways(sequences: _Sequences, empty: set[str], known: Mapping[str, int]) -> int:
    """In how many ways they can begin; known: the same of the rules that may come first."""
    found = 1
    for sequence in sequences:
        in_a_row = 0
        for part in _begin(sequence, empty):
            begun = known[part.rule] if part.rule is not None else _ways(part.group, empty, known)
            # Of optional repetitions llama.cpp nests each in the one before: only one comes first.
            written = part.times if _is_nothing(part, empty) else 1
            found += begun * written
            in_a_row += written
            _require(found <= _MOST_WAYS and in_a_row <= _MOST_IN_A_ROW)
    return found
