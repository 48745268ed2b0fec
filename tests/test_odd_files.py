"""The script that counts odd files blames the right one, and knows dying from hanging."""

from __future__ import annotations

import subprocess
import sys

import pytest

from scripts import odd_files


@pytest.mark.parametrize(
    ("ends", "hung"), [("raise SystemExit(3)", False), ("import time; time.sleep(60)", True)]
)
def test_lines_before_the_end_are_those_of_other_files(
    ends: str, hung: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odd_files, "SECONDS", 2)
    code = f"print('one'); print('two'); print('thr', end='', flush=True); {ends}"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        found = [odd_files._line_of(child) for _ in range(3)]
    assert found == [("one\n", False), ("two\n", False), ("thr", hung)]
