"""What others do meanwhile: counted without what we do ourselves."""

from __future__ import annotations

from spec_local.machine.others import Others


def test_processors_of_others_are_counted_without_our_own() -> None:
    now = {"busy": 100.0, "own": 7.0, "clock": 50.0}
    others = Others(lambda: now["busy"], lambda: now["clock"], lambda: now["own"])
    assert others.processors == 0.0  # no time has passed
    now.update(busy=130.0, own=27.0, clock=60.0)
    assert others.processors == 1.0
    now.update(own=47.0)  # clocks differ a little: never less than none
    assert others.processors == 0.0


def test_the_system_tells() -> None:
    assert Others().processors >= 0.0
