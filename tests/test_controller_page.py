"""The page about the controller: its worked example and its figures are the code's."""

from __future__ import annotations

import json
import re
from itertools import accumulate
from operator import mul
from pathlib import Path
from statistics import fmean

import pytest

from scripts import draft_windows, simplest_case
from scripts.simulated_answers import Found, table
from spec_local.control.constants import Tuning
from spec_local.control.controller import Controller
from spec_local.control.costs import CostCurve
from spec_local.control.drafter_state import DrafterState
from spec_local.control.plan import Offer
from spec_local.control.report import Judged, RoundReport
from spec_local.control.simulation import SimulatedMachine

PAGE = Path(__file__).parents[1] / "docs" / "controller.md"
COSTS = {1: 1.0, 2: 1.5, 3: 1.8}
CONFIDENCES = (0.9, 0.9)


def choices(controller: Controller) -> list[str]:
    """The lines of one decision: acceptance, the gain and risk of every k, the plan."""
    state, budget = controller.drafters["lookup"], controller.budget
    rates = [state.acceptance.rate(confidence) for confidence in CONFIDENCES]
    odds = state.odds(CONFIDENCES)
    lines, left = [", ".join(f"{rate:.3f}" for rate in rates)], {}
    for k, expected in enumerate(accumulate(odds.chances), start=1):
        price = controller.target.row(100)[k + 1] - 1.0
        gain, risk = expected - price, budget.risk(price, odds.survivals(k))
        left[k] = gain - risk
        lines.append(
            f"gain({k})     = {expected:.3f} - {price:.1f} = {gain:.3f}"
            f"       risk {risk:.3f}, left {left[k]:.3f}"
        )
    plan = controller.plan([Offer("lookup", CONFIDENCES)], 100, room=32)
    assert plan.k == max(left, key=lambda k: left[k])
    return [*lines, f"plan        = {plan.drafter}, k = {plan.k}"]


def worked_example() -> list[str]:
    """The block of the page, line by line."""
    curve = CostCurve()
    for width, cost in [*COSTS.items()] * 50:  # often, as the first guess weighs a little
        curve.observe(width, 100, cost)
    controller = Controller(curve, {"lookup": DrafterState()})
    controller.begin(max_tokens=200)
    controller.learn(RoundReport(tokens=1, width=1, context=100, evaluate_seconds=1.0))
    first, *others = choices(controller)
    lines = [f"a           = {first}              nothing was counted: the confidence itself"]
    cost = COSTS[3]
    before, tuning = controller.budget.credit, controller.tuning
    given, flow = tuning.allowance_per_token, tuning.flow_per_token
    controller.learn(
        RoundReport(
            tokens=1,
            width=3,
            context=100,
            evaluate_seconds=cost,
            drafter="lookup",
            judged={"lookup": Judged.of_chain(CONFIDENCES, 0, rejected=True)},
        )
    )
    lines += [
        *others,
        f"first wrong : 1 token emitted in {cost:.1f}, lost {cost - 1:.1f}",
        f"credit      = {before:.1f} - {cost - 1:.1f} + {given:.4f} + {flow:.4f} "
        f"= {controller.budget.credit:.3f}",
    ]
    first, *others = choices(controller)
    return [*lines, f"a           = {first}              0 of 1 accepted", *others]


def test_the_worked_example_is_what_the_controller_does() -> None:
    block = re.search(r"test_controller_page.*?```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    assert block[1].splitlines() == worked_example()


def test_the_page_states_the_constants_as_they_are() -> None:
    text, tuning = PAGE.read_text(), Tuning()
    for sentence in (
        f"first answer is `allowance` = {tuning.allowance}.",
        f"`least_allowance` = {tuning.least_allowance} ",
        f"`first_saved` = {tuning.first_saved} ",
        f"{tuning.flow_per_token} n more flows to it from the savings, {tuning.most_flow:g} in all",
        f"C <- min( C + s + {tuning.allowance_per_token} n,  {tuning.most_saved:g} )",
        f"`caution` = {tuning.caution} times",
        f"{tuning.caution} · (1 + {tuning.hesitation:g}/n)",
        f"n / (n + `unfamiliar` = {tuning.unfamiliar:g})",
        f"risk = {tuning.aversion:g} Σ",
    ):
        assert sentence in " ".join(text.split()) or sentence in text
    assert f"`stake` = {tuning.stake} of C" in " ".join(text.split())
    for name in re.findall(r"`([a-z]+_[a-z_]+)`", text):
        assert hasattr(tuning, name) or name == "fit_constants", name


def test_the_table_of_the_simplest_case_is_what_was_computed() -> None:
    data = json.loads((PAGE.parent / "controller" / "simplest.json").read_text())
    found = [simplest_case.Found(**each) for each in data]
    assert "\n".join(simplest_case.table(found)) in PAGE.read_text()


def test_the_table_of_windows_is_what_was_measured() -> None:
    data = json.loads((PAGE.parent / "controller" / "windows.json").read_text())
    found = [draft_windows.Found(**each) for each in data]
    assert "\n".join(draft_windows.table(found)) in PAGE.read_text()
    late = [each for each in found if each.setting == "late"]
    lost = 1 - fmean(each.windows["128"] for each in late) / fmean(each.whole for each in late)
    assert lost == pytest.approx(SimulatedMachine([], 0, 0).window_loss, abs=0.005)


def test_the_best_policy_is_better_than_the_mean_and_worse_than_knowing() -> None:
    for alpha, beta in simplest_case.BELIEFS:
        best = simplest_case.least(1.5, alpha, beta, 20)
        assert best <= simplest_case.least(1.5, alpha, beta, 20, mean=True)
        knowing = [simplest_case.knowing((i + 0.5) / 100, 1.5, 20) for i in range(100)]
        weights = [
            ((i + 0.5) / 100) ** (alpha - 1) * (1 - (i + 0.5) / 100) ** (beta - 1)
            for i in range(100)
        ]
        told = sum(map(mul, knowing, weights)) / sum(weights)
        assert told < best < 20


def test_the_table_of_simulated_answers_is_what_was_measured() -> None:
    data = json.loads((PAGE.parent / "controller" / "simulated.json").read_text())
    assert "\n".join(table([Found(**each) for each in data])) in PAGE.read_text()
