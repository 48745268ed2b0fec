"""What docs/decisions/schema-grammar.md shows, from what was measured."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

COLUMNS = ("own", "llguidance", "llguidance, defaults")

Data = dict[str, Any]
Figure = Callable[[Data, str], str]
"""A cell of the table, by the engine's name."""


def table(data: Data) -> str:
    """Markdown: a line for each figure, a column for each engine."""
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, figure in FIGURES.items():
        lines.append(f"| {name} | " + " | ".join(figure(data, engine) for engine in COLUMNS) + " |")
    return "\n".join(lines) + "\n"


def keywords(data: Data) -> str:
    """Markdown: the keywords by what the first two engines make of them, where they differ."""
    verdicts: dict[str, list[str]] = {}
    for row in data["features"]:
        if row["engine"] in COLUMNS[:2]:
            verdicts.setdefault(row["feature"], []).append(verdict(row))
    groups: dict[tuple[str, ...], list[str]] = {}
    for feature, found in verdicts.items():
        groups.setdefault(tuple(found), []).append(feature)
    return "".join(
        f"- own *{group[0]}*, llguidance *{group[1]}*: {'; '.join(groups[group])}\n"
        for group in sorted(groups)
        if set(group) != {"obeyed"}
    )


def verdict(row: dict[str, Any]) -> str:
    """What became of a keyword.

    refused: with a sentence. ignored: an answer that it forbids got through. obeyed: none did.
    obeyed strictly: none did, nor did some answer that it allows.
    """
    if "refused" in row:
        return "refused"
    if any(row["invalid allowed"]) or row["walks"]["valid"] < row["walks"]["ended"]:
        return "ignored"
    return "obeyed" if all(row["valid allowed"]) else "obeyed strictly"


def _keywords(*kinds: str) -> Figure:
    def count(data: Data, engine: str) -> str:
        rows = [row for row in data["features"] if row["engine"] == engine]
        return f"{sum(verdict(row) in kinds for row in rows)} of {len(rows)}"

    return count


def _share(part: str, of: str, where: str) -> Figure:
    def share(data: Data, engine: str) -> str:
        return f"{_sum(part, where, data, engine)} of {_sum(of, where, data, engine)}"

    return share


def _total(part: str, where: str) -> Figure:
    return lambda data, engine: str(_sum(part, where, data, engine))


def _sum(part: str, where: str, data: Data, engine: str) -> int:
    return sum(row[part] for row in data[where] if row["engine"] == engine)


def _microseconds(what: str) -> Figure:
    def shown(data: Data, engine: str) -> str:
        return f"{median(each['microseconds'][engine][what] for each in data['times']):,.0f}"

    return shown


def _library(figure: Callable[[Data], float], form: str) -> Figure:
    """A figure of the library alone."""
    return lambda data, engine: "" if engine == "own" else format(figure(data), form)


def _lines(data: Data, engine: str) -> str:
    return str(sum(data["facts"]["own lines"].values())) if engine == "own" else ""


FIGURES: dict[str, Figure] = {
    "keywords obeyed": _keywords("obeyed", "obeyed strictly"),
    "… and every valid answer tried is possible": _keywords("obeyed"),
    "keywords refused with a sentence": _keywords("refused"),
    "keywords accepted and ignored": _keywords("ignored"),
    "random walks that validate, of those that ended": _share("valid", "ended", "walks"),
    "… that hold bytes that are not UTF-8": _share("broken", "ended", "walks"),
    "the others' valid texts let through": _share("allowed", "asked", "exchanged"),
    "positions where one question and many disagree": _total("unlike", "walks"),
    "the model's answers that ended": _share("ended", "texts", "answers"),
    "… and validate": _share("valid", "ended", "answers"),
    "µs per token, the sampler's questions": _microseconds("token"),
    "µs for the whole vocabulary": _microseconds("vocabulary"),
    "µs for a copy": _microseconds("copy"),
    "µs to follow a copy": _microseconds("follow"),
    "µs to compile": _microseconds("compile"),
    "ms once per vocabulary": _library(lambda d: 1e3 * d["once per vocabulary"]["seconds"], ".0f"),
    "MB once per vocabulary": _library(lambda d: d["once per vocabulary"]["bytes"] / 1e6, ".0f"),
    "MB installed": _library(lambda d: d["facts"]["bytes installed"] / 1e6, ".1f"),
    "lines of the project that go": _lines,
}
