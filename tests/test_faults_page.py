"""The page of faults names tests that exist, one for every fault at least."""

from __future__ import annotations

import re

import pytest

from tests.documents import ROOT

PAGE = ROOT / "docs" / "faults.md"
ROW = re.compile(r"^\| (?!fault )(?P<fault>[^|]+) \| (?P<now>[^|]+) \| (?P<tests>[^|]+) \|$", re.M)
TEST = re.compile(r"\[`(\w+\.py)::(\w+)`\]\(\.\./tests/(\w+\.py)\)")

FAULTS = [(row["fault"].strip(), row["tests"]) for row in ROW.finditer(PAGE.read_text("utf-8"))]


def test_every_row_is_one() -> None:
    faults, _, _ = PAGE.read_text("utf-8").partition("\n## ")
    rows = [line for line in faults.splitlines() if line.startswith("| ")]
    assert len(FAULTS) == len(rows) - 1 > 30


@pytest.mark.parametrize(("fault", "named"), FAULTS, ids=[fault[:60] for fault, _ in FAULTS])
def test_the_tests_that_a_fault_names_exist(fault: str, named: str) -> None:
    found = TEST.findall(named)
    assert len(found) == named.count("`](") > 0, fault
    for file, test, linked in found:
        assert file == linked
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert re.search(rf"^(?:async )?def {test}\(", source, re.M), f"{file}::{test}"
