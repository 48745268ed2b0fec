"""What lies in the library is drafted where it fits, and never changes the text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec_local.drafters.library import Library
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.engine.draft import Draft
from spec_local.sampling.settings import Sampling
from tests.fake import PROMPT, TableSession, run, sampler_for, tokens_of


def propose(library: Library, context: Sequence[int], budget: int = 4, min_match: int = 2) -> Draft:
    drafter = LookupDrafter(min_match, library)
    drafter.begin(context, sampler_for(Sampling(), context))
    return drafter.propose(context, budget)


def test_a_prediction_is_the_draft_from_the_first_token_on() -> None:
    library = Library()
    library.predict([5, 6, 7], [1, 2, 3, 4])
    assert propose(library, [5, 6, 7]).tokens == (1, 2, 3, 4)
    assert propose(library, [5, 6, 7, 1]).tokens == (2, 3, 4)
    assert propose(library, [5, 6, 7, 1, 2, 3, 4]).tokens == ()


def test_after_a_departure_two_tokens_lead_back_to_a_prediction() -> None:
    library = Library()
    library.predict([5, 6, 7], [1, 2, 3, 4, 8])
    assert propose(library, [5, 6, 7, 1, 9]).tokens == ()
    assert propose(library, [5, 6, 7, 1, 9, 2]).tokens == ()
    assert propose(library, [5, 6, 7, 1, 9, 2, 3]).tokens == (4, 8)


def test_a_prediction_is_for_one_prompt() -> None:
    library = Library()
    library.predict([5, 6, 7], [1, 2])
    library.predict([5, 6, 7], [3, 4])
    assert propose(library, [5, 6, 7]).tokens == (3, 4)
    library.predict([5, 6, 7], [])
    assert propose(library, [5, 6, 7]).tokens == ()


def test_of_equal_matches_prediction_then_text_then_corpus_are_asked() -> None:
    library = Library([[1, 2, 3]])
    assert propose(library, [9, 1, 2]).tokens == (3,)
    assert propose(library, [1, 2, 4, 1, 2], budget=1).tokens == (4,)
    library.predict([0], [8, 1, 2, 5])
    assert propose(library, [1, 2, 4, 1, 2], budget=1).tokens == (5,)


def test_the_longest_match_wins_in_whichever_text_it_is() -> None:
    assert propose(Library([[7, 1, 2, 3]]), [1, 2, 4, 7, 1, 2], budget=1).tokens == (3,)


def test_where_a_longer_match_ends_its_text_a_shorter_one_goes_on() -> None:
    assert propose(Library([[7, 1, 2]]), [1, 2, 4, 7, 1, 2], budget=1).tokens == (4,)


def test_a_draft_stays_in_one_corpus_and_the_majority_may_end_it() -> None:
    assert propose(Library([[1, 2], [3, 4]]), [1, 2]).tokens == ()
    assert propose(Library([[1, 2, 3], [4, 5]]), [1, 2]).tokens == (3,)
    assert propose(Library([[1, 2], [1, 2], [1, 2, 3]]), [1, 2]).tokens == ()


def test_confidence_is_the_share_of_the_votes_times_the_rule_of_succession() -> None:
    library = Library([[1, 2, 3], [1, 2, 3], [1, 2, 4]])
    assert propose(library, [1, 2]).confidences == pytest.approx((2 / 3 * 2 / 3,))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["right", "shifted", "of another seed", "noise"])
def test_the_text_is_the_same_with_any_library(kind: str, temperature: float) -> None:
    sampling = Sampling(temperature=temperature, top_k=0, min_p=0, seed=3)
    other = Sampling(temperature=1.0, top_k=0, min_p=0, seed=4)
    plain = tokens_of(run(TableSession(), NoDrafter(), sampling=sampling))
    texts = {
        "right": plain,
        "shifted": plain[5:],
        "of another seed": tokens_of(run(TableSession(), NoDrafter(), sampling=other)),
        "noise": [token * 7 % 23 for token in range(200)],
    }
    for predicted in (True, False):
        library = Library([] if predicted else [texts[kind]])
        if predicted:
            library.predict(PROMPT, texts[kind])
        rounds = run(TableSession(), LookupDrafter(library=library), sampling=sampling)
        assert tokens_of(rounds) == plain
        if kind == "right" and predicted:
            accepted = sum(round_.accepted for round_ in rounds)
            assert accepted == sum(round_.drafted for round_ in rounds) > 0


@given(st.lists(st.lists(st.integers(0, 3), max_size=20), max_size=4), st.data())
def test_every_draft_stands_somewhere_after_the_same_tokens(
    corpora: list[list[int]], data: st.DataObject
) -> None:
    context = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=8))
    drafted = propose(Library(corpora), context, budget=1).tokens
    wanted = [*context[-2:], *drafted]
    texts = [*corpora, context]
    assert not drafted or any(
        text[i : i + 3] == wanted for text in texts for i in range(len(text) - 2)
    )
