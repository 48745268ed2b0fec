"""What a round executes is what docs/overhead.json says: counted, as no clock is quiet enough."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.bench_overhead import CASES, PACKAGE, PYTHON, Counts, count
from spec_local.sampling.sampler import TokenSampler

pytestmark = pytest.mark.llama

RECORD = json.loads((Path(__file__).parents[1] / "docs" / "overhead.json").read_text())
OPTIONS = argparse.Namespace(**RECORD["options"])
WITHIN = 0.1
REFRESH = (
    "If that is meant: python -m scripts.bench_overhead --instructions --json docs/overhead.json, "
    f"with Python {RECORD['python']}, and say in the commit why."
)


def changes(drafter: str, temperature: float) -> list[str]:
    """What differs from the record by more than a tenth, in words."""
    before = Counts(**RECORD["found"][f"{drafter}, {temperature:g}"])
    now = count(OPTIONS, drafter, temperature)
    return [
        f"{name} a round: {new:,} where there were {old:,}"
        for name, new, old in zip(Counts._fields, now, before, strict=True)
        if abs(new - old) > WITHIN * old
    ]


@pytest.fixture(autouse=True)
def same_python() -> None:
    """Every release of Python compiles to other instructions."""
    if RECORD["python"] != PYTHON:
        pytest.skip(f"the record is of Python {RECORD['python']}")


@pytest.mark.parametrize(("drafter", "temperature"), CASES)
def test_a_round_executes_as_much_as_it_did(drafter: str, temperature: float) -> None:
    found = changes(drafter, temperature)
    assert not found, f"{'; '.join(found)}. {REFRESH}"


def in_the_package(source: str) -> Any:
    """The function `draw` of this source, as if it stood in one of the project's files."""
    names: dict[str, Any] = {"plainly": TokenSampler.draw}
    exec(compile(source, f"{PACKAGE}/slow.py", "exec"), names)
    return names["draw"]


@pytest.mark.parametrize(
    ("slow", "shows"),
    [
        ("for _ in range(50): pass", "instructions"),
        ("row.max()", "rows"),
    ],
)
def test_a_slow_loop_is_seen_and_so_is_another_look_at_all_logits(
    slow: str, shows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"def draw(self, row):\n    {slow}\n    return plainly(self, row)\n"
    monkeypatch.setattr(TokenSampler, "draw", in_the_package(source))
    (found,) = changes("none", 0.0)
    assert found.startswith(shows)
