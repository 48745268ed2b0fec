"""The index finds what comparing with every earlier place finds, however the text has grown."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from spec_local.drafters.suffix_index import BREAK, DEPTH, SuffixIndex

FEW = st.lists(st.integers(0, 1), max_size=16)
MORE = st.lists(st.integers(0, 3), max_size=80)


def common_ending(one: Sequence[int], other: Sequence[int]) -> int:
    length = 0
    while length < min(len(one), len(other), DEPTH) and one[-1 - length] == other[-1 - length]:
        length += 1
    return length


def by_comparing(text: Sequence[int], ending: Sequence[int]) -> tuple[int, list[int]]:
    """The longest match, and all positions that follow one: every earlier place is looked at."""
    lengths = [common_ending(text[:position], ending) for position in range(len(text))]
    longest = max(lengths, default=0)
    return longest, [p for p, length in enumerate(lengths) if length == longest > 0]


@given(FEW, FEW)
def test_all_places_of_the_longest_match_are_found(text: list[int], ending: list[int]) -> None:
    assert SuffixIndex(text).longest(ending) == by_comparing(text, ending)


@given(MORE, MORE)
def test_of_many_places_some_are_reported_and_all_are_right(
    text: list[int], ending: list[int]
) -> None:
    length, found = SuffixIndex(text).longest(ending)
    longest, places = by_comparing(text, ending)
    assert length == longest
    assert set(found) <= set(places)
    assert bool(found) == bool(places)
    assert found == sorted(set(found))


@given(FEW, FEW, st.integers(0, 5))
def test_places_of_too_short_a_match_are_not_reported(
    text: list[int], ending: list[int], beyond: int
) -> None:
    length, places = by_comparing(text, ending)
    expected = places if length > beyond else []
    assert SuffixIndex(text).longest(ending, beyond) == (length, expected)


@given(MORE, st.integers(0, 80))
def test_the_ending_of_a_text_is_found_before_it_and_not_at_its_end(
    text: list[int], start: int
) -> None:
    index = SuffixIndex(text[:start])
    for token in text[start:]:
        index.extend([token])
        found = index.longest(index.tokens.tolist())
        assert found[0] == by_comparing(index.tokens, index.tokens)[0]
        assert len(index) not in found[1]


@given(st.lists(st.lists(st.integers(0, 2), max_size=30), max_size=6))
def test_growing_in_parts_is_growing_at_once(parts: list[list[int]]) -> None:
    grown, whole = SuffixIndex(), [token for part in parts for token in part]
    for part in parts:
        grown.extend(part)
    at_once = SuffixIndex(whole)
    for end in range(len(whole) + 1):
        assert grown.longest(whole[:end]) == at_once.longest(whole[:end])


def test_long_matches_count_as_equal_and_the_latest_are_reported() -> None:
    index = SuffixIndex([7] * (3 * DEPTH))
    length, found = index.longest([7] * (2 * DEPTH))
    assert length == DEPTH
    assert found[-1] == 3 * DEPTH - 1
    assert found == list(range(found[0], 3 * DEPTH))


def test_a_match_does_not_reach_into_another_text() -> None:
    index = SuffixIndex([1, 2, 3, BREAK, 2, 3, 4, BREAK])
    assert index.longest([1, 2, 3]) == (3, [3])
    assert index.longest([9, 2, 3]) == (2, [3, 6])
    assert index.longest([3, 2, 3]) == (2, [3, 6])
    assert index.longest([3, 4]) == (2, [7])
    assert index.longest([5, 6]) == (0, [])


def test_an_empty_text_and_an_empty_ending_match_nothing() -> None:
    assert SuffixIndex().longest([1, 2]) == (0, [])
    assert SuffixIndex([1, 2]).longest([]) == (0, [])
