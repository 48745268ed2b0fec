"""A draft model that has not read everything: what it reads, keeps, and begins anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spec_local.control.drafter_state import DrafterState
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.window import WindowDrafter
from spec_local.engine.draft import NO_DRAFT, Outcome, Verdict
from spec_local.engine.speculate import Adaptive
from spec_local.errors import ContextOverflow
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits
from tests.fake import TableSession, run, sampler_for, tokens_of
from tests.test_adaptive import Unteachable, curve

GREEDY = Sampling(temperature=0)
WIDTH = 8
LONG = [token % 11 for token in range(50)]


def both(draft: TableSession) -> tuple[ModelDrafter, WindowDrafter]:
    whole = ModelDrafter(draft)
    return whole, WindowDrafter(whole, WIDTH)


def test_only_the_end_of_a_long_context_is_read() -> None:
    draft = TableSession(end_bias=-60)
    _, window = both(draft)
    window.begin(LONG, sampler_for(GREEDY, LONG))
    assert window.behind(LONG) == WIDTH
    found = window.propose(LONG, 3)
    assert len(found.tokens) == 3
    assert draft.calls == [WIDTH, 1, 1]
    assert draft.tokens == [*LONG[-WIDTH:], *found.tokens[:2]]


def test_a_window_grows_with_the_answer() -> None:
    draft = TableSession(end_bias=-60)
    _, window = both(draft)
    run(TableSession(end_bias=-60), window, sampling=GREEDY, k=3, context=list(LONG))
    assert max(draft.calls[1:]) <= 2
    assert len(draft.tokens) > 2 * WIDTH


def test_no_window_is_offered_where_everything_is_as_cheap_to_read() -> None:
    draft = TableSession()
    whole, window = both(draft)
    short = LONG[: 2 * WIDTH]
    window.begin(short, sampler_for(GREEDY, short))
    assert whole.behind(short) == len(short)
    assert window.behind(short) == 0
    assert window.propose(short, 3).tokens == ()
    assert draft.calls == []
    assert window.behind(LONG[: 2 * WIDTH + 1]) == WIDTH


def test_the_whole_may_be_read_after_all_and_then_serves_alone() -> None:
    draft = TableSession(end_bias=-60)
    whole, window = both(draft)
    for drafter in (whole, window):
        drafter.begin(LONG, sampler_for(GREEDY, LONG))
    window.propose(LONG, 2)
    assert whole.behind(LONG) == len(LONG)
    whole.propose(LONG, 2)
    assert draft.tokens[: len(LONG)] == LONG
    whole.observe([*LONG, 1], Outcome(NO_DRAFT, Verdict(0, 1), np.zeros((1, 24), np.float32)))
    assert window.behind([*LONG, 1]) == 0
    assert whole.behind([*LONG, 1]) == 1


def test_the_next_turn_of_a_conversation_goes_on_from_the_window() -> None:
    draft = TableSession(end_bias=-60)
    _, window = both(draft)
    window.begin(LONG, sampler_for(GREEDY, LONG))
    window.propose(LONG, 2)
    window.end(LONG)
    longer = [*LONG, 3, 4, 5]
    window.begin(longer, sampler_for(GREEDY, longer))
    assert window.behind(longer) == 4  # the last token of a context is always evaluated
    window.begin([9, 9, 9], sampler_for(GREEDY, [9, 9, 9]))
    assert draft.tokens == []
    assert window.cache.start == 0


def test_a_text_longer_than_the_drafts_context_is_drafted_from_its_end() -> None:
    for drafter in both(TableSession(n_ctx=4 * WIDTH, end_bias=-60)):
        target = TableSession(end_bias=-60)
        rounds = run(target, drafter, sampling=GREEDY, k=4, context=list(LONG), max_tokens=200)
        assert all(round_.drafted for round_ in rounds[1:-1])
        assert all(round_.accepted == round_.drafted for round_ in rounds[:-1])


class Spelled(TableSession):
    """Takes two positions for every token, and says so only of those it holds."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        if 2 * (len(self.tokens) + len(tokens)) > 60:
            raise ContextOverflow("does not fit")
        return super().evaluate(tokens, rows, parents)


def test_what_does_not_fit_after_all_is_begun_anew_with_less() -> None:
    draft = Spelled(n_ctx=60, end_bias=-60)
    drafter, target = ModelDrafter(draft), TableSession(end_bias=-60)
    plain = run(TableSession(end_bias=-60), NoDrafter(), sampling=GREEDY, context=list(LONG))
    rounds = run(target, drafter, sampling=GREEDY, context=list(LONG))
    assert tokens_of(rounds) == tokens_of(plain)
    assert sum(round_.accepted for round_ in rounds) > len(tokens_of(rounds)) / 2


def adaptive(draft: TableSession, reading: float) -> Adaptive:
    """Both ways to read, at so many plain tokens for each token read."""
    cost = curve(reading / 0.1, plain=0.1)
    states = {name: DrafterState(cost) for name in ("model", "window")}
    return Adaptive(both(draft), Unteachable(curve(0.05), states))


class NeedsAll(TableSession):
    """Is wrong until it holds as many tokens as the prompt has."""

    def row(self, context: Sequence[int]) -> Logits:
        return super().row(context) if len(context) >= len(PROMPT) else -super().row(context)


SURE = 12.0
PROMPT = [(7 * token) % 23 for token in range(600)]


def drafters_used(draft: TableSession, reading: float) -> set[str]:
    target, speculator = TableSession(sharpness=SURE, end_bias=-60), adaptive(draft, reading)
    rounds = run(target, speculator, sampling=GREEDY, context=list(PROMPT), max_tokens=300)
    assert sum(round_.accepted for round_ in rounds) > 150
    return {round_.drafter for round_ in rounds if round_.drafted}


def test_a_controller_has_the_window_read_where_everything_costs_too_much() -> None:
    assert drafters_used(TableSession(sharpness=SURE, end_bias=-60), reading=0.2) == {"window"}


def test_a_controller_has_everything_read_where_the_window_fails_and_reading_is_cheap() -> None:
    assert "model" in drafters_used(NeedsAll(sharpness=SURE, end_bias=-60), reading=0.001)
