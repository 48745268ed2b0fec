"""What people see at several widths: the pages are whole, and no word of ours is cut."""

from __future__ import annotations

import itertools
import re
import shutil
from pathlib import Path

import pytest

from scripts.transcripts import COLUMNS, FLOWS, Flow, Step, Terminal, transcript
from tests.documents import ROOT

pytestmark = pytest.mark.llama

PAGES = ROOT / "docs" / "transcripts"


def screens(columns: int) -> dict[str, list[str]]:
    """The rows of every flow, by its title."""
    page = (PAGES / f"{columns}.md").read_text(encoding="utf-8")
    found = re.findall(r"## ([^\n]*)\n\n```text\n(.*?)\n```", page, re.DOTALL)
    return {title: text.split("\n") for title, text in found}


@pytest.mark.parametrize("columns", COLUMNS)
def test_every_flow_is_shown_and_fits(columns: int) -> None:
    found = screens(columns)
    assert [*found] == [flow.title for flow in FLOWS]
    for rows in found.values():
        assert max(map(len, rows)) <= columns
        assert "Traceback" not in "".join(rows)


@pytest.mark.parametrize("columns", COLUMNS)
def test_no_word_is_cut_at_the_margin(columns: int) -> None:
    """Two halves would be a word of the widest page, where every sentence fits.

    What was typed may be cut, and what `generate` writes, which is the model's as it is.
    """
    whole = {word for rows in screens(COLUMNS[-1]).values() for word in " ".join(rows).split()}
    for title, rows in screens(columns).items():
        for row, following in itertools.pairwise(rows):
            ours = title != "One answer" and not row.startswith(("$ ", "> "))
            if ours and len(row) == columns and row[-1].isalnum() and following[:1].isalnum():
                assert row.split()[-1] + following.split()[0] not in whole, f"{row}\n{following}"


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_session_is_typed_and_written_down(tmp_path: Path) -> None:
    with Terminal(40, tmp_path) as terminal:
        terminal.do(Step("read -p 'name? ' it", "name"))
        terminal.do(Step("Ada"))
        terminal.do(Step("echo hello $it"))
        rows = terminal.text().splitlines()
    assert rows == ["$ read -p 'name? ' it", "name? Ada", "$ echo hello $it", "hello Ada", "$"]


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_a_page_has_what_the_terminal_had(tmp_path: Path) -> None:
    page = "".join(transcript(40, tmp_path / "you", [Flow("Echo", [Step("echo hi")])]))
    assert page.endswith("## Echo\n\n```text\n$ echo hi\nhi\n```\n")
