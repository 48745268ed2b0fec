"""A block of tokens is paid for before any of it is seen: what it costs, and how long it gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from spec_local.control.controller import Controller
from spec_local.control.drafter_state import DrafterState, DraftPrices
from spec_local.control.plan import PLAIN, Moment, Offer
from spec_local.control.reach import reach
from tests.test_control import MAX_TOKENS, curve, flat, linear_third, trusted


def rising(width: int) -> float:
    return 0.1 * (1 + 0.2 * (width - 1))


def a_controller(
    cost: Callable[[int], float], drafting: Callable[[int], float], block: int = 32
) -> Controller:
    state = DrafterState(curve(drafting), known={"": trusted()}, block=block)
    state.begin("")
    controller = Controller(curve(cost), {"block": state, "lookup": DrafterState()})
    controller.begin(MAX_TOKENS)
    return controller


def k_of(controller: Controller, behind: int = 1) -> int:
    return controller.plan([Offer("block", behind=behind)], 100, 32).k


def test_a_block_is_one_evaluation_of_what_is_missing_and_all_its_tokens() -> None:
    state = DrafterState(curve(rising), block=8)
    for behind in (1, 3, 9):  # all that an accepted block leaves
        prices = state.prices(behind, 100, plain=1.0)
        assert (prices.step, prices.reading) == (0.0, 0.0)
        for k in (1, 4, 8):
            assert prices.of(k) == pytest.approx(rising(behind + k - 1), rel=0.01)
        assert prices.within(0.0) == 8
    late = state.prices(10, 100, plain=1.0)
    assert late.of(1) == pytest.approx(rising(2), rel=0.01)
    assert late.reading == pytest.approx(rising(10) - rising(2), rel=0.05)


def test_token_by_token_each_costs_an_evaluation() -> None:
    prices = DrafterState(curve(rising)).prices(3, 100, plain=2.0)
    assert prices.of(4) == pytest.approx((rising(2) + 3 * rising(1)) / 2, rel=0.01)
    assert prices.reading == pytest.approx((rising(3) - rising(2)) / 2, rel=0.05)
    assert prices.within(prices.of(4) + 0.01) == 4


def test_a_block_ends_at_a_cliff_of_its_own_model() -> None:
    cliff = a_controller(flat, lambda width: 0.1 if width <= 5 else 1.9)
    assert k_of(cliff) == 5
    assert k_of(cliff, behind=3) == 3
    assert k_of(a_controller(flat, lambda _width: 0.1, block=4)) == 4


def test_a_block_is_no_longer_than_the_curve_tells_of() -> None:
    controller = a_controller(flat, lambda _width: 0.1)
    assert k_of(controller) == k_of(controller, behind=17) == 16


def test_what_a_block_drafts_is_no_reading() -> None:
    """The first evaluation of an answer has the prompt in it, and the block."""
    state = DrafterState(curve(rising), block=8)
    drafting, reading = state.learn_drafting([(16, 2.0)], 100)
    assert drafting + reading == pytest.approx(2.0)
    assert state.cost is not None
    assert drafting == pytest.approx(state.cost.seconds(9, 100))
    assert state.learn_drafting([(9, 0.3)], 100) == (0.3, 0.0)


def test_what_pays_is_held_whatever_an_accepted_block_leaves_to_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weighed = list[int]()

    def counted(draft: DraftPrices, *more: Any) -> int:
        weighed.append(draft.read)
        return reach(draft, *more)

    monkeypatch.setattr("spec_local.control.controller.reach", counted)
    controller = a_controller(flat, lambda _width: 0.02, block=4)
    assert [k_of(controller, behind=behind) for behind in (1, 5, 3)] == [4, 4, 4]
    assert weighed == [1]
    assert k_of(controller, behind=6) == 4  # one more than a draft leaves: it has to read
    assert weighed == [1, 2]


def test_a_held_block_is_priced_after_the_longest_read() -> None:
    prices = DrafterState(curve(rising), block=8).prices(1, 100, plain=1.0)
    assert prices.at_most(4) == pytest.approx(rising(9 + 4 - 1), rel=0.01)
    alone = DrafterState(curve(rising)).prices(1, 100, plain=1.0)
    assert alone.at_most(4) == alone.of(4)


def test_a_probe_is_no_longer_than_the_block() -> None:
    controller = a_controller(flat, lambda _width: 0.01, block=2)
    state = controller.drafters["block"]
    state.acceptance.observe([], [0.9] * 400)
    state.idle = 10_000
    offer = Offer("block", behind=1)
    moment = Moment([offer], 100, 32, 1.0, controller.widths.costs(controller.target.shape(100)), 1)
    plan = controller._probe_of(offer, moment)
    assert plan is not None
    assert plan.k <= 2


def test_what_drafting_costs_decides() -> None:
    """A token of lookup's that is surely right is worth more than a block that costs as much."""
    sure, block = Offer("lookup", (0.995,)), Offer("block", behind=1)
    for price, chosen in ((0.1, "block"), (1.4, "lookup")):
        controller = a_controller(linear_third, lambda _width, price=price: price, block=2)  # type: ignore[misc]
        assert controller.plan([sure, block], 100, 32).drafter == chosen
    dear = a_controller(linear_third, lambda _width: 3.0)
    assert dear.plan([block], 100, 32) == PLAIN


def test_the_tokens_of_a_block_are_verified_as_far_as_that_pays() -> None:
    plan = a_controller(linear_third, lambda _width: 0.1).plan([Offer("block", behind=1)], 100, 8)
    assert plan.pace is not None
    assert plan.k > 2
    assert plan.pace.take(0.995)
    assert not plan.pace.take(0.1)
