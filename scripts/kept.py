"""Measuring and showing: what scripts that keep their figures in a JSON file have in common."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

Found = TypeVar("Found", bound=NamedTuple)


def measure_or_show(
    parser: argparse.ArgumentParser,
    kind: Callable[..., Found],
    measure: Callable[[argparse.Namespace], Iterable[Found]],
    table: Callable[[Sequence[Found]], list[str]],
) -> None:
    """Print the table of what is measured now, and keep it with --json; or that of --show FILE.

    kind: makes one of the findings from its fields by name.
    """
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=Path)
    how = parser.parse_args()
    kept: list[dict[str, Any]] | None = json.loads(how.show.read_text()) if how.show else None
    found = list(measure(how)) if kept is None else [kind(**each) for each in kept]
    print("\n".join(table(found)))
    if how.json:
        how.json.write_text(json.dumps([each._asdict() for each in found], indent=1) + "\n")


def fill(page: Path, mark: str, found: str) -> None:
    """Put what was found after a mark, a line of its own, in the place of all up to a heading."""
    lines = page.read_text(encoding="utf-8").split("\n")
    begin = lines.index(mark) + 1
    end = begin
    while end < len(lines) and not lines[end].startswith("#"):
        end += 1
    page.write_text("\n".join([*lines[:begin], *found.split("\n"), "", *lines[end:]]), "utf-8")
