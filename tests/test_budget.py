"""The budget: what it holds, and that no answers lose more than the README says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spec_local.control.budget import Budget
from spec_local.control.constants import Tuning
from spec_local.control.plan import Offer
from spec_local.control.report import Judged, RoundReport
from tests.machines import promised, promised_one
from tests.test_control import a_controller, fail, linear, lookup, play

README = (Path(__file__).parent.parent / "README.md").read_text()
PROMISE = (
    "One answer may lose the time of four tokens and a quarter per cent to trying, and what the "
    "draft model reads of its prompt; all of a pair's answers together no more than eleven tokens, "
    "half a token each and a quarter per cent, reading included, unless it was earned before."
)


def test_the_readme_says_it_word_for_word() -> None:
    assert PROMISE in " ".join(README.split())


@settings(max_examples=30, deadline=None)
@given(
    slope=st.floats(0.01, 1.5),
    draft=st.floats(0.01, 0.8),
    honesty=st.floats(0.0, 1.0),
    seed=st.integers(0, 10**6),
)
def test_whatever_the_verdicts_answers_in_a_row_lose_no_more(
    slope: float, draft: float, honesty: float, seed: int
) -> None:
    """Two drafters that were trusted before; a draft survives as long as `honesty` lets it.

    V and D are known, as they are once a machine was measured.
    """
    rng = random.Random(seed)

    def cost(width: int) -> float:
        return 1.0 + slope * (width - 1)

    controller = a_controller(cost, model_step=draft, max_tokens=400)
    written, behind, begun, answers = 0, 1, 0, 1
    lost = lost_here = 0.0
    while written < 600:
        if written - begun >= 60:
            controller.begin(400)
            controller.learn(RoundReport(tokens=1, width=50, context=0, evaluate_seconds=cost(50)))
            begun, lost_here, answers = written, 0.0, answers + 1
            behind = rng.randint(1, 40)
        read = controller.drafters["model"].started
        sure = tuple(rng.choice([0.5, 0.9, 0.995]) for _ in range(rng.randint(0, 16)))
        offers = [Offer("lookup", sure), Offer("model", behind=behind)]
        plan = controller.plan(offers, 100, 32)
        confidences, steps = sure[: plan.k], list[tuple[int, float]]()
        if plan.pace is not None:
            confidences = ()
            while plan.pace.more():
                steps.append((behind, draft * (1 + 0.2 * (behind - 1))))
                behind, confidence = 1, rng.choice([0.5, 0.9, 0.995])
                if not plan.pace.take(confidence):
                    break
                confidences += (confidence,)
        k = len(confidences)
        accepted = next((i for i in range(k) if rng.random() >= honesty), k)
        tokens = accepted + 1
        verdict = Judged.of_chain(confidences, accepted, rejected=accepted < k)
        controller.learn(
            RoundReport(
                tokens=tokens,
                width=k + 1,
                context=100,
                evaluate_seconds=cost(k + 1),
                drafter=plan.drafter,
                steps=steps,
                judged={plan.drafter: verdict} if plan.drafter else {},
            )
        )
        behind = min(2, 1 + (accepted == k > 0))
        written += tokens
        reading = steps[0][1] - draft if steps and not read else 0.0
        spent = cost(k + 1) + sum(seconds for _width, seconds in steps)
        lost += spent - tokens
        lost_here += spent - reading - tokens
        assert lost <= promised(written, answers)
        assert lost_here <= promised_one(written - begun)


def test_a_run_of_failures_costs_no_more_than_the_allowance() -> None:
    controller = a_controller(linear)
    tuning, lost, tokens = Tuning(), 0.0, 0
    for _ in range(400):
        plan = controller.plan(lookup(), 100, 32)
        lost += linear(plan.k + 1) - 1
        tokens += 1
        play(controller, plan, linear)  # and it never learns that it was wrong
    most = controller.budget.allowance + tuning.most_flow + tuning.allowance_per_token * tokens
    assert 1.0 < lost <= most + 0.2


def test_answers_share_what_they_save_and_none_begins_with_more_than_the_allowance() -> None:
    controller, tuning = a_controller(linear), Tuning()
    controller.budget.saved = 0.0  # what a new pair is given has been lost
    fail(controller, controller.plan(lookup((0.995,)), 100, 32), linear)
    left = controller.budget.credit
    allowance = controller.budget.allowance
    assert allowance == tuning.most_allowance  # where wide rounds are as dear as here
    assert tuning.least_allowance < left < allowance
    controller.begin(100)
    assert controller.budget.credit == left
    controller.budget.credit = 3 * tuning.allowance  # this answer saves that much
    for _ in range(3):
        controller.begin(100)
        assert controller.budget.credit == tuning.allowance
        controller.budget.credit = 0.0  # and these lose all they have
    for _ in range(2):
        controller.begin(100)
        assert controller.budget.credit == tuning.least_allowance
        controller.budget.credit = -1.0


def test_an_allowance_bears_a_round_that_must_be_bearable_up_to_a_bound() -> None:
    budget, tuning = Budget(Tuning()), Tuning()
    budget.resume(tuning.most_saved)
    for price, allowance in ((0.0, 2.0), (1.0, 2.0), (2.125, 2.5), (9.0, 3.25)):
        budget.begin(price)
        assert (budget.allowance, budget.credit) == (allowance, tuning.allowance)
        budget.settle(20, 0.0)
        assert budget.credit >= allowance
        assert budget.bears(price) == (price < 9.0)


def test_what_answers_have_saved_is_gone_on_from() -> None:
    budget, tuning = Budget(Tuning()), Tuning()
    budget.resume(5.0)
    assert budget.total == 5.0
    budget.begin()
    assert budget.credit == tuning.allowance
    assert budget.total == 5.0
    budget.resume(1e9)
    budget.begin()
    assert budget.total == tuning.most_saved


def test_an_answer_that_lost_its_allowance_gets_some_of_what_others_have_left() -> None:
    budget, tuning = Budget(Tuning()), Tuning()
    budget.resume(3.0)
    budget.begin()
    budget.settle(0, -tuning.allowance)
    assert (budget.credit, budget.saved) == (0.0, 1.0)
    budget.settle(4, 0.0)
    given = 4 * tuning.allowance_per_token
    assert budget.credit == pytest.approx(given + 4 * tuning.flow_per_token)
    assert budget.total == pytest.approx(1.0 + given)
    for _ in range(9):
        budget.settle(4, 0.0)
    assert budget.saved == pytest.approx(1.0 - tuning.most_flow)  # no more in one answer


def test_reading_a_prompt_is_paid_from_what_others_have_left_then_from_the_credit() -> None:
    budget, tuning = Budget(Tuning()), Tuning()
    assert budget.affords(tuning.first_saved + tuning.stake * tuning.allowance)
    assert not budget.affords(tuning.first_saved + tuning.allowance)
    budget.invest(5.0)
    assert (budget.saved, budget.credit) == (tuning.first_saved - 5.0, tuning.allowance)
    budget.invest(tuning.first_saved - 4.0)
    assert (budget.saved, budget.credit) == (0.0, tuning.allowance - 1.0)
