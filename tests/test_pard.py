"""A draft from one evaluation: masks stand for tokens that are not known yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest

from spec_local.control.drafter_state import DrafterState
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.pard import PardDrafter
from spec_local.engine.speculate import Adaptive
from spec_local.errors import EngineError
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits
from tests.fake import END, N_VOCAB, PROMPT, TableSession, run, tokens_of
from tests.test_adaptive import Unteachable, curve

MASK = N_VOCAB
"""Behind the tokens that target and draft share."""
GREEDY = Sampling(temperature=0)
DRAWN = Sampling(temperature=1.0, top_k=0, min_p=0.0, seed=3)


@dataclass
class Parallel(TableSession):
    """At a mask it guesses from what it holds likeliest at the masks before."""

    n_vocab: int = MASK + 1

    def row(self, context: Sequence[int]) -> Logits:
        known = [token for token in context if token != MASK]
        for _ in range(len(context) - len(known)):
            known.append(int(super().row(known)[:MASK].argmax()))
        row = super().row(known)
        row[MASK] = -100.0
        return row


def target() -> TableSession:
    return TableSession(seed=0, end_bias=-60)


def drafter(**how: float) -> PardDrafter:
    return PardDrafter(Parallel(seed=0, end_bias=-60, **how), MASK, N_VOCAB)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_the_text_is_that_of_plain_decoding(sampling: Sampling, k: int) -> None:
    plain = run(target(), NoDrafter(), sampling=sampling)
    drafted = run(target(), drafter(), sampling=sampling, k=k)
    assert tokens_of(drafted) == tokens_of(plain)
    assert sum(round_.accepted for round_ in drafted) > 0


def test_a_draft_is_one_evaluation_of_what_is_new_and_the_masks() -> None:
    k, drafting = 4, drafter()
    session = drafting.cache.session
    assert isinstance(session, Parallel)
    rounds = run(target(), drafting, sampling=GREEDY, k=k, max_tokens=41)
    assert [round_.accepted for round_ in rounds[1:]] == [k] * 8  # greedily it guesses all
    assert len(session.calls) == len(rounds) - 1
    assert session.calls[0] == len(PROMPT) + 1 + k - 1
    assert set(session.calls[1:]) == {k + 1 + k - 1}  # what was accepted, the pending one, masks
    assert MASK not in session.tokens


def test_after_every_round_it_holds_committed_tokens_alone() -> None:
    drafting, context = drafter(), list(PROMPT)
    rounds = run(target(), drafting, sampling=DRAWN, context=context, max_tokens=60)
    held = drafting.cache.session.tokens
    assert held == context[: len(held)]
    assert {round_.accepted for round_ in rounds[1:]} > {4}
    for before, round_ in pairwise(rounds[1:-1]):
        assert round_.draft_evaluated == before.accepted + round_.drafted


def test_a_controller_drafts_with_it_where_that_pays() -> None:
    """Then a draft is one evaluation of the model, and where that is too dear there is none."""
    plain = run(target(), NoDrafter(), sampling=GREEDY, max_tokens=100)
    for price, drafts in ((0.05, True), (9.0, False)):
        drafting = drafter()
        session = drafting.cache.session
        assert isinstance(session, Parallel)
        state = DrafterState(curve(0.1, price), block=drafting.block)
        auto = Adaptive([drafting], Unteachable(curve(0.05), {"pard": state}))
        rounds = run(target(), auto, sampling=GREEDY, max_tokens=100)
        assert tokens_of(rounds) == tokens_of(plain)
        assert (sum(round_.accepted for round_ in rounds) > 60) is drafts
        drafted = [round_ for round_ in rounds if round_.draft_evaluated]
        assert len(session.calls) == len(drafted)
        assert bool(drafted) is drafts


def test_an_end_ends_the_draft() -> None:
    session = Parallel(seed=0, end_bias=60)
    drafting = PardDrafter(session, MASK, N_VOCAB, is_end=lambda token: token == END)
    rounds = run(TableSession(seed=0, end_bias=60), drafting, sampling=GREEDY, max_tokens=9)
    assert all(round_.drafted == 0 for round_ in rounds)


def test_what_does_not_fit_is_not_drafted() -> None:
    small = PardDrafter(Parallel(seed=0, n_ctx=14, end_bias=-60), MASK, N_VOCAB)
    plain = run(target(), NoDrafter(), sampling=GREEDY, max_tokens=40)
    assert tokens_of(run(target(), small, sampling=GREEDY, max_tokens=40)) == tokens_of(plain)


def test_one_that_fails_drafts_no_more(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Parallel):
        def evaluate(
            self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
        ) -> Logits:
            raise EngineError("It failed.")

    drafting = PardDrafter(Failing(), MASK, N_VOCAB)
    rounds = run(target(), drafting, sampling=GREEDY, max_tokens=9)
    assert len(rounds) == 9
    assert "drafts no more" in caplog.text


def test_one_token_is_what_a_draft_model_draws() -> None:
    of_model = run(target(), ModelDrafter(TableSession(seed=0, end_bias=-60)), sampling=DRAWN, k=1)
    assert [r.accepted for r in run(target(), drafter(), sampling=DRAWN, k=1)] == [
        r.accepted for r in of_model
    ]
