"""The controller's single decisions: who, how much, whether at all, and what it may cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from spec_local.control.acceptance import Acceptance
from spec_local.control.constants import Tuning
from spec_local.control.controller import Controller
from spec_local.control.costs import CostCurve
from spec_local.control.drafter_state import DrafterState
from spec_local.control.plan import PLAIN, Offer, Plan
from spec_local.control.report import Judged, RoundReport
from spec_local.control.widths import ANY, Widths

WIDTHS = (*range(1, 34), 64, 512)
SURE = (0.995,) * 32
MAX_TOKENS = 10_000


def curve(cost: Callable[[int], float]) -> CostCurve:
    found = CostCurve()
    for _ in range(6):
        for width in WIDTHS:
            found.observe(width, 100, cost(width))
    return found


def flat(width: int) -> float:
    return 1 + 0.01 * (width - 1)


def linear(width: int) -> float:
    return 1 + 0.9 * (width - 1)


def trusted(confidence: float = 0.995, share: float = 0.99) -> Acceptance:
    acceptance = Acceptance()
    for i in range(400):
        right = i % 100 < share * 100
        acceptance.observe(*(([confidence], []) if right else ([], [confidence])))
        acceptance.drafted(confidence)
    return acceptance


def a_controller(
    cost: Callable[[int], float],
    model_step: float | None = None,
    acceptance: Acceptance | None = None,
    max_tokens: int = MAX_TOKENS,
    widths: Widths = ANY,
) -> Controller:
    states = {"lookup": DrafterState(known={"": trusted()})}
    if model_step is not None:
        model = curve(lambda width: model_step * (1 + 0.2 * (width - 1)))
        states["model"] = DrafterState(model, known={"": acceptance or trusted()})
    controller = Controller(curve(cost), states, widths=widths)
    controller.begin(max_tokens)
    controller.learn(RoundReport(tokens=1, width=50, context=0, evaluate_seconds=cost(50)))
    controller.learn(RoundReport(tokens=1, width=1, context=50, evaluate_seconds=cost(1)))
    return controller


def play(
    controller: Controller,
    plan: Plan,
    cost: Callable[[int], float],
    tokens: int = 1,
    context: int = 100,
    **more: Any,
) -> None:
    """A round by that plan, which emits so many tokens."""
    controller.learn(
        RoundReport(
            tokens=tokens,
            width=plan.k + 1,
            context=context,
            evaluate_seconds=cost(plan.k + 1),
            drafter=plan.drafter,
            **more,
        )
    )


def fail(controller: Controller, plan: Plan, cost: Callable[[int], float]) -> None:
    """A round in which the first drafted token was wrong."""
    judged = {plan.drafter: Judged.of_chain((0.5,) * plan.k, 0, rejected=True)} if plan.k else {}
    play(controller, plan, cost, judged=judged)


def lookup(confidences: tuple[float, ...] = SURE) -> list[Offer]:
    return [Offer("lookup", confidences)]


def test_nothing_is_drafted_before_a_plain_token_was_timed() -> None:
    controller = Controller(CostCurve(), {"lookup": DrafterState(known={"": trusted()})})
    controller.begin(100)
    assert controller.plan(lookup(), 0, 32) == PLAIN


def test_a_sure_draft_is_used_as_far_as_its_failure_can_be_borne() -> None:
    assert a_controller(flat).plan(lookup(), 100, 32) == Plan("lookup", 32)
    half = a_controller(lambda width: 1 + 0.5 * (width - 1))
    # no more than 0.85 of the budget is at stake: 0.5 x 3 of 2, then 0.5 x 2
    half.budget.credit = 2.0
    assert half.plan(lookup(), 100, 32).k == 3
    half.budget.credit = 1.2
    assert half.plan(lookup(), 100, 32).k == 2


def test_where_each_token_costs_as_much_as_a_plain_one_only_near_certainty_pays() -> None:
    assert a_controller(linear).plan(lookup((0.7,) * 32), 100, 32) == PLAIN
    assert a_controller(linear).plan(lookup(), 100, 32).k >= 1


def test_room_is_respected() -> None:
    assert a_controller(flat).plan(lookup(), 100, 5).k == 5
    assert a_controller(flat).plan(lookup(), 100, 0) == PLAIN
    assert a_controller(flat).plan(lookup(()), 100, 5) == PLAIN


def test_only_widths_that_are_allowed_are_planned_and_paid() -> None:
    narrow = a_controller(flat, widths=Widths((1, 2, 3)))
    assert narrow.plan(lookup(), 100, 32).k == 2
    assert a_controller(flat, widths=Widths((1,))).plan(lookup(), 100, 32) == PLAIN
    # beyond 2 tokens the next width is 8, which costs more than a draft of three can bring
    cost = lambda width: 1 + 0.25 * (width - 1)  # noqa: E731
    assert a_controller(cost).plan(lookup((0.8,) * 3), 100, 32).k == 3
    assert a_controller(cost, widths=Widths((1, 2, 8))).plan(lookup((0.8,) * 3), 100, 32).k == 1
    # a draft that is long enough fills it
    full = a_controller(cost, widths=Widths((1, 2, 8)))
    full.budget.credit = 24.0
    assert full.plan(lookup((0.999,) * 32), 100, 32).k == 7


def test_a_draft_that_is_padded_is_filed_under_the_width_it_had() -> None:
    controller = a_controller(flat, widths=Widths((1, 2, 8)))
    before = controller.target.seconds(4, 100), controller.target.seconds(8, 100)
    for _ in range(40):
        play(controller, Plan("lookup", 3), lambda _width: 2.0)
    assert controller.target.seconds(8, 100) > 1.2 * before[1]
    assert controller.target.seconds(4, 100) < 1.2 * before[0] * controller.target.seconds(1, 100)


def test_where_every_token_is_padded_all_of_it_is_drafted() -> None:
    """A batch that costs as much anyway may as well hold a draft."""
    fixed = a_controller(linear, widths=Widths((4,)))
    for _ in range(50):
        plan = fixed.plan(lookup((0.5,) * 32), 100, 32)
        assert plan.k == 3
        play(fixed, plan, lambda _width: linear(4), tokens=2)
    assert fixed.plain_seconds(100) == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("edge", [4, 8])
def test_drafts_end_at_the_edge_of_a_plateau(edge: int) -> None:
    cost = lambda width: 1 + 0.6 * ((width - 1) // edge)  # noqa: E731
    plan = a_controller(cost).plan(lookup((0.6,) * 32), 100, 32)
    assert (plan.k + 1) % edge == 0


def test_a_curve_that_is_not_monotone_is_made_use_of() -> None:
    dips = {1: 1.0, 2: 1.6, 3: 1.9, 4: 1.5}
    cost = lambda width: dips.get(width, 2.0 + 0.9 * (width - 4))  # noqa: E731
    assert a_controller(cost).plan(lookup((0.7,) * 32), 100, 32).k == 3


def test_the_better_of_two_drafters_is_chosen() -> None:
    offers = [Offer("lookup", (0.4,) * 2), Offer("model", behind=1)]
    assert a_controller(flat, model_step=0.05).plan(offers, 100, 32).drafter == "model"
    offers = [Offer("lookup", SURE), Offer("model", behind=1)]
    unsure = trusted(share=0.7)
    choice = a_controller(flat, model_step=0.05, acceptance=unsure).plan(offers, 100, 32)
    assert choice.drafter == "lookup"


def linear_third(width: int) -> float:
    return 1 + 0.3 * (width - 1)


def reads_after(
    certainty: float,
    prompt: int,
    max_tokens: int = 400,
    step: float = 0.1,
    saved: float = 100.0,
    acceptance: Acceptance | None = None,
) -> int | None:
    """Plain tokens, each so certain, after which the model begins to read the prompt.

    saved: plain tokens that earlier answers have left. acceptance: of a model that is known less.
    """
    controller = a_controller(linear_third, step, acceptance, max_tokens)
    controller.budget.saved = saved
    for token in range(2, max_tokens - 1):
        room = min(32, max_tokens - token)
        if controller.plan([Offer("model", behind=prompt + token)], prompt + token, room).pace:
            return token
        play(controller, PLAIN, linear_third, context=prompt + token, certainty=certainty)
    return None


def test_a_prompt_is_read_only_if_the_answer_is_long_enough_for_it() -> None:
    assert reads_after(0.995, prompt=500, max_tokens=400) is not None
    assert reads_after(0.995, prompt=500, max_tokens=20) is None


def test_how_sure_the_target_is_tells_whether_a_draft_would_be_any_good() -> None:
    assert reads_after(0.995, prompt=300, step=0.2) is not None
    assert reads_after(0.1, prompt=300, step=0.2) is None


def test_the_less_there_is_to_gain_the_longer_the_text_is_looked_at() -> None:
    found = [reads_after(0.995, prompt) for prompt in (20, 800, 1400)]
    waits = [wait for wait in found if wait is not None]
    assert len(waits) == 3
    assert waits == sorted(waits)
    assert waits[0] == 2
    assert waits[-1] >= 4


def test_a_prompt_is_not_read_where_nothing_is_left_to_pay_for_it() -> None:
    assert reads_after(0.995, prompt=500, saved=0.0) is None
    assert reads_after(0.995, prompt=500, saved=30.0) is not None


def test_a_model_that_is_not_known_reads_for_later_answers_too_if_they_earned_it() -> None:
    given = Tuning().first_saved
    reading = 5.0
    fresh = partial(reads_after, 0.7, prompt=200, max_tokens=100, step=0.12)
    assert fresh(saved=reading + given / 2, acceptance=Acceptance()) is None
    assert fresh(saved=reading + given, acceptance=Acceptance()) is not None
    known = trusted(0.7, share=0.7)
    assert fresh(saved=reading + given, acceptance=known) is None


def test_prompts_that_surprise_do_not_make_an_idle_draft_model_dear() -> None:
    """The machine's scale goes up and down with prompts; the drafts' share of it must not drift."""
    controller = a_controller(linear_third, model_step=0.2)
    draft = controller.drafters["model"].cost
    assert draft is not None
    for answer in range(40):
        controller.begin(60)
        prompt = 40 + answer
        seconds = linear_third(prompt) * (0.7 if answer % 3 else 1.4)
        controller.learn(RoundReport(tokens=1, width=prompt, context=0, evaluate_seconds=seconds))
        for token in range(12):
            play(controller, PLAIN, linear_third, context=prompt + token)
    share = draft.seconds(1, 100) / controller.plain_seconds(100)
    assert share == pytest.approx(0.2, rel=0.05)


def test_a_new_context_length_begins_with_a_plain_round() -> None:
    controller = a_controller(flat)
    assert controller.plan(lookup(), 256, 32).k == 32
    assert controller.plan(lookup(), 257, 32) == PLAIN
    play(controller, PLAIN, flat, context=257)
    assert controller.plan(lookup(), 258, 32).k == 32


def test_a_plain_round_tells_what_those_before_it_really_cost() -> None:
    """The machine was believed to have become slower, but only wide evaluations had."""
    controller = a_controller(flat)
    for _ in range(8):
        play(controller, Plan("lookup", 3), lambda _width: 3.0, tokens=1)
    before = controller.budget.credit
    for _ in range(3):
        play(controller, PLAIN, flat)
    assert controller.budget.credit < before


def test_v1_is_measured_again_from_time_to_time() -> None:
    controller, plain = a_controller(flat), 0
    for _ in range(100):
        plan = controller.plan(lookup(), 100, 32)
        plain += plan == PLAIN
        play(controller, plan, flat, tokens=plan.k + 1)
    assert plain == 100 // (Tuning().recheck_rounds + 1)


def test_nothing_is_drafted_while_nothing_is_known_of_the_machine() -> None:
    controller = Controller(CostCurve(), {"lookup": DrafterState(known={"": trusted()})})
    controller.begin(MAX_TOKENS)
    for _ in range(20):
        assert controller.plan(lookup(), 100, 32) == PLAIN


def test_a_draft_longer_than_anything_measured_is_tried_step_by_step() -> None:
    """Extrapolation alone would say for ever that wider evaluations are too dear."""

    def cost(width: int) -> float:
        return 1 + 1.8 * min(1.0, (width - 1) / 7)

    known = CostCurve()
    for _ in range(6):
        for width in (1, 2, 4, 8):
            known.observe(width, 100, cost(width))
    controller = Controller(known, {"lookup": DrafterState(known={"": trusted()})})
    controller.begin(MAX_TOKENS)
    lengths = []
    for _ in range(8):
        plan = controller.plan(lookup(), 100, 32)
        lengths.append(plan.k)
        play(controller, plan, cost, tokens=plan.k + 1)
    assert lengths == sorted(lengths)
    assert lengths[0] <= 15
    assert lengths[-1] == 32


def test_a_model_that_failed_is_tried_again_later_and_later() -> None:
    useless = Acceptance()
    for _ in range(400):
        useless.drafted(0.2)
        useless.observe([], [0.2])
    controller = a_controller(flat, model_step=0.05, acceptance=useless)
    probes, behind = [], 1
    for token in range(800):
        plan = controller.plan([Offer("model", behind=behind)], 100, 32)
        steps = [(behind, 0.05 * (1 + 0.2 * (behind - 1)))] if plan.pace else []
        if plan.pace:
            probes.append(token)
            assert plan.k <= Tuning().probe_tokens
        behind = 1 if plan.pace else behind + 1
        judged = {"model": Judged.of_chain((0.2,) * plan.k, 0, rejected=True)} if plan.pace else {}
        play(controller, plan, flat, steps=steps, judged=judged)
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    assert 2 <= len(probes) <= 6
    assert gaps == sorted(gaps)


def test_a_plan_before_the_first_round_is_learned_is_a_plan() -> None:
    """The curve may be known from a profile before anything of this answer is."""
    model = curve(lambda width: 0.1)
    states = {"model": DrafterState(model, known={"": trusted()})}
    controller = Controller(curve(lambda width: 1.0), states)
    controller.begin(100)
    assert controller.plan([Offer("model", behind=50)], 100, 8).k >= 0
