"""The script that measures ways to wait, on a tiny model and for a moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.busy_machine import PHASES, _phases
from tests.documents import ROOT
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

SETTINGS = ["by the load (ours)", "llama-cpp-python"]


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "scripts.busy_machine", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_it_measures_keeps_and_shows(tmp_path: Path) -> None:
    tiny, data = write_tiny(tmp_path / "tiny.gguf"), tmp_path / "busy.json"
    model = ("--model", str(tiny), "--file", str(tiny))
    size = ("--competitors", "1", "--rounds", "1", "--seconds", "0.4", "1.4", "0.4")
    printed = run(*model, *size, "--settings", *SETTINGS, "--json", str(data))
    kept = json.loads(data.read_text())
    assert [each["setting"] for each in kept["found"]] == SETTINGS
    for each in kept["found"]:
        assert list(each["speeds"]) == list(PHASES)
        assert any(each["speeds"].values())
    shown = run("--show", str(data))
    assert printed.endswith(shown)
    assert len(shown.splitlines()) == 2 + len(SETTINGS)


def test_a_token_belongs_to_the_phase_in_which_the_one_before_it_came() -> None:
    answers = [[0.0, 0.5, 1.0, 1.5], [10.2, 10.4, 10.6], [11.5, 12.5, 13.0], [20.5, 21.0, 21.25]]
    speeds, first_token = _phases(answers, started=10.0, ended=20.0)
    assert speeds == {"idle": 2.0, "first busy second": 5.0, "busy": 2.0, "idle again": 4.0}
    assert first_token == pytest.approx(0.6)
