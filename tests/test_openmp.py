"""The switch between spinning and sleeping barriers, in llama.cpp's own OpenMP library."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from spec_local.llama import backend
from spec_local.llama.model import Model
from spec_local.llama.openmp import IdleTeam, waiting
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.llama.waiting import Waiting

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(sys.platform != "linux", reason="libgomp and /proc are Linux's"),
]


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def until(count: int) -> None:
    """Wait for threads to end, which they do by themselves."""
    for _ in range(500):
        if threads() <= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{threads()} threads, not {count}")


def test_the_team_comes_and_goes_and_changes_no_bit(tiny: Path) -> None:
    found = waiting()
    assert found is not None
    switch = found._switch
    assert isinstance(switch, IdleTeam)
    with Model(tiny, LoadOptions(n_ctx=128, n_threads=2)) as model, Session(model) as session:
        spinning = session.evaluate([1, 270, 271, 272], rows=4).copy()
        before = threads()
        switch(True)
        assert threads() == before + 1 + (os.cpu_count() or 1)  # its keeper, and the others
        session.truncate(0)
        assert np.array_equal(session.evaluate([1, 270, 271, 272], rows=4), spinning)
        switch(False)
        until(before)
        session.truncate(0)
        assert np.array_equal(session.evaluate([1, 270, 271, 272], rows=4), spinning)


def test_the_load_is_looked_at_before_evaluations(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    monkeypatch.setattr(backend, "_waiting", waiting())
    monkeypatch.setattr(Waiting, "look", lambda _self, threads: looked.append(threads))
    options = LoadOptions(n_ctx=128, n_threads=2, n_batch=32)
    with Model(tiny, options) as model, Session(model) as session:
        session.evaluate([1] * 40)
    assert looked == [2, 2]  # two batches


@pytest.mark.parametrize("variable", ["OMP_WAIT_POLICY=passive", "GOMP_SPINCOUNT=1000"])
def test_what_the_user_has_set_is_left_alone(variable: str) -> None:
    name, _, value = variable.partition("=")
    code = "from spec_local.llama import backend; print(backend._waiting)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "None", done.stderr
