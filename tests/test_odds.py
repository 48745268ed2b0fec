"""What the controller expects of trees that are there, and what it learns from them."""

from __future__ import annotations

import pytest

from spec_local import drafters
from spec_local.cli.summary import summary
from spec_local.control.controller import Controller
from spec_local.control.drafter_state import DrafterState
from spec_local.control.odds import Odds
from spec_local.control.plan import Offer, Plan
from spec_local.drafters.build import DraftModel, build_some
from spec_local.drafters.library import Library
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.tree import TreeDrafter
from spec_local.engine.draft import Draft
from spec_local.engine.rounds import Earned, Round, Stats
from spec_local.engine.speculate import Adaptive, judge
from spec_local.errors import ConfigError
from spec_local.sampling.settings import Sampling
from spec_local.util.tree import ROOT
from tests.fake import PROMPT, TableSession, run, tokens_of
from tests.test_adaptive import Unteachable, curve
from tests.test_tree import RandomTrees, plain

#      0     1
#     / \     \
#    2   3     4
PARENTS = (ROOT, ROOT, 0, 0, 1)
CONFIDENCES = (0.6, 0.3, 0.5, 0.25, 0.9)


def test_the_likeliest_nodes_are_counted_first() -> None:
    odds = Odds.of(lambda confidence: confidence, CONFIDENCES, PARENTS)
    assert odds.chances == pytest.approx([0.6, 0.3, 0.3, 0.27, 0.15])
    assert odds.survivals(1) == pytest.approx([0.6])
    assert odds.survivals(2) == pytest.approx([0.9])
    assert odds.survivals(5) == pytest.approx([0.9, 0.72])
    for k in range(6):  # the mean number of accepted tokens, counted in two ways
        assert sum(odds.survivals(k)) == pytest.approx(sum(odds.chances[:k]))


def test_what_is_accepted_beside_the_first_chain_makes_rounds_wider() -> None:
    """Of the nodes 0 and 2 that are the chain nothing is evaluated again; 1, 4 and 3 are."""
    odds = Odds.of(lambda confidence: confidence, CONFIDENCES, PARENTS)
    assert odds.aside == pytest.approx([0.0, 0.3, 0.3, 0.57, 0.72])
    steep = [0.0, *(1 + 0.1 * w for w in range(4)), *(3 + 0.1 * w for w in range(3))]
    assert odds.costs(steep) == pytest.approx([
        1.1,
        1.2 + 0.3 * 0.1,
        1.3 + 0.3 * 1.7,  # three in ten times over the cliff
        3.0 + 0.57 * 0.1,
        3.1 + 0.72 * 0.1,
    ])  # fmt: skip
    narrow = steep[:6]  # no round is wider than the widest one
    assert odds.costs(narrow) == pytest.approx([1.1, 1.23, 1.81, 3.0, 3.0])
    chain = Odds.of(lambda confidence: confidence, CONFIDENCES, None)
    assert chain.costs(steep) == steep[2:]


def test_a_tree_without_branches_is_a_chain() -> None:
    chain = Odds.of(lambda confidence: confidence, (0.9, 0.5, 0.8), None)
    tree = Odds.of(lambda confidence: confidence, (0.9, 0.5, 0.8), (ROOT, 0, 1))
    assert chain.chances == tree.chances
    assert [chain.survivals(k) for k in range(4)] == [tree.survivals(k) for k in range(4)]
    row = [0.0, 1.0, 1.5, 1.6, 2.5]
    assert tree.costs(row) == chain.costs(row) == row[2:]


def test_all_guesses_where_the_text_went_are_judged() -> None:
    draft = Draft((7, 8, 5, 6, 9), "", confidences=CONFIDENCES, parents=PARENTS)
    found = judge(draft, (7, 6, 1))
    assert (list(found.right), list(found.wrong), found.first) == ([0.6, 0.25], [0.3, 0.5], 0.6)
    nothing_right = judge(draft, (2,))
    assert (list(nothing_right.right), list(nothing_right.wrong)) == ([], [0.6, 0.3])
    ended_early = judge(draft, (8,))
    assert (list(ended_early.right), list(ended_early.wrong)) == ([0.3], [0.6])


