"""How threads wait, chosen by the load: on a machine that is only numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from spec_local.llama.waiting import (
    BUSY,
    CALM_SECONDS,
    LOOK_SECONDS,
    STALE_SECONDS,
    Load,
    Waiting,
    linux_load,
)


class Machine:
    """Two processors; this process uses both while it evaluates."""

    def __init__(self, others: float = 0.0) -> None:
        self.now, self.busy, self.own = 100.0, 5.0, 3.0
        self.others, self.running = others, 1
        self.switched: list[bool] = []
        self.waiting = Waiting(
            lambda: Load(self.busy, self.running),
            self.switched.append,
            clock=lambda: self.now,
            own_seconds=lambda: self.own,
            processors=2,
        )

    def evaluate(self, seconds: float, threads: int = 2) -> None:
        """Evaluations one after the other, each of a twentieth of a second."""
        for _ in range(round(seconds / 0.05)):
            self.waiting.look(threads)
            mine = 0.05 * max(0.0, 2 - self.others)
            self.now, self.own = self.now + 0.05, self.own + mine
            self.busy += mine + 0.05 * self.others


def test_alone_they_spin() -> None:
    machine = Machine()
    machine.evaluate(5)
    assert machine.switched == []


def test_beside_others_they_sleep_from_the_first_look_on() -> None:
    machine = Machine(others=1.0)
    machine.evaluate(LOOK_SECONDS + 0.11)
    assert machine.switched == [True]
    machine.evaluate(5)
    assert machine.switched == [True]


def test_they_follow_the_load_in_both_directions() -> None:
    machine = Machine()
    machine.evaluate(1)
    machine.others = 0.8
    machine.evaluate(1)
    assert machine.waiting.sleeping
    machine.others = 0.0
    machine.evaluate(CALM_SECONDS / 2)
    assert machine.waiting.sleeping  # whoever compiles starts the next file
    machine.evaluate(CALM_SECONDS + 2 * LOOK_SECONDS)
    assert not machine.waiting.sleeping
    assert machine.switched == [True, False]


def test_short_pauses_of_the_others_change_nothing() -> None:
    machine = Machine(others=1.0)
    for _ in range(10):
        machine.others = 1.0
        machine.evaluate(0.5)
        machine.others = 0.0
        machine.evaluate(0.5)
    assert machine.switched == [True]


def test_what_leaves_enough_processors_does_not_disturb() -> None:
    machine = Machine(others=1.0)
    machine.evaluate(3, threads=1)
    assert machine.switched == []
    machine.others = 1.0 + 2 * BUSY
    machine.evaluate(1, threads=1)
    assert machine.switched == [True]


def test_after_a_long_silence_this_moment_counts() -> None:
    machine = Machine()
    machine.evaluate(1)
    machine.now += 3600.0  # others worked for half of it, and have ended
    machine.busy += 3600.0
    machine.evaluate(0.05)
    assert machine.switched == []
    machine.now += 2 * STALE_SECONDS
    machine.running = 3  # the one that asks, and two of a compiler that has just begun
    machine.evaluate(0.05)
    assert machine.switched == [True]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_linux_tells_its_load(tmp_path: Path) -> None:
    before = linux_load()
    assert before.running >= 1
    assert linux_load().busy_seconds >= before.busy_seconds > 0
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 5000 700 8 9 33 40 0\ncpu0 1 1\nprocs_running 4\n")
    assert linux_load(stat) == Load(2.0, 4)
