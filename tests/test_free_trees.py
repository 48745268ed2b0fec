"""Drafters of trees that need no second model: what they propose, exactly, on texts made for it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import pytest

from spec_local.drafters.library import Library
from spec_local.drafters.logitspec import LogitSpecDrafter
from spec_local.drafters.lookahead import LookaheadDrafter
from spec_local.drafters.lookup import LookupDrafter, vote
from spec_local.drafters.lookup_tree import LookupTreeDrafter, follow
from spec_local.drafters.merged import MergedDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.recycling import RecyclingDrafter
from spec_local.drafters.tree import TreeDrafter
from spec_local.drafters.trie import Trie
from spec_local.engine.draft import Draft, Outcome, Verdict
from spec_local.engine.types import Drafter
from spec_local.sampling.settings import AcceptanceRule, Sampling
from spec_local.sampling.types import Logits
from spec_local.util.tree import ROOT, path_to
from tests.fake import END, N_VOCAB, PROMPT, TableSession, run, sampler_for, tokens_of

GREEDY = Sampling(temperature=0)


def proposed(drafter: Drafter, context: Sequence[int], budget: int) -> Draft:
    drafter.begin(context, sampler_for(GREEDY, context))
    return drafter.propose(context, budget)


def paths(draft: Draft) -> dict[tuple[int, ...], float]:
    """The tokens to each node, and its confidence."""
    assert draft.parents is not None
    return {
        tuple(draft.tokens[each] for each in path_to(draft.parents, node)): draft.confidences[node]
        for node in range(len(draft.tokens))
    }


def row_of(*best: int) -> Logits:
    """Logits whose most probable tokens are these, in this order."""
    row = np.zeros(N_VOCAB, np.float32)
    for rank, token in enumerate(best):
        row[token] = 20.0 - rank
    return row


# ---- a trie -------------------------------------------------------------------------------------


def test_what_begins_alike_is_one_node() -> None:
    trie = Trie()
    trie.add_chain([(1, 0.6), (2, 0.5), (3, 0.5)])
    trie.add_chain([(1, 0.4), (4, 0.3)])
    trie.add_chain([(5, 0.2)])
    draft = trie.draft("it", 9)
    assert paths(draft) == {(1,): 0.6, (1, 2): 0.5, (1, 2, 3): 0.5, (1, 4): 0.3, (5,): 0.2}
    assert draft.tokens[:3] == (1, 2, 3)  # the likeliest chain lies in a row
    assert draft.drafter == "it"


def test_the_likeliest_nodes_are_drafted_and_siblings_share_the_chance() -> None:
    trie = Trie()
    for token, confidence in ((1, 0.7), (2, 0.6), (3, 0.9)):
        trie.add(ROOT, token, confidence)
    assert paths(trie.draft("", 3)) == pytest.approx({(3,): 0.9, (1,): 0.1, (2,): 0.0})
    assert trie.draft("", 1).tokens == (3,)


# ---- lookup -------------------------------------------------------------------------------------


def test_continuations_that_were_outvoted_are_drafted_too() -> None:
    #         7 8 → 1 2,  7 8 → 1 3,  7 8 → 4 5
    context = [7, 8, 1, 2, 9, 7, 8, 1, 3, 10, 7, 8, 4, 5, 11, 7, 8]
    draft = proposed(LookupTreeDrafter(), context, 5)
    match = 1 - 1 / 3
    assert paths(draft) == pytest.approx({
        (1,): match * 2 / 3,
        (4,): match / 3,
        (4, 5): 1 - 1 / 4,
        (1, 2): (1 - 1 / 4) / 2,
        (1, 3): (1 - 1 / 4) / 2,
    })  # fmt: skip
    chain = proposed(LookupDrafter(), context, 3)
    assert chain.tokens[:1] == (1,)


def test_a_tree_of_one_continuation_is_the_chain_that_lookup_drafts() -> None:
    context = [7, 8, 1, 2, 3, 4, 9, 7, 8]
    tree, chain = (proposed(each(), context, 4) for each in (LookupTreeDrafter, LookupDrafter))
    assert tree.tokens == chain.tokens == (1, 2, 3, 4)
    assert tree.parents == (ROOT, 0, 1, 2)
    assert tree.confidences == pytest.approx(chain.confidences)


def test_a_match_that_reaches_the_end_goes_on_into_its_own_path() -> None:
    text, ends = array("i", [5, 1, 2, 3, 1, 2]), [3]
    draft = follow(text, ends, 2, 7).draft("", 7)
    assert draft.tokens == tuple(vote(text, ends, 7)[0]) == (3, 1, 2, 3, 1, 2, 3)


def test_the_longest_match_of_all_texts_counts() -> None:
    library = Library([[1, 2, 3, 4], [9, 2, 3, 7]])
    assert proposed(LookupTreeDrafter(library=library), [5, 9, 2, 3], 1).tokens == (7,)


def test_an_end_token_does_not_stop_the_window() -> None:
    """What an end token hides is guessed anew, so the window goes on to find what comes."""

    class Ends(TableSession):
        def row(self, context: Sequence[int]) -> Logits:
            return row_of((context[-1] + 1) % 7, END) if context[-1] < 7 else row_of(END)

    drafter = LookaheadDrafter()
    drafter.begin([1, 2, 3], sampler_for(GREEDY, [1, 2, 3]))
    drafter._window = [[END] * 5, [END] * 5]
    rounds = run(Ends(), drafter, sampling=GREEDY, k=20, max_tokens=60)
    assert len(rounds) < 40


def test_nothing_is_drafted_where_nothing_stood_before() -> None:
    for drafter in (LookupTreeDrafter(), LogitSpecDrafter()):
        assert proposed(drafter, [1, 2, 3, 4], 4).tokens == ()
    assert proposed(LookupTreeDrafter(), [7, 8, 1, 7, 8], 0).tokens == ()


# ---- what rows of logits tell -------------------------------------------------------------------


def test_a_guess_finds_what_followed_it() -> None:
    """The last row thought of 8 beside 7, which came; 7 8 stood before."""
    context = [7, 8, 1, 2, 9, 5, 7]
    drafter = LogitSpecDrafter()
    drafter.begin(context, sampler_for(GREEDY, context))
    assert drafter.propose(context, 4).tokens == ()
    rows = np.array([row_of(7, 8, 3)])
    drafter.observe(context, Outcome(Draft(), Verdict(0, 7), rows))
    draft = drafter.propose(context, 3)
    assert draft.tokens == (8, 1, 2)


def test_recycling_drafts_what_was_thought_after_each_token() -> None:
    context = [1, 2, 5]
    drafter = RecyclingDrafter()
    drafter.begin(context, sampler_for(GREEDY, context))
    assert drafter.propose(context, 4).tokens == ()
    # After 2 the draft was 5 and then 6; 5 was right and 6 wrong: 7 came.
    rows = np.array([row_of(5, 3), row_of(7, 6), row_of(9, 8)])
    after = [1, 2, 5, 7]
    drafter.observe(after, Outcome(Draft((5, 6)), Verdict(1, 7), rows))
    drafter.observe([*after, 2], Outcome(Draft(), Verdict(0, 2), np.array([row_of(2, 4)])))
    draft = drafter.propose([*after, 2], 6)
    found = paths(draft)
    assert list(found)[:2] == [(5,), (5, 7)]
    assert (3,) in found
    assert sum(len(path) == 1 for path in found) <= 8
    assert draft.tokens[:2] == (5, 7)


def test_recycling_learns_how_often_each_rank_is_right() -> None:
    drafter = RecyclingDrafter()
    drafter.begin([1, 2], sampler_for(GREEDY, [1, 2]))
    before = None
    for _ in range(30):  # after 2 always the second candidate comes
        drafter.observe([1, 2, 6], Outcome(Draft(), Verdict(0, 6), np.array([row_of(5, 6)])))
        draft = drafter.propose([1, 2], 2)
        before = before or paths(draft)
    assert before is not None
    assert max(before, key=lambda path: before[path]) == (5,)
    found = paths(draft)
    assert max(found, key=lambda path: found[path]) == (6,)


def test_the_window_of_lookahead_finds_n_grams() -> None:
    """In a text of period 3 the pool soon holds what comes, which is then accepted."""

    class Wheel(TableSession):
        def row(self, context: Sequence[int]) -> Logits:
            return row_of((context[-1] + 1) % 7)

    greedy = Sampling(temperature=0)
    plain = run(Wheel(), NoDrafter(), sampling=greedy, max_tokens=40)
    rounds = run(Wheel(), LookaheadDrafter(), sampling=greedy, k=20, max_tokens=40)
    assert tokens_of(rounds) == tokens_of(plain)
    assert len(rounds) < 20


# ---- several at once ----------------------------------------------------------------------------


def test_merged_drafts_are_one_tree() -> None:
    context = [*PROMPT, 3, 1]
    model = ModelDrafter(TableSession(end_bias=-60))
    both = MergedDrafter([LookupDrafter(), model], "both")
    draft = proposed(both, context, 8)
    looked = proposed(LookupDrafter(), context, 8).tokens
    drawn = proposed(ModelDrafter(TableSession(end_bias=-60)), context, 8).tokens
    found = paths(draft)
    assert looked[:1] in found
    assert drawn[:1] in found
    assert looked[0] != drawn[0]
    assert len(draft.steps) == 8


@pytest.mark.parametrize("rule", ["rejection", "block"])
def test_what_is_drawn_is_not_merged(rule: AcceptanceRule) -> None:
    context = [*PROMPT, 3, 1]
    both = MergedDrafter([LookupDrafter(), TreeDrafter(TableSession(end_bias=-60))], "both")
    both.begin(context, sampler_for(Sampling(temperature=1.0, acceptance=rule), context))
    draft = both.propose(context, 6)
    assert draft.drafter == "tree"
    assert draft.distributions is not None


def test_a_library_is_looked_into() -> None:
    library = Library([[5, 6, 11, 12, 13]])
    for drafter in (LookupTreeDrafter(library=library), LogitSpecDrafter(library=library)):
        assert proposed(drafter, [1, 5, 6], 3).tokens == (11, 12, 13)
