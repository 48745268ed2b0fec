"""The figures of docs/decisions/ are what the committed data says."""

from __future__ import annotations

import json
from pathlib import Path

from tests.schema_record import keywords, table, verdict

DECISIONS = Path(__file__).parent.parent / "docs" / "decisions"


def test_the_record_of_schemas_shows_what_was_measured() -> None:
    page = (DECISIONS / "schema-grammar.md").read_text()
    data = json.loads((DECISIONS / "data" / "schema-engines.json").read_text())
    assert table(data) in page
    assert keywords(data) in page


def test_a_keyword_is_ignored_if_one_forbidden_answer_gets_through() -> None:
    walks = {"ended": 2, "valid": 2}
    row = {"invalid allowed": [False], "valid allowed": [True], "walks": walks}
    assert verdict(row) == "obeyed"
    assert verdict(row | {"valid allowed": [True, False]}) == "obeyed strictly"
    assert verdict(row | {"invalid allowed": [False, True]}) == "ignored"
    assert verdict(row | {"walks": {"ended": 2, "valid": 1}}) == "ignored"
    assert verdict({"refused": "because"}) == "refused"
