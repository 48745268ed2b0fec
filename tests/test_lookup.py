"""Lookup: the longest match, then the most frequent, then the most recent continuation."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from spec_local.drafters.lookup import LookupDrafter
from spec_local.sampling.sampler import TokenSampler
from spec_local.sampling.settings import Sampling
from tests.table_chain import TableChain


def begin(drafter: LookupDrafter, context: Sequence[int]) -> None:
    sampling = Sampling()
    chain = TableChain(sampling)
    drafter.begin(context, TokenSampler(sampling, chain, context))
    chain.close()


def propose(context: Sequence[int], budget: int = 4, min_match: int = 2) -> list[int]:
    drafter = LookupDrafter(min_match)
    begin(drafter, context)
    return list(drafter.propose(context, budget).tokens)


def test_nothing_is_proposed_without_a_match() -> None:
    assert propose([]) == []
    assert propose([1]) == []
    assert propose([1, 2, 3, 4]) == []
    assert propose([1, 2, 3, 1]) == []  # one token agrees, two are asked for


def test_the_continuation_of_an_earlier_occurrence() -> None:
    assert propose([1, 2, 3, 4, 5, 1, 2]) == [3, 4, 5, 1]
    assert propose([1, 2, 3, 4, 5, 1, 2], budget=2) == [3, 4]


def test_the_longest_match_wins_over_a_more_recent_one() -> None:
    assert propose([9, 1, 2, 7, 7, 8, 1, 2, 5, 5, 9, 1, 2], budget=1) == [7]


def test_the_most_frequent_continuation_wins_over_the_most_recent() -> None:
    assert propose([1, 2, 3, 1, 2, 3, 0, 1, 2, 4, 9, 1, 2], budget=1) == [3]


def test_the_most_recent_continuation_breaks_a_tie() -> None:
    assert propose([5, 1, 2, 3, 6, 1, 2, 4, 7, 1, 2], budget=1) == [4]


def test_a_repetition_is_continued_beyond_the_end_of_the_text() -> None:
    assert propose([7, 8, 7, 8, 7, 8], budget=5) == [7, 8, 7, 8, 7]
    assert propose([3, 3, 3, 3], budget=6) == [3] * 6


def test_a_continued_conversation_keeps_its_index_and_another_one_starts_anew() -> None:
    drafter = LookupDrafter()
    begin(drafter, [1, 2, 3, 4])
    assert not drafter.propose([1, 2, 3, 4], 4).tokens
    begin(drafter, [1, 2, 3, 4, 1, 2])
    assert drafter.propose([1, 2, 3, 4, 1, 2], 2).tokens == (3, 4)
    begin(drafter, [5, 6, 1, 2])
    assert not drafter.propose([5, 6, 1, 2], 2).tokens


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 8), st.integers(1, 4))
def test_every_proposal_has_a_precedent(context: list[int], budget: int, min_match: int) -> None:
    """The first proposed token has followed the longest repeated ending of the text before."""
    proposed = propose(context, budget, min_match)
    repeated = 0
    while any(
        context[i : i + repeated + 1] == context[len(context) - repeated - 1 :]
        for i in range(len(context) - repeated - 1)
    ):
        repeated += 1
    assert len(proposed) == (budget if repeated >= min_match else 0)
    if proposed:
        ending = context[len(context) - min_match :]
        followers = {
            context[i + min_match]
            for i in range(len(context) - min_match)
            if context[i : i + min_match] == ending
        }
        assert proposed[0] in followers


@given(st.lists(st.integers(0, 2), min_size=1, max_size=50))
def test_growing_token_by_token_proposes_what_a_fresh_index_does(context: list[int]) -> None:
    grown = LookupDrafter()
    begin(grown, [])
    for length in range(1, len(context) + 1):
        part = context[:length]
        assert list(grown.propose(part, 3).tokens) == propose(part, 3)


def test_what_is_ahead_of_the_text_is_looked_up_and_not_entered() -> None:
    drafter, context = LookupDrafter(), [1, 2, 3, 4, 5, 9]
    begin(drafter, context)
    assert drafter.after(context, [1, 2], 3).tokens == (3, 4, 5)
    assert drafter.after(context, [1, 2], 9).tokens == (3, 4, 5, 9, 1, 2, 3, 4, 5)  # and round
    assert not drafter.after(context, [7, 8, 7, 8], 2).tokens
    assert drafter.propose([*context, 4, 5], 2).tokens == (9, 4)
