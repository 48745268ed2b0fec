"""The switch between spinning and sleeping barriers, in llama.cpp's own OpenMP library."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from spec_local.llama import backend, team
from spec_local.llama.model import Model
from spec_local.llama.openmp import IdleTeam, Threads, threads_by_load
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.llama.waiting import Waiting

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(sys.platform != "linux", reason="libgomp and /proc are Linux's"),
]


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def settled() -> int:
    """How many there are once those that are about to end have ended."""
    counts = [threads()]
    while len(counts) < 5 or len({*counts[-5:]}) > 1:
        time.sleep(0.05)
        counts.append(threads())
    return counts[-1]


def until(count: int) -> None:
    """Wait for threads to end, which they do by themselves."""
    for _ in range(500):
        if threads() <= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{threads()} threads, not {count}")


@pytest.fixture
def by_load(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """The choice for this process, of which nothing is chosen: it looks at no load."""
    usual, found = backend._threads, threads_by_load()
    assert found is not None
    monkeypatch.setattr(Waiting, "look", lambda _self, _threads: None)
    monkeypatch.setattr(backend, "_threads", found)
    if usual is not None:  # where the machine is busy it has chosen something by now
        usual.waiting.kept_on, usual.waiting.sleeping = None, False
        usual.waiting._switch(False)
        with usual.computing(2):
            pass
        settled()
    return found


def test_the_team_comes_and_goes_and_changes_no_bit(tiny: Path, by_load: Threads) -> None:
    switch = by_load.waiting._switch
    assert isinstance(switch, IdleTeam)
    with Model(tiny, LoadOptions(n_ctx=128, n_threads=2)) as model, Session(model) as session:
        spinning = session.evaluate([1, 270, 271, 272], rows=4).copy()
        before = settled()
        switch(True)
        assert threads() == before + 1 + (os.cpu_count() or 1)  # its keeper, and the others
        session.truncate(0)
        assert np.array_equal(session.evaluate([1, 270, 271, 272], rows=4), spinning)
        switch(False)
        until(before)
        session.truncate(0)
        assert np.array_equal(session.evaluate([1, 270, 271, 272], rows=4), spinning)


def places() -> list[set[int]]:
    """Where each thread of this process may run."""
    found = []
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError):  # it may have ended
            found.append(os.sched_getaffinity(int(thread)))
    return found


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is nowhere else to run")
def test_threads_keep_to_processors_while_they_compute_and_change_no_bit(
    tiny: Path, by_load: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "_UNDIVIDED_TOKENS", 0)  # else one thread would do
    everywhere = os.sched_getaffinity(0)
    one = frozenset({min(everywhere)})
    with Model(tiny, LoadOptions(n_ctx=128, n_threads=2)) as model, Session(model) as session:
        alone = session.evaluate([1, 270, 271, 272], rows=4).copy()
        assert one not in places()
        by_load.waiting.kept_on = one
        session.truncate(0)
        assert np.array_equal(session.evaluate([1, 270, 271, 272], rows=4), alone)
        assert os.sched_getaffinity(0) == everywhere  # whatever is started now inherits it
        assert places().count(set(one)) == 1  # the other thread, asleep
        with by_load.computing(2):
            assert os.sched_getaffinity(0) == one
        by_load.waiting.kept_on = None
        session.truncate(0)
        assert np.array_equal(session.evaluate([1, 270, 271, 272], rows=4), alone)
        assert one not in places()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is nowhere else to run")
def test_a_thread_with_a_place_of_its_own_keeps_it(by_load: Threads) -> None:
    low, high = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    by_load.waiting.kept_on = frozenset({low})
    seen = []

    def compute() -> None:
        os.sched_setaffinity(0, {high})
        with by_load.computing(2):
            seen.append(os.sched_getaffinity(0))
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert seen == [{high}, {high}]


def test_the_load_is_looked_at_before_evaluations(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    monkeypatch.setattr(backend, "_threads", threads_by_load())
    monkeypatch.setattr(Waiting, "look", lambda _self, threads: looked.append(threads))
    options = LoadOptions(n_ctx=128, n_threads=2, n_batch=32)
    with Model(tiny, options) as model, Session(model) as session:
        session.evaluate([1] * 40)
    assert looked == [2, 2]  # two batches


@pytest.mark.parametrize("variable", ["OMP_WAIT_POLICY=passive", "GOMP_SPINCOUNT=1000"])
def test_what_the_user_has_set_is_left_alone(variable: str) -> None:
    name, _, value = variable.partition("=")
    code = "from spec_local.llama import backend; print(backend._threads)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "None", done.stderr
