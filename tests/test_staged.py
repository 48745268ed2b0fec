"""Staged speculation: the draft model's own drafts, in fewer evaluations of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.staged import StagedDrafter
from spec_local.engine.draft import Draft
from spec_local.engine.types import Pace
from spec_local.policies.policy import Policy
from spec_local.sampling.settings import AcceptanceRule, Sampling
from spec_local.sampling.types import Logits
from tests.fake import END, PROMPT, TableSession, run, start, tokens_of

REPETITIVE = Sampling(temperature=0)
"""Of a table, whose text depends on two tokens only, greedy text soon goes round in a circle."""


class Noted(ModelDrafter):
    """Keeps its drafts."""

    drafts: list[Draft]

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        self.drafts = [*getattr(self, "drafts", ()), super().propose(context, budget, pace)]
        return self.drafts[-1]


class NotedStaged(Noted, StagedDrafter):
    pass


def is_end(token: int) -> bool:
    return token == END


def both(
    sampling: Sampling, sharpness: float = 1.6, k: int = 6, tokens: int = 120
) -> tuple[Noted, Noted]:
    """A model and a staged one after drafting for the same text."""
    found = []
    for staged in (False, True):
        session = TableSession(seed=0, sharpness=sharpness, end_bias=-4)
        drafter = (
            NotedStaged(session, None, is_end, lookup=LookupDrafter())
            if staged
            else Noted(session, None, is_end)
        )
        target = TableSession(seed=0)
        plain = run(TableSession(seed=0), NoDrafter(), sampling=sampling, max_tokens=tokens)
        drafted = run(target, drafter, sampling=sampling, k=k, max_tokens=tokens)
        assert (tokens_of(drafted) == tokens_of(plain)) or sampling.acceptance != "keyed"
        found.append(drafter)
    return found[0], found[1]


@pytest.mark.parametrize("acceptance", ["keyed", "rejection", "block"])
@pytest.mark.parametrize("temperature", [0.0, 0.3, 0.7, 1.2])
def test_it_drafts_what_the_model_drafts(temperature: float, acceptance: AcceptanceRule) -> None:
    for seed in range(4):
        sampling = Sampling(
            temperature=temperature, top_k=0, min_p=0, seed=seed, acceptance=acceptance
        )
        model, staged = both(sampling)
        assert len(model.drafts) == len(staged.drafts)
        for expected, found in zip(model.drafts, staged.drafts, strict=True):
            assert found.tokens == expected.tokens
            assert found.confidences == expected.confidences
            for one, other in zip(
                expected.distributions or (), found.distributions or (), strict=True
            ):
                assert one.ids.tolist() == other.ids.tolist()
                assert one.probabilities.tolist() == other.probabilities.tolist()


def test_where_text_repeats_it_evaluates_less_often() -> None:
    model, staged = both(REPETITIVE, tokens=240)
    calls = [each.cache.session.calls for each in (model, staged)]  # type: ignore[attr-defined]
    assert len(calls[1]) < 0.4 * len(calls[0])
    assert all(
        sum(1 for evaluated, _seconds in draft.steps) < len(draft.tokens)
        for draft in staged.drafts[-5:]
    )


def test_every_evaluation_of_the_draft_model_is_told_with_its_width() -> None:
    for sampling in (REPETITIVE, Sampling(temperature=0.7, seed=2)):
        _model, staged = both(sampling, tokens=60)
        told = [evaluated for draft in staged.drafts for evaluated, _seconds in draft.steps]
        assert told == staged.cache.session.calls  # type: ignore[attr-defined]
        assert max(told[1:]) > 1
        assert all(seconds > 0 for draft in staged.drafts for _n, seconds in draft.steps)


@dataclass
class CannotGoBack(TableSession):
    """Goes back to where it was before the last evaluation of several rows, or forgets all."""

    before: int = 0
    reread: list[int] = field(default_factory=list)
    """Tokens held when all of them were forgotten."""

    def mark(self, depth: int) -> None:
        self.before = len(self.tokens)

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        if rows > 1:
            self.before = len(self.tokens)
        return super().evaluate(tokens, rows, parents)

    def truncate(self, length: int) -> None:
        if length < min(self.before, len(self.tokens)):
            self.reread.append(len(self.tokens))
            length = self.before = 0
        super().truncate(length)


def test_a_memory_that_cannot_go_back_is_not_asked_to_twice() -> None:
    sampling = Sampling(temperature=0.7, top_k=0, min_p=0, seed=1)
    draft = CannotGoBack(seed=0, sharpness=1.2, end_bias=-60)
    staged = StagedDrafter(draft, lookup=LookupDrafter(min_match=1))
    found = run(TableSession(seed=0, end_bias=-60), staged, sampling=sampling, k=8, max_tokens=300)
    plain = run(TableSession(seed=0, end_bias=-60), NoDrafter(), sampling=sampling, max_tokens=300)
    assert tokens_of(found) == tokens_of(plain)
    assert len(draft.reread) == 1


@dataclass
class Refusing(Policy):
    """A pace that takes tokens up to one that is unsure."""

    least: float
    most: int = 99
    taken: int = 0

    def more(self) -> bool:
        return self.taken < self.most

    def take(self, confidence: float) -> bool:
        self.taken += 1
        return confidence >= self.least


class PacedNoted(Noted):
    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        return super().propose(context, budget, Refusing(0.3, most=4))


class PacedStaged(PacedNoted, NotedStaged):
    pass


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_pace_stops_it_where_it_stops_the_model(temperature: float) -> None:
    sampling = Sampling(temperature=temperature, top_k=0, min_p=0, seed=3)
    model = PacedNoted(TableSession(seed=0, sharpness=1.6))
    staged = PacedStaged(TableSession(seed=0, sharpness=1.6), lookup=LookupDrafter(min_match=1))
    for drafter in (model, staged):
        context = list(PROMPT)
        target = TableSession(seed=0)
        for _round in start(target, drafter, context, sampling=sampling, k=9, max_tokens=150):
            held = drafter.cache.session.tokens
            assert held == context[: len(held)]
            assert len(held) < len(context)
    for expected, found in zip(model.drafts, staged.drafts, strict=True):
        assert found._replace(drafter="model", steps=expected.steps) == expected
    assert {draft.refused is None for draft in model.drafts} == {True, False}


@pytest.mark.parametrize("fail_at", [0, 1, 2, 5])
def test_an_interrupted_draft_leaves_the_cache_right(fail_at: int) -> None:
    draft = TableSession(seed=0, fail_at=fail_at)
    staged = StagedDrafter(draft, lookup=LookupDrafter())
    context = list(PROMPT)
    with pytest.raises(KeyboardInterrupt):
        run(TableSession(seed=0), staged, sampling=REPETITIVE, max_tokens=60, context=context)
    assert draft.tokens == context[: len(draft.tokens)]
    assert len(draft.tokens) < len(context)
    draft.fail_at = None
    again = run(TableSession(seed=0), staged, sampling=REPETITIVE, context=list(context))
    plain = run(TableSession(seed=0), NoDrafter(), sampling=REPETITIVE, context=list(context))
    assert tokens_of(again) == tokens_of(plain)


def test_an_end_token_is_never_evaluated_as_a_guess() -> None:
    """The prompt's turns end with it, so lookup would guess it."""
    context = [5, 6, 7, END, 5, 6, 7, END, 5, 6]
    draft = TableSession(seed=3, tokens=[])
    staged = StagedDrafter(draft, None, is_end, lookup=LookupDrafter())
    run(TableSession(seed=3), staged, sampling=REPETITIVE, context=context, max_tokens=30)
    assert END not in draft.tokens[10:]


@pytest.mark.llama
@pytest.mark.model("smollm2-135m")
def test_a_real_model_drafts_for_itself_in_fewer_evaluations(model_files: list[Path]) -> None:
    from spec_local import Runner

    prompt = [{"role": "user", "content": "Write the word banana fifty times."}]
    texts, calls, drafted = set(), {}, {}
    for drafter in ("model", "staged"):
        (file,) = model_files
        with Runner.load(target=file, draft=file, drafter=drafter, k=3) as runner:
            assert runner.draft is not None
            done = runner.complete(prompt, max_tokens=64, sampling=REPETITIVE)
            texts.add(done.text)
            calls[drafter] = runner.draft.decode_calls
            drafted[drafter] = done.stats.drafted
    assert len(texts) == 1
    assert drafted["staged"] >= 40
    assert calls["staged"] < 0.6 * calls["model"]