def test_a_second_guess_is_drafted_where_it_pays() -> None:
    """Two siblings that are right nearly half of the time each; a row costs a tenth, four or six.

    What the second one earns it costs once more, in the round after: 0.45 - 0.4 - 0.45 · 0.4 < 0.
    """
    for price, k in ((0.1, 2), (0.4, 1), (0.6, 0)):
        controller = Controller(curve(price), {"it": DrafterState()})
        controller.begin(100)
        offer = Offer("it", (0.5, 0.45), parents=(ROOT, ROOT))
        assert controller.plan([offer], 100, 8) == Plan("it" if k else "", k)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_auto_with_trees_writes_the_same_text(temperature: float) -> None:
    for seed in range(4):
        controller = Unteachable(curve(0.05), {"random trees": DrafterState()})
        auto = Adaptive([RandomTrees(seed)], controller)
        sampling = Sampling(temperature=temperature, seed=seed)
        context = list(PROMPT)
        rounds = run(TableSession(), auto, sampling=sampling, max_tokens=60, context=context)
        assert tokens_of(rounds) == plain(sampling)
        assert sum(round_.accepted for round_ in rounds) > 0


def test_statistics_name_who_earned_what() -> None:
    first = Round((1,), 0, 0, "", 8, 0, 0.0, 1.0, 0.0, 1.0)
    lookup = Round((1, 2, 3), 2, 4, "lookup", 5, 0, 0.0, 1.0, 0.0, 1.0)
    model = Round((4,), 0, 2, "model", 3, 2, 0.5, 1.0, 0.0, 1.5)
    stats = Stats()
    for round_ in (first, lookup, model, lookup):
        stats = stats.plus(round_)
    assert stats.by_drafter == {"lookup": Earned(2, 8, 4), "model": Earned(1, 2, 0)}
    assert stats.as_dict()["by_drafter"]["lookup"] == {"rounds": 2, "drafted": 8, "accepted": 4}
    assert "40% of 10 drafted accepted (lookup 4 of 8, model 0 of 2)," in summary(stats)
    assert "lookup" not in summary(Stats().plus(first).plus(lookup))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("acceptance", ["keyed", "rejection"])
def test_a_draft_models_tree_goes_as_far_as_it_pays(temperature: float, acceptance: str) -> None:
    """Where drafting and rows cost little trees are wide; where they cost much there are none."""
    drafted = []
    for price in (0.01, 2.0):
        state = DrafterState(curve(price, price))
        controller = Unteachable(curve(price), {"tree": state})
        auto = Adaptive([TreeDrafter(TableSession(sharpness=1.4))], controller)
        sampling = Sampling(temperature=temperature, seed=3, acceptance=acceptance)  # type: ignore[arg-type]
        rounds = run(TableSession(), auto, sampling=sampling, max_tokens=80)
        if acceptance == "keyed":
            plain = run(TableSession(), NoDrafter(), sampling=sampling, max_tokens=80)
            assert tokens_of(rounds) == tokens_of(plain)
        drafted.append(sum(round_.drafted for round_ in rounds) / len(rounds))
    assert drafted[0] > 4
    assert drafted[1] < 0.5


# ---- which drafters there are to choose from ----------------------------------------------------


def test_several_names_are_a_choice() -> None:
    assert drafters.chosen_from("auto") == ("auto",)
    assert drafters.chosen_from("lookup, recycling") == ("lookup", "recycling")
    assert drafters.chosen_from("lookup") == ()
    assert drafters.uses_draft("lookup,model")
    assert not drafters.uses_draft("lookup,recycling")
    drafters.check("lookup,recycling", drafts=0)
    drafters.check("lookup,pard", drafts=1)
    for wrong, said in (
        ("lookup,nobody", "no drafter 'nobody'"),
        ("lookup,lookahead", "Nobody can choose lookahead"),
        ("lookup,auto", "Nobody can choose auto"),
        ("lookup,lookup", "each drafter once"),
        ("lookup,", "no drafter ''"),
    ):
        with pytest.raises(ConfigError, match=said):
            drafters.uses_draft(wrong)
    with pytest.raises(ConfigError, match="needs a draft model"):
        drafters.check("lookup,model", drafts=0)
    with pytest.raises(ConfigError, match="how much to draft"):
        drafters.check("lookup,recycling", drafts=0, k=4)


def test_the_drafters_named_are_built_and_share_a_draft_models_cache() -> None:
    drafts = [DraftModel(TableSession(), 24, lambda _token: False)]
    found = build_some(("lookup-tree", "model", "staged"), drafts, Library())
    assert [each.name for each in found] == ["lookup-tree", "model", "window", "staged"]
    caches = {id(each.cache) for each in found if isinstance(each, ModelDrafter)}
    assert len(caches) == 1
    everything = build_some(("auto",), drafts, Library())
    assert [each.name for each in everything] == ["lookup", "model", "window"]
    assert [each.name for each in build_some(("auto",), (), Library())] == ["lookup"]
