"""The script that counts missed frames, on a clock of its own and on a tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.ticks import PERIOD, Ticks, counted, lateness, table
from tests.documents import ROOT

pytestmark = pytest.mark.llama


class Clock:
    """Time passes only in sleep; the third sleep takes two and a half periods too long."""

    def __init__(self) -> None:
        self.now, self.sleeps = 100.0, 0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        self.now += seconds + (2.5 * PERIOD if self.sleeps == 3 else 0)


def test_what_was_due_meanwhile_is_missed_too() -> None:
    clock = Clock()
    late = lateness(10 * PERIOD, clock=clock, sleep=clock.sleep)
    assert [round(each / PERIOD, 3) for each in late] == [0, 0, 2.5, 1.5, 0.5, 0, 0, 0, 0, 0]
    assert counted("idle", late, 0)[1:3] == (10, 2)


def test_shares_are_of_all_turns() -> None:
    found = [
        Ticks("idle", 100, 0, 0.001, 0),
        Ticks("generating", 100, 3, 0.05, 9),
        Ticks("generating", 300, 1, 0.02, 9),
    ]
    assert table(found)[2:] == [
        "| idle | 100 | 0 | 0.00 % | 1.0 ms |",
        "| generating | 400 | 4 | 1.00 % | 50.0 ms |",
    ]


def test_it_measures_keeps_and_shows(tiny: Path, tmp_path: Path) -> None:
    data = tmp_path / "ticks.json"
    command = [sys.executable, "-m", "scripts.ticks"]
    size = ["--model", str(tiny), "--turns", "1", "--seconds", "0.3", "--tokens", "5"]
    outs = [
        subprocess.run(
            [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for arguments in ([*size, "--json", str(data)], ["--show", str(data)])
    ]
    assert outs[0] == outs[1]
    idle, generating = json.loads(data.read_text())
    assert (idle["state"], generating["state"]) == ("idle", "generating")
    assert idle["ticks"] == generating["ticks"] == 18
    assert generating["tokens"] > idle["tokens"] == 0
