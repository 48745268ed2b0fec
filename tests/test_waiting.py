"""How threads wait, chosen by the load: on a machine that is only numbers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from spec_local.llama.waiting import (
    ALARM_SECONDS,
    BRIEF_SECONDS,
    BUSY,
    CALM_SECONDS,
    LOOK_SECONDS,
    STALE_SECONDS,
    Load,
    Waiting,
    linux_load,
)


class Machine:
    """Processors of which others use some; this process takes what is left of those it is on."""

    def __init__(self, *others: float) -> None:
        """others: how much of each processor other processes use."""
        self.now, self.own, self.running = 100.0, 3.0, 1
        self.others, self.busy = list(others), [5.0] * len(others)
        self.tick = 1e-9
        self.share = 1.0
        """How much of what is left of a processor this process takes."""
        self.switched: list[bool] = []
        self.running_soon: int | None = None
        """Threads that run after a moment's wait; None: as many as now."""
        self.waiting = Waiting(
            self.load,
            self.switched.append,
            clock=lambda: self.now,
            own_seconds=lambda: self.own,
            wait=self.wait,
            processors=frozenset(range(len(others))),
        )

    def load(self) -> Load:
        """What is counted so far, in whole ticks."""
        busy, counted = (
            {each: seconds // self.tick * self.tick for each, seconds in enumerate(kind)}
            for kind in (self.busy, [self.now] * len(self.busy))
        )
        return Load(busy, counted, self.running)

    def evaluate(self, seconds: float, threads: int = 2, each_seconds: float = 0.05) -> None:
        """Evaluations one after the other, each of a twentieth of a second or as long as said."""
        for _ in range(round(seconds / each_seconds)):
            self.waiting.look(threads)
            self.now += each_seconds
            kept_on = self.waiting.kept_on or set(range(threads))
            for each, others in enumerate(self.others):
                mine = self.share * (1.0 - others) if each in kept_on else 0.0
                self.own += each_seconds * mine
                self.busy[each] += each_seconds * (mine + others)
            self.waiting.computed()

    def wait(self, seconds: float) -> None:
        """A moment."""
        self.now += seconds
        self.running = self.running_soon or self.running

    def pause(self, seconds: float, others: list[float]) -> None:
        """Others work meanwhile, and this process does not."""
        self.now += seconds
        for each, used in enumerate(others):
            self.busy[each] += seconds * used


def test_alone_they_spin_anywhere() -> None:
    machine = Machine(0.0, 0.0)
    machine.evaluate(5)
    assert machine.switched == []
    assert machine.waiting.kept_on is None


def test_beside_others_they_sleep_from_the_first_look_on() -> None:
    machine = Machine(1.0, 0.0)
    machine.evaluate(LOOK_SECONDS + 0.11)
    assert machine.switched == [True]
    machine.evaluate(5)
    assert machine.switched == [True]


@pytest.mark.parametrize(
    ("others", "threads", "room"),
    [
        ((0.0, 1.0), 2, 1),
        ((1.0, 1.0), 2, 1),  # at least one
        ((0.0, 1.0), 1, None),  # one thread needs no more than is left
        ((0.4, 0.0), 2, None),
        ((1.0, 0.0, 0.0, 1.0), 4, 2),
        ((1.0, 0.0, 0.0, 0.0), 4, 3),
        ((1.0, 0.0, 0.0, 0.0), 3, None),
    ],
)
def test_they_keep_to_as_many_processors_as_are_free(
    others: tuple[float, ...], threads: int, room: int | None
) -> None:
    machine = Machine(*others)
    machine.evaluate(2, threads)
    kept_on = machine.waiting.kept_on
    assert (None if kept_on is None else len(kept_on)) == room


@pytest.mark.parametrize(("others", "best"), [((1.0, 0.0), 1), ((0.0, 1.0), 0)])
def test_they_keep_to_those_that_others_use_least(others: tuple[float, ...], best: int) -> None:
    machine = Machine(*others)
    machine.share = 0.5  # threads that wait leave some of a processor idle
    machine.evaluate(2)
    assert machine.waiting.kept_on == frozenset({best})


def test_they_follow_the_load_in_both_directions() -> None:
    machine = Machine(0.0, 0.0)
    machine.evaluate(3)
    machine.others = [0.0, 0.8]
    machine.evaluate(1)
    assert machine.waiting.sleeping
    machine.others = [0.0, 0.0]
    machine.evaluate(CALM_SECONDS + LOOK_SECONDS + 0.1)
    assert not machine.waiting.sleeping
    assert machine.waiting.kept_on is None
    assert machine.switched == [True, False]


def test_for_short_visits_they_soon_sleep_no_more() -> None:
    machine = Machine(0.0, 0.0)

    def visits(count: int, seconds: float) -> None:
        for _ in range(count):
            machine.others = [1.0, 0.0]
            machine.evaluate(seconds)
            machine.others = [0.0, 0.0]
            machine.evaluate(1.5)

    visits(20, 0.3)
    assert machine.switched == [True, False] * 2
    machine.others = [1.0, 0.0]  # this one stays
    machine.evaluate(BRIEF_SECONDS + 0.1)
    assert machine.waiting.sleeping
    machine.evaluate(5)
    machine.others = [0.0, 0.0]
    machine.evaluate(CALM_SECONDS + LOOK_SECONDS + 0.1)
    assert not machine.waiting.sleeping
    machine.evaluate(5)
    machine.others = [1.0, 0.0]  # and so may the next
    machine.evaluate(ALARM_SECONDS + LOOK_SECONDS + 0.1)
    assert machine.waiting.sleeping


def test_short_pauses_of_the_others_change_nothing() -> None:
    machine = Machine(1.0, 0.0)
    for _ in range(20):
        machine.others = [1.0, 0.0]
        machine.evaluate(0.5)
        machine.others = [0.0, 0.0]
        machine.evaluate(CALM_SECONDS - 0.05)
    assert machine.switched == [True]


@pytest.mark.parametrize("seconds", [0.03, 0.05, 0.07])
def test_ticks_of_many_processors_are_no_load(seconds: float) -> None:
    machine = Machine(*[0.0] * 64)
    machine.tick = 0.01
    machine.evaluate(5, threads=64, each_seconds=seconds + 1e-4)
    assert machine.switched == []


def test_what_leaves_enough_processors_does_not_disturb() -> None:
    machine = Machine(0.0, 1.0)
    machine.evaluate(3, threads=1)
    assert machine.switched == []
    machine.others = [2 * BUSY, 1.0]
    machine.evaluate(1, threads=1)
    assert machine.switched == [True]


def test_after_a_long_silence_this_moment_counts() -> None:
    machine = Machine(0.0, 0.0)
    machine.evaluate(1)
    machine.now += 3600.0  # others worked for half of it, and have ended
    machine.busy = [each + 1800.0 for each in machine.busy]
    machine.evaluate(0.05)
    assert machine.switched == []
    machine.now += 2 * STALE_SECONDS
    machine.running = 3  # the one that asks, and two of a compiler that has just begun
    machine.evaluate(0.05)
    assert machine.switched == [True]


def test_who_takes_turns_with_us_is_no_company() -> None:
    machine = Machine(0.0, 0.0)
    for _ in range(3):
        machine.evaluate(1)
        machine.pause(1, others=[1.0, 1.0])
        machine.evaluate(0.2)
    assert machine.switched == []


def test_who_ends_just_then_is_no_company_for_long() -> None:
    machine = Machine(0.0, 0.0)
    for _ in range(3):
        machine.evaluate(1)
        machine.pause(1, others=[1.0, 1.0])
        machine.running = 2
        machine.evaluate(0.05)
        assert machine.waiting.sleeping
        machine.evaluate(LOOK_SECONDS + 0.05)
        assert not machine.waiting.sleeping


def test_a_thread_of_our_own_that_is_about_to_sleep_is_no_company() -> None:
    machine = Machine(0.0, 0.0)
    machine.evaluate(1)
    machine.pause(1, others=[1.0, 1.0])
    machine.running, machine.running_soon = 2, 1
    machine.evaluate(1)
    assert machine.switched == []


def test_who_goes_on_is_company_from_the_first_moment_on() -> None:
    machine = Machine(0.0, 0.0)
    machine.evaluate(1)
    machine.pause(1, others=[1.0, 1.0])
    machine.running, machine.others = 2, [1.0, 0.0]
    for _ in range(40):
        machine.evaluate(0.05)
        assert machine.waiting.sleeping
    assert machine.switched == [True]


def test_a_moments_thread_is_no_company() -> None:
    machine = Machine(0.0, 0.0)
    machine.evaluate(1)
    machine.pause(1, others=[0.05, 0.0])
    machine.running = 3
    machine.evaluate(0.2)
    assert machine.switched == []


def test_a_long_prompt_is_not_taken_for_a_silence() -> None:
    """Right after it, the threads that computed it still spin, and count as running."""
    machine = Machine(0.0, 0.0)
    machine.running = 3
    machine.evaluate(8 * STALE_SECONDS, each_seconds=4 * STALE_SECONDS)
    machine.evaluate(1)
    assert machine.switched == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_linux_tells_its_load(tmp_path: Path) -> None:
    before = linux_load()
    assert before.running >= 1
    after = linux_load()
    for now, then in zip(after[:2], before[:2], strict=True):
        assert all(now[each] >= seconds > 0 for each, seconds in then.items())
    stat = tmp_path / "stat"
    lines = (
        "cpu  1 1 1 1 1 1 1 1 1 0",
        "cpu0 100 20 30 5000 700 8 9 33 40 0",
        "cpu3 1 1 1 9 0 0 0 0",
    )
    stat.write_text("\n".join([*lines, "intr 7", "procs_running 4"]))
    assert linux_load(stat) == Load({0: 2.0, 3: 0.03}, {0: 59.0, 3: 0.12}, 4)
