"""The controller at work in the engine: the same text, one evaluation a round, honest books."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spec_local.control.controller import Controller
from spec_local.control.costs import CostCurve
from spec_local.control.drafter_state import DrafterState
from spec_local.control.report import RoundReport
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.engine.speculate import Adaptive
from spec_local.engine.types import Drafter
from spec_local.sampling.distribution import top_probability
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits
from tests.fake import PROMPT, TableSession, run, start, tokens_of


def curve(cost_of_a_token: float, plain: float = 1.0) -> CostCurve:
    """One more token in an evaluation costs so much; already measured, so that nothing is tried."""
    found = CostCurve()
    for _ in range(5):
        for width in (1, 2, 4, 8, 16, 33, 64, 512):
            found.observe(width, 100, plain * (1 + cost_of_a_token * (width - 1)))
    return found


class Unteachable(Controller):
    """Keeps to the costs it was given, whatever the clock of the test machine says."""

    def learn(self, report: RoundReport) -> None:
        seconds = self.target.row(100)[min(33, report.width)]
        steps = [(width, 0.1) for width, _seconds in report.steps]
        super().learn(report._replace(evaluate_seconds=seconds, steps=steps))


def adaptive(draft: TableSession | None = None, verify_cost: float = 0.05) -> Adaptive:
    drafters: list[Drafter] = [LookupDrafter()]
    states = {"lookup": DrafterState()}
    if draft is not None:
        drafters.append(ModelDrafter(draft))
        states["model"] = DrafterState(curve(0.2, plain=0.1))
    return Adaptive(drafters, Unteachable(curve(verify_cost), states))


DRAFTS: dict[str, Callable[[], TableSession | None]] = {
    "none": lambda: None,
    "perfect": lambda: TableSession(seed=0),
    "good": lambda: TableSession(seed=0, sharpness=1.6, end_bias=-4),
    "bad": lambda: TableSession(seed=99),
    "adversarial": lambda: TableSession(seed=0, sign=-1.0),
}


@pytest.mark.parametrize("name", DRAFTS)
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.2])
def test_whatever_the_controller_decides_the_text_is_the_same(
    name: str, temperature: float
) -> None:
    for seed in range(3):
        sampling = Sampling(temperature=temperature, top_k=0, min_p=0, seed=seed)
        plain = run(TableSession(seed=0), NoDrafter(), sampling=sampling, max_tokens=150)
        found = run(
            TableSession(seed=0), adaptive(DRAFTS[name]()), sampling=sampling, max_tokens=150
        )
        assert tokens_of(found) == tokens_of(plain)
        assert found[-1].finish == plain[-1].finish


def test_a_perfect_draft_is_used_and_a_useless_one_is_not() -> None:
    sampling = Sampling(temperature=1.0, top_k=0, min_p=0)
    for draft, rounds in (
        (TableSession(seed=0, end_bias=-60), range(10, 60)),
        (TableSession(seed=99, end_bias=-60), range(150, 201)),
    ):
        target = TableSession(seed=0, end_bias=-60)
        found = run(target, adaptive(draft), sampling=sampling, max_tokens=200)
        assert len(found) in rounds
        assert target.calls == [round_.evaluated for round_ in found]  # one evaluation each


def test_the_targets_certainty_is_looked_at_rarely_while_a_model_drafts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = list[float]()

    def counted(row: Logits) -> float:
        looks.append(top_probability(row))
        return looks[-1]

    monkeypatch.setattr("spec_local.engine.speculate.top_probability", counted)
    target, draft = (TableSession(seed=0, end_bias=-60) for _ in range(2))
    found = run(target, adaptive(draft), sampling=Sampling(temperature=1.0), max_tokens=400)
    drafted = sum(round_.draft_evaluated > 0 for round_ in found)
    assert drafted > 20
    others = len(found) - drafted
    assert others + drafted // 8 <= len(looks) <= others + drafted // 4


def test_drafts_are_as_long_as_they_pay() -> None:
    lengths = {}
    for cost in (0.01, 0.3, 2.0):
        draft = TableSession(seed=0, end_bias=-60)
        found = run(
            TableSession(seed=0, end_bias=-60),
            adaptive(draft, verify_cost=cost),
            sampling=Sampling(temperature=1.0, top_k=0, min_p=0),
            max_tokens=150,
        )
        lengths[cost] = max(round_.drafted for round_ in found)
    assert lengths[0.01] > lengths[0.3] > lengths[2.0] == 0


def test_the_first_token_waits_for_nobody() -> None:
    draft = TableSession(seed=0)
    rounds = start(
        TableSession(seed=0),
        adaptive(draft),
        list(PROMPT),
        sampling=Sampling(temperature=1.0),
        max_tokens=50,
    )
    first = next(rounds)
    assert (first.drafted, first.draft_evaluated, draft.calls) == (0, 0, [])
    assert next(rounds).draft_evaluated > len(PROMPT)


@pytest.mark.parametrize("fail_at", [0, 1, 2, 5, 9])
def test_an_interrupted_draft_leaves_the_caches_right(fail_at: int) -> None:
    draft = TableSession(seed=0, fail_at=fail_at)
    target, context = TableSession(seed=0), list(PROMPT)
    speculator = adaptive(draft)
    sampling = Sampling(temperature=1.0)
    with pytest.raises(KeyboardInterrupt):
        list(start(target, speculator, context, sampling=sampling, max_tokens=60))
    assert target.tokens == context[:-1]
    assert draft.tokens == context[: len(draft.tokens)]
    assert len(draft.tokens) < len(context)
    draft.fail_at = None
    again = list(PROMPT)
    rest = list(start(target, speculator, again, sampling=sampling, max_tokens=60))
    plain = run(TableSession(seed=0), NoDrafter(), sampling=sampling, max_tokens=60)
    assert tokens_of(rest) == tokens_of(plain)


def test_a_refused_token_is_judged_by_what_the_text_became() -> None:
    """A token not worth verifying still teaches, or a drafter once distrusted would stay so."""
    draft = TableSession(seed=0, end_bias=-60)  # always right
    speculator = adaptive(draft, verify_cost=0.05)
    model = speculator.controller.drafters["model"]
    for _ in range(100):  # but thought to be wrong when it is unsure
        model.acceptance.observe([], [0.2])
    before = model.acceptance.rate(0.2)
    run(
        TableSession(seed=0, end_bias=-60),
        speculator,
        sampling=Sampling(temperature=1.0, top_k=0, min_p=0),
        max_tokens=200,
    )
    assert model.acceptance.rate(0.2) > before + 0.3
