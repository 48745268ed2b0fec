"""How far a draft goes: the optimal stopping rule, against trying everything."""

from __future__ import annotations

from functools import cache

import pytest

from spec_local.control.acceptance import Acceptance
from spec_local.control.costs import CostCurve
from spec_local.control.drafter_state import DrafterState, Intent
from spec_local.control.stopping import DraftPace

FLAT = [0.0, *[1.0] * 33]
LINEAR = [0.0, *(1.0 + 0.4 * w for w in range(33))]
PLATEAUS = [0.0, *(1.0 + 0.8 * (w // 4) for w in range(33))]
CLIFF = [0.0, *(1.0 + 0.1 * w + (2.0 if w >= 3 else 0.0) for w in range(33))]


def calibrated(high: float = 0.95, low: float = 0.3, sure: float = 0.7) -> Acceptance:
    """A drafter that is sure of a share of its tokens; its confidences are right."""
    acceptance = Acceptance()
    for i in range(3000):
        for confidence in (high, low):
            right = i % 100 < confidence * 100
            acceptance.observe(*(([confidence], []) if right else ([], [confidence])))
        acceptance.drafted(high if i % 10 < sure * 10 else low)
    return acceptance


def drafted(pace: DraftPace, confidences: list[float]) -> int:
    """Tokens taken when the draft model says these confidences."""
    for confidence in confidences:
        if not pace.more() or not pace.take(confidence):
            break
    return pace.taken


@pytest.mark.parametrize("row", [FLAT, LINEAR, PLATEAUS, CLIFF])
@pytest.mark.parametrize("step", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("rate", [1.0, 1.7])
def test_the_value_is_that_of_the_best_stopping_rule(
    row: list[float], step: float, rate: float
) -> None:
    acceptance, limit = calibrated(), 4
    shares, rates = acceptance.shares.tolist(), acceptance.rates.tolist()

    @cache
    def value(taken: int, survival: float) -> float:
        stop = -rate * row[taken + 1]
        if taken == limit:
            return stop
        go_on = -rate * step
        for share, a in zip(shares, rates, strict=True):
            survives = survival * a
            go_on += share * max(stop, survives + value(taken + 1, survives))
        return max(stop, go_on)

    pace = DraftPace(acceptance, row, step, rate, limit)
    assert pace.value == pytest.approx(value(0, 1.0), abs=0.01)
    assert pace.more() == (value(0, 1.0) > -rate * row[1] + 1e-9)


def test_an_unsure_token_ends_the_draft() -> None:
    pace = DraftPace(calibrated(), LINEAR, 0.1, 1.0, 16)
    assert drafted(pace, [0.95, 0.95, 0.3, 0.95]) == 2


def test_where_verification_costs_nothing_more_an_unsure_token_is_verified_too() -> None:
    pace = DraftPace(calibrated(), FLAT, 0.01, 1.0, 16)
    assert drafted(pace, [0.95, 0.3, 0.95, 0.95]) == 4


def test_a_draft_goes_on_to_the_end_of_a_plateau_but_not_over_a_cliff() -> None:
    sure = [0.95] * 16
    assert drafted(DraftPace(calibrated(sure=1.0), CLIFF, 0.1, 1.0, 16), sure) == 2
    # widths 1 to 4 cost the same, so do 5 to 8: once over the edge, the rest is nearly free
    assert drafted(DraftPace(calibrated(sure=1.0), PLATEAUS, 0.05, 1.0, 16), sure) % 4 == 3


def test_the_limit_holds_and_a_probe_goes_to_it() -> None:
    assert drafted(DraftPace(calibrated(sure=1.0), FLAT, 0.01, 1.0, 3), [0.95] * 9) == 3
    dear = DraftPace(calibrated(), LINEAR, 2.0, 1.0, 3)
    assert not dear.more()
    probe = DraftPace(calibrated(), LINEAR, 2.0, 1.0, 3, probe=True)
    assert drafted(probe, [0.3] * 9) == 3


def test_a_pace_again_starts_anew_and_is_no_longer_than_the_first() -> None:
    row = [0.0, *[1.0] * 9]
    pace = DraftPace(calibrated(), row, step=0.1, rate=1.0, limit=6)
    assert drafted(pace, [0.995] * 8) == 6
    assert drafted(pace.again(8), [0.995] * 8) == 6
    assert drafted(pace.again(2), [0.995] * 8) == 2
    assert pace.again(6).value == pace.value


def test_a_level_is_as_wide_as_its_evaluation_pays() -> None:
    """One node for 0.1, two for 0.12, three for 0.3, by what each may add."""
    shape = [0.0, 1.0, 1.2, 3.0]
    pace = DraftPace(Acceptance(), LINEAR, 0.1, 1.0, 16, shape=shape)
    assert pace.level([0.5, 0.3, 0.25]) == 3
    assert pace.level([0.5, 0.3, 0.15]) == 2
    assert pace.level([0.11, 0.015]) == 1
    assert pace.level([0.09, 0.09, 0.09]) == 2  # together they pay
    assert pace.level([0.09]) == pace.level([]) == 0
    assert DraftPace(Acceptance(), LINEAR, 0.1, 3.0, 16, shape=shape).level([0.2, 0.1]) == 0
    assert DraftPace(Acceptance(), LINEAR, 9.0, 1.0, 3, probe=True).level([0.1, 0.1]) == 2
    assert pace.again(2).level([0.5, 0.3, 0.25]) == 3


def test_a_node_beside_the_chain_must_pay_for_the_round_after_too() -> None:
    def nodes(confidences: tuple[float, ...], parents: tuple[int, ...], limit: int = 16) -> int:
        pace = DraftPace(Acceptance(), LINEAR, 0.1, 1.0, limit)
        return pace.nodes(confidences, parents, 1)

    assert nodes((0.5, 0.9), (-1, 0)) == 2  # 0.45 more for a row of 0.4
    assert nodes((0.5, 0.45), (-1, -1)) == 1  # the same, for 0.4 and 0.45 times 0.4
    assert nodes((0.3, 0.9), (-1, 0)) == 0
    assert nodes((0.9,) * 4, (-1, 0, 1, 2), limit=3) == 3


def test_no_error_of_rounding_makes_going_on_look_better_than_stopping() -> None:
    for rate in (1.0, 1.1, 1.3, 1.7):
        pace = DraftPace(calibrated(), LINEAR, step=2.0, rate=rate, limit=6)  # no draft ever pays
        for survival in range(1, 1000):
            assert pace._value(0, survival / 1000) == pace._stop[0]


def test_a_draft_is_weighed_anew_after_some_rounds_or_where_its_gain_is_not_clear() -> None:
    state = DrafterState(CostCurve())
    rounds = state.tuning.hold_rounds
    pace = DraftPace(state.acceptance, [0.0, *[1.0] * 9], step=0.1, rate=1.0, limit=6)

    def weighed(gain: float) -> int:
        state.begin("")
        times = 0
        for _ in range(2 * rounds):
            if state.held(8) is None:
                state.weigh(Intent(pace, gain, price=0.5))
                times += 1
        return times

    assert weighed(gain=state.tuning.clear_gain) == 2
    assert weighed(gain=state.tuning.clear_gain - 0.1) == 2 * rounds


def test_what_is_held_is_a_draft_that_starts_anew_and_fits_the_room() -> None:
    state = DrafterState(CostCurve())
    pace = DraftPace(calibrated(), [0.0, *[1.0] * 9], step=0.1, rate=1.0, limit=6)
    state.weigh(Intent(pace, gain=1.0, price=0.5))
    assert drafted(pace, [0.995] * 8) == 6
    held = state.held(4)
    assert held is not None
    assert drafted(held.pace, [0.995] * 8) == 4
