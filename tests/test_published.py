"""Published figures are what the committed data says, computed by the committed scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scripts.exact_speed import summary

pytestmark = pytest.mark.llama

DOCS = Path(__file__).parent.parent / "docs"


def table_after(page: str, heading: str) -> dict[str, list[str]]:
    """The first table after a heading, its cells by the first one of each row."""
    rest = page[page.index(heading) :]
    rows = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert rows is not None
    cells = [[c.strip() for c in row.strip("|\n").split("|")] for row in rows[0].splitlines()]
    return {row[0]: row[1:] for row in cells if not set(row[0]) <= {"-"}}


@pytest.mark.parametrize(("column", "model"), list(enumerate(["Q8_0", "Q4_K_M"])))
def test_what_exact_modes_cost(column: int, model: str) -> None:
    data = json.loads((DOCS / "exactness" / f"speed-{model}.json").read_text())
    published = table_after((DOCS / "exactness.md").read_text(), "## What it costs")
    found = summary(data["answers"])
    names = {
        "free plain": None,  # 1 by definition
        "free auto": "free `auto`",
        "certified plain": "exact plain decoding",
        "certified auto": "exact `auto`",
    }
    assert set(found) == set(names)
    for name, row in names.items():
        if row is not None:
            figures = found[name]
            assert published[row][column] == (
                f"{figures['median']:.2f} ({figures['geometric mean']:.2f}; "
                f"{figures['least']:.2f} to {figures['greatest']:.2f})"
            )
