"""Drafting ahead: the same text, whatever the thread had time for, and work that is kept."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import wait
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from scripts.ahead_pays import ahead, in_turn, table
from spec_local.control.drafter_state import DrafterState
from spec_local.drafters import numbered
from spec_local.drafters.ahead import AheadDrafter
from spec_local.drafters.build import DraftModel, build, build_some
from spec_local.drafters.library import Library
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.window import WindowDrafter
from spec_local.engine.speculate import Adaptive
from spec_local.engine.types import Drafter
from spec_local.errors import EngineError
from spec_local.sampling.settings import AcceptanceRule, Sampling
from spec_local.sampling.types import Logits
from tests.fake import END, N_VOCAB, PROMPT, TableSession, run, start, tokens_of
from tests.test_adaptive import Unteachable, curve

GREEDY = Sampling(temperature=0)
DRAWN = Sampling(temperature=1.0, top_k=0, min_p=0.0, seed=3)
ROOT = Path(__file__).parents[1]


def is_end(token: int) -> bool:
    return token == END


def good(**more: float) -> TableSession:
    """Nearly the target."""
    return TableSession(seed=0, sharpness=1.6, **more)  # type: ignore[arg-type]


class Fixed(AheadDrafter):
    """Draws so many tokens ahead, however long they take."""

    spare = 6

    def _spare(self) -> int:
        return self.spare


@dataclass
class Patient(TableSession):
    """A target whose evaluation ends when what runs beside it has ended."""

    drafter: AheadDrafter | None = None
    waited_for: list[int] = field(default_factory=list)
    """Calls of the draft model that every evaluation of this one came after."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        assert self.drafter is not None
        self.waited_for.append(len(self.drafter.cache.session.calls))  # type: ignore[attr-defined]
        if self.drafter._work is not None:
            wait([self.drafter._work])
        return super().evaluate(tokens, rows, parents)


def patient(draft: TableSession, spare: int = 6, **more: float) -> tuple[Patient, Fixed]:
    drafter = Fixed(draft, None, is_end)
    drafter.spare = spare
    return Patient(drafter=drafter, **more), drafter  # type: ignore[arg-type]


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN, replace(DRAWN, temperature=0.6)])
@pytest.mark.parametrize("spare", [1, 2, 3, 9])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_text_is_that_of_plain_decoding(sampling: Sampling, spare: int, seed: int) -> None:
    plain = run(TableSession(), NoDrafter(), sampling=sampling, max_tokens=120)
    draft = TableSession(seed=seed, sharpness=1.6)
    target, drafter = patient(draft, spare)
    for _ in range(2):  # the second finds the cache of the first
        found = run(target, drafter, sampling=sampling, k=3, max_tokens=120)
        assert tokens_of(found) == tokens_of(plain)
    assert draft.tokens == target.tokens[: len(draft.tokens)]
    drafter.close()


@pytest.mark.parametrize("acceptance", ["rejection", "block"])
def test_where_a_draft_may_not_be_cut_nothing_is_drawn_ahead(acceptance: AcceptanceRule) -> None:
    sampling = replace(DRAWN, acceptance=acceptance)
    for k in (1, 4):
        alone, draft = good(), good()
        target, drafter = patient(draft)
        expected = run(TableSession(), ModelDrafter(alone, None, is_end), sampling=sampling, k=k)
        found = run(target, drafter, sampling=sampling, k=k)
        assert tokens_of(found) == tokens_of(expected)
        # All but the prompt, which is read ahead under every rule.
        assert sum(draft.calls) == sum(alone.calls)
        drafter.close()


def test_a_draft_that_is_there_has_been_waited_for_by_nobody() -> None:
    """The target drafts for itself, so all is accepted, and every draft but the first is there."""
    draft = TableSession(end_bias=-60)
    target, drafter = patient(draft, 6, end_bias=-60)
    rounds = run(target, drafter, sampling=GREEDY, k=4, max_tokens=60)
    prompt, first, *later = rounds
    assert (prompt.drafted, first.drafted) == (0, 4)
    assert [round_.accepted for round_ in later] == [round_.drafted for round_ in later]
    assert all(round_.drafted == 4 for round_ in later[:-1])
    # Between a verdict and the next evaluation of the target the draft model did nothing.
    assert draft.calls[0] == len(PROMPT) - 1
    drafter.close()


def test_what_the_target_does_not_draw_is_dropped() -> None:
    draft = TableSession(seed=99, end_bias=-60)
    target, drafter = patient(draft, end_bias=-60)
    rounds = run(target, drafter, sampling=GREEDY, k=3, max_tokens=40)
    assert sum(round_.accepted for round_ in rounds) < 0.3 * sum(
        round_.drafted for round_ in rounds
    )
    assert draft.tokens == target.tokens[: len(draft.tokens)]
    drafter.close()


def test_the_prompt_is_read_while_the_target_reads_it() -> None:
    draft = good(end_bias=-60)
    target, drafter = patient(draft, end_bias=-60)
    context = [token % 11 for token in range(300)]
    generation = start(target, drafter, context, sampling=GREEDY, max_tokens=9)
    next(generation)
    wait([drafter._work] if drafter._work else [])
    assert draft.calls == [128, 128, 43]
    assert drafter.behind(context) == 2  # the last one of the prompt, and what was drawn
    generation.close()
    assert draft.tokens == context[: len(draft.tokens)]
    drafter.close()


