"""The cost curve: speed and shape are told apart, spikes do no harm, unknown widths are dear."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from spec_local.control.costs import MAX_WIDTH, CostCurve, bucket_of
from spec_local.control.lines import Lines

SHAPE = {1: 1.0, 2: 1.5, 3: 1.9, 4: 1.6, 5: 2.1, 8: 2.8, 16: 3.5}
PLAIN = 0.05


def learned(
    shape: dict[int, float] = SHAPE, rounds: int = 30, noise: float = 0.0, context: int = 100
) -> CostCurve:
    curve, rng = CostCurve(), random.Random(1)
    for _ in range(rounds):
        for width, cost in shape.items():
            curve.observe(width, context, PLAIN * cost * (1 + rng.gauss(0, noise)))
    return curve


def test_nothing_is_known_at_first() -> None:
    curve = CostCurve()
    assert not curve.is_known
    assert curve.row(100) == [0.0] * (MAX_WIDTH + 1)
    assert curve.seconds(500, 100) == 0.0


def test_one_measurement_is_believed_and_wider_evaluations_are_expected_to_cost_in_proportion() -> (
    None
):
    curve = CostCurve()
    curve.observe(1, 10, PLAIN)
    assert curve.row(10)[1:5] == pytest.approx([PLAIN, 2 * PLAIN, 3 * PLAIN, 4 * PLAIN])


def test_a_curve_that_is_not_monotone_is_learned_as_it_is() -> None:
    curve = learned()
    for width, cost in SHAPE.items():
        assert curve.seconds(width, 100) == pytest.approx(PLAIN * cost, rel=0.02)
    assert curve.seconds(4, 100) < curve.seconds(3, 100)


def test_unmeasured_widths_are_interpolated_and_extrapolated() -> None:
    curve = learned()
    assert curve.seconds(6, 100) == pytest.approx(PLAIN * (2.1 + (2.8 - 2.1) / 3), rel=0.02)
    assert curve.seconds(32, 100) == pytest.approx(PLAIN * 7.0, rel=0.02)
    assert curve.seconds(64, 100) == pytest.approx(PLAIN * (1 + 2.5 * 63 / 15), rel=0.02)


def test_several_evaluations_at_once_teach_what_they_teach_one_by_one() -> None:
    at_once, one_by_one, rng = learned(), learned(), random.Random(2)
    for _ in range(20):
        seconds = [0.8 * PLAIN * SHAPE[4] * (1 + rng.gauss(0, 0.05)) for _ in range(4)]
        at_once.observe(4, 100, *seconds)
        for each in seconds:
            one_by_one.observe(4, 100, each)
    for width in (1, 4):
        assert at_once.seconds(width, 100) == pytest.approx(
            one_by_one.seconds(width, 100), rel=0.03
        )
    assert at_once.seconds(4, 100) == pytest.approx(0.8 * PLAIN * SHAPE[4], rel=0.03)


def test_one_width_costs_what_it_costs_in_the_row() -> None:
    state = np.log([1.5, 1.6, 2.8])
    for known in ([], [(2, 0)], [(2, 0), (4, 1), (8, 2)]):
        lines = Lines(known, most=33)
        found = [lines.at(width, state) for width in range(1, 34)]
        assert lines.row(state).tolist() == pytest.approx(found)


def test_noise_averages_out() -> None:
    curve = learned(rounds=100, noise=0.05)
    for width, cost in SHAPE.items():
        assert curve.seconds(width, 100) == pytest.approx(PLAIN * cost, rel=0.06)


def test_a_slower_machine_is_the_scale_not_the_shape() -> None:
    curve = learned()
    for _ in range(20):
        curve.observe(4, 100, 2 * PLAIN * SHAPE[4])  # only this width is seen
    for width, cost in SHAPE.items():
        assert curve.seconds(width, 100) == pytest.approx(2 * PLAIN * cost, rel=0.2)


def test_one_width_that_was_taken_wrong_is_the_shape_not_the_scale() -> None:
    curve = learned({1: 1.0, 2: 1.5, 8: 4.0})
    for _ in range(30):
        curve.observe(1, 100, PLAIN)
        curve.observe(4, 100, PLAIN * 4.0)  # interpolated: 2.33
    assert curve.seconds(1, 100) == pytest.approx(PLAIN, rel=0.02)
    assert curve.seconds(4, 100) == pytest.approx(PLAIN * 4.0, rel=0.05)


def test_a_spike_hardly_matters() -> None:
    curve = learned()
    curve.observe(1, 100, 50 * PLAIN)
    curve.observe(1, 100, PLAIN)
    assert curve.seconds(1, 100) == pytest.approx(PLAIN, rel=0.1)
    assert curve.seconds(4, 100) == pytest.approx(PLAIN * SHAPE[4], rel=0.1)


def test_a_lasting_change_of_speed_is_followed_within_a_few_decodes() -> None:
    curve = learned()
    for _ in range(6):
        curve.observe(1, 100, 3 * PLAIN)
    assert curve.seconds(1, 100) == pytest.approx(3 * PLAIN, rel=0.1)


def test_another_context_length_begins_with_what_is_known_and_learns_its_own() -> None:
    curve = learned()
    assert curve.seconds(4, 3000) == pytest.approx(curve.seconds(4, 100))
    for _ in range(40):
        for width in SHAPE:
            curve.observe(width, 3000, PLAIN * (1 + 0.1 * width))
    assert curve.seconds(8, 3000) == pytest.approx(PLAIN * 1.8, rel=0.03)
    assert curve.seconds(8, 100) == pytest.approx(PLAIN * 2.8, rel=0.15)


def test_context_lengths_are_kept_apart_by_doublings() -> None:
    assert [bucket_of(n) for n in (0, 1, 256, 257, 512, 513, 1024, 1025)] == [
        *(0, 0, 0, 1, 1, 2, 2, 3)
    ]
    assert bucket_of(10**9) == 9


def test_a_prompt_seen_before_anything_else_waits_for_the_first_plain_token() -> None:
    curve = CostCurve()
    curve.observe(500, 0, PLAIN * 50)
    assert not curve.is_known
    curve.observe(1, 500, PLAIN)
    assert curve.seconds(1, 500) == pytest.approx(PLAIN, rel=0.05)
    assert curve.seconds(500, 0) == pytest.approx(PLAIN * 50, rel=0.05)


def test_the_curve_survives_being_written_and_read() -> None:
    curve = learned()
    read = CostCurve.from_dict(json.loads(json.dumps(curve.as_dict())))
    assert read.row(100) == pytest.approx(curve.row(100))
    assert CostCurve.from_dict({}).is_known is False


@pytest.mark.parametrize(
    "damaged",
    [
        {"scale": 1.0},
        {"scale": 1.0, "factors": []},
        {"scale": "x", "factors": [[0, 1, 0.0, 0.0]]},
        {"scale": float("nan"), "factors": [[0, 1, 0.0, 0.0]]},
        {"scale": 1.0, "factors": [[0, 1, 0.0, -1.0]]},
        {"scale": 1.0, "factors": [[77, 1, 0.0, 0.0]]},
        {"scale": 1.0, "factors": [[0, 2, 0.0, 0.0]]},
        {"scale": 1.0, "factors": [[0, 1, 0.0, 0.0], [0, 0, 0.0, 0.0]]},
        {"scale": 1.0, "factors": [[0, 1, 0.0]]},
        {"scale": 1.0, "factors": 7},
    ],
)
def test_a_damaged_curve_is_refused(damaged: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        CostCurve.from_dict(damaged)