@pytest.mark.parametrize("after", [1, 2, 3, 6])
def test_a_generation_that_is_left_leaves_both_caches_as_they_should_be(after: int) -> None:
    draft = good(end_bias=-60)
    target, drafter = patient(draft, end_bias=-60)
    context = list(PROMPT)
    generation = start(target, drafter, context, sampling=GREEDY, max_tokens=60)
    for _ in range(after):
        next(generation)
    generation.close()
    assert drafter._work is None
    assert draft.tokens == context[: len(draft.tokens)]
    assert len(draft.tokens) < len(context)
    again = run(target, drafter, sampling=GREEDY, max_tokens=30)
    assert tokens_of(again) == tokens_of(
        run(TableSession(end_bias=-60), NoDrafter(), sampling=GREEDY, max_tokens=30)
    )
    drafter.close()


@dataclass
class Failing(TableSession):
    """Fails at that call."""

    at: int = 0

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        if len(self.calls) >= self.at:
            raise EngineError("llama.cpp could not evaluate 1 tokens (status -3).")
        return super().evaluate(tokens, rows, parents)


@pytest.mark.parametrize("at", [0, 1, 4, 6, 9])
def test_a_model_that_fails_meanwhile_changes_no_text(
    at: int, caplog: pytest.LogCaptureFixture
) -> None:
    target, drafter = patient(Failing(at=at, sharpness=1.6, end_bias=-60), end_bias=-60)
    found = run(target, drafter, sampling=DRAWN, k=3)
    plain = run(TableSession(end_bias=-60), NoDrafter(), sampling=DRAWN)
    assert tokens_of(found) == tokens_of(plain)
    assert [record.message for record in caplog.records] == [
        "note: the draft model failed and drafts no more: llama.cpp could not evaluate 1 tokens "
        "(status -3)."
    ]
    drafter.close()


class Slow(TableSession):
    """Takes some time, up to a millisecond, as it happens."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        time.sleep(random.random() * 1e-3)
        return super().evaluate(tokens, rows, parents)


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN])
def test_whatever_there_is_time_for_the_text_is_the_same(sampling: Sampling) -> None:
    plain = run(TableSession(), NoDrafter(), sampling=sampling, max_tokens=120)
    drafter = AheadDrafter(Slow(sharpness=1.8), None, is_end)
    for _ in range(3):
        found = run(Slow(), drafter, sampling=sampling, k=3, max_tokens=120)
        assert tokens_of(found) == tokens_of(plain)
    drafter.close()


def test_a_controller_takes_what_is_there_as_a_draft_that_costs_nothing() -> None:
    draft = good(end_bias=-60)
    target, drafter = patient(draft, end_bias=-60)
    states = {"model": DrafterState(curve(0.2, plain=0.1))}
    speculator = Adaptive([drafter], Unteachable(curve(0.05), states))
    rounds = run(target, speculator, sampling=DRAWN, max_tokens=120)
    plain = run(TableSession(end_bias=-60), NoDrafter(), sampling=DRAWN, max_tokens=120)
    assert tokens_of(rounds) == tokens_of(plain)
    assert sum(round_.accepted for round_ in rounds) > 40
    drafter.close()


def model(**more: bool) -> DraftModel:
    return DraftModel(good(), N_VOCAB, is_end, **more)  # type: ignore[arg-type]


def names(found: Sequence[Drafter]) -> list[str]:
    return [type(each).__name__ for each in found]


def test_who_drafts_ahead_needs_no_window() -> None:
    library = Library()
    assert names(build_some(["auto"], [model(ahead=True)], library)) == [
        "LookupDrafter",
        "AheadDrafter",
    ]
    assert names(build_some(["auto"], [model()], library)) == [
        "LookupDrafter",
        ModelDrafter.__name__,
        WindowDrafter.__name__,
    ]
    assert isinstance(build("model", [model(ahead=True)], library), AheadDrafter)
    assert type(build("model", [model()], library)) is ModelDrafter
    assert numbered(AheadDrafter.name, 2) == "model-2"


def test_the_formulas_agree_with_rounds_that_are_played() -> None:
    """40,000 rounds each way: the rates agree within three standard errors, about 2 %."""
    rng, rate, cost = random.Random(5), 0.8, 6.0

    def verify(width: int) -> float:
        return cost + 0.1 * (width - 1)

    def right(k: int) -> int:
        return next((i for i in range(k) if rng.random() >= rate), k)

    def played(is_ahead: bool) -> float:
        tokens = time_ = 0.0
        there = 0
        for _ in range(40_000):
            k = there or 3
            time_ += verify(k + 1) + (0 if there else k)
            accepted = right(k)
            tokens += accepted + 1
            guessed = accepted == k and rng.random() < rate
            there = min(16, int(verify(k + 1)) - 1) if is_ahead and guessed else 0
        return tokens / time_

    assert in_turn(3, verify, rate) == pytest.approx(played(False), rel=0.02)
    assert ahead(3, verify, rate) == pytest.approx(played(True), rel=0.02)


def test_the_page_has_the_table() -> None:
    assert table() in (ROOT / "docs" / "ahead.md").read_text()
