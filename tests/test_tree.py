"""Trees: their structure, what the rules emit for them, and what a session keeps of one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np
import pytest

from spec_local.drafters import growing
from spec_local.drafters.build import DraftModel, build_some
from spec_local.drafters.library import Library
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.shapes import fixed_shape
from spec_local.drafters.tree import TreeDrafter
from spec_local.engine.draft import NO_DRAFT, Draft, Outcome, Verdict
from spec_local.engine.types import Pace
from spec_local.engine.verify import block, keyed, rejection
from spec_local.policies.policy import Policy
from spec_local.sampling.distribution import Distribution
from spec_local.sampling.settings import AcceptanceRule, Sampling
from spec_local.sampling.types import Logits, Sampler
from spec_local.util.tree import (
    MOST_LEAVES,
    ROOT,
    below,
    first_born,
    leaves,
    likely,
    path_to,
    with_leaves,
)
from tests.enumerate_outcomes import Setting, expected_accepted
from tests.fake import END, N_VOCAB, PROMPT, TableSession, run, sampler_for, tokens_of
from tests.test_verify import assert_lossless, drafters, random_table

#      0     1
#     / \     \
#    2   3     4
#    |
#    5
PARENTS = (ROOT, ROOT, 0, 0, 1, 2)
CHANCES = (0.6, 0.3, 0.5, 0.3, 0.9, 0.5)


def test_a_tree_is_its_parents() -> None:
    assert path_to(PARENTS, 5) == (0, 2, 5)
    assert path_to(PARENTS, ROOT) == ()
    assert leaves(PARENTS) == [3, 4, 5]
    assert below(PARENTS, {0}) == {2, 3, 5}
    assert likely(PARENTS, CHANCES) == pytest.approx([0.6, 0.3, 0.3, 0.18, 0.27, 0.15])
    assert first_born(PARENTS) == [0, 2, 5]


def test_the_worst_twigs_are_cut_first() -> None:
    assert with_leaves(PARENTS, CHANCES, 3) == [0, 1, 2, 3, 4, 5]
    assert with_leaves(PARENTS, CHANCES, 2) == [0, 1, 2, 4, 5]  # 3 is worth 0.18
    assert with_leaves(PARENTS, CHANCES, 1) == [0, 2, 5]  # 1 and 4 are worth 0.57, these 1.05


def test_a_tree_that_does_not_fit_is_cut_and_renumbered() -> None:
    tokens = (10, 11, 12, 13, 14, 15)
    draft = Draft(tokens, confidences=CHANCES, parents=PARENTS)
    two = draft.fitting(2)
    assert two.tokens == (10, 11, 12, 14, 15)
    assert two.parents == (ROOT, ROOT, 0, 1, 2)
    assert two.confidences == (0.6, 0.3, 0.5, 0.9, 0.5)
    chain = draft.fitting(1)
    assert (chain.tokens, chain.parents) == ((10, 12, 15), None)
    assert draft.fitting(3) == draft
    assert Draft(tokens).fitting(1) == Draft(tokens)


def test_a_drawn_tree_is_never_cut_for_what_was_drawn() -> None:
    q = tuple(random_table(i, 4)(()) for i in range(6))
    ids = np.arange(4, dtype=np.int32)
    drawn = tuple(Distribution.of_weights(ids, each) for each in q)
    draft = Draft((0, 1, 2, 3, 0, 1), confidences=(0.1, 0.9) * 3, distributions=drawn,
                  parents=PARENTS)  # fmt: skip
    for branches in (2, 3, MOST_LEAVES - 1):  # though three leaves would fit
        assert draft.fitting(branches).tokens == (0, 2, 1)
        assert draft.fitting(branches).parents == (ROOT, 0, 1)
    assert draft.fitting(MOST_LEAVES).tokens == draft.tokens
    assert draft.spine_first().tokens == (0, 2, 1, 1, 3, 0)


def test_the_shape_of_a_drawn_tree_is_fixed() -> None:
    for nodes in range(40):
        shape = fixed_shape(nodes)
        assert len(shape) == nodes
        assert all(ranks[:-1] in shape for ranks in shape if len(ranks) > 1)
        assert all((*r[:-1], r[-1] - 1) in shape for r in shape if r[-1] > 0)
        leaves_of = [r for r in shape if not any((*r, 0) == other for other in shape)]
        assert len(leaves_of) <= MOST_LEAVES
    assert fixed_shape(1) == {(0,)}
    assert (1,) in fixed_shape(12)


@pytest.mark.parametrize("rule", ["rejection", "block"])
def test_what_was_drawn_changes_nothing_about_the_tree(rule: AcceptanceRule) -> None:
    """Of as many texts as there are seeds all trees have one shape."""
    shapes = set()
    for seed in range(30):
        sampling = Sampling(temperature=1.2, seed=seed, acceptance=rule, min_p=0.0, top_p=1.0)
        draft = propose(TreeDrafter(TableSession(sharpness=0.7, end_bias=-60)), sampling, 12)
        shapes.add(draft.parents)
        assert draft.distributions is not None
    assert len(shapes) == 1


def test_a_tree_does_not_outgrow_the_draft_models_context() -> None:
    """It drafts less near the end, and does not give up what it has read."""
    session, target = TableSession(n_ctx=40, end_bias=-60), TableSession(end_bias=-60)
    drafter = TreeDrafter(session)
    run(target, drafter, sampling=Sampling(temperature=0.9, seed=1), k=8, max_tokens=31)
    assert drafter.cache.capacity == 40


@pytest.mark.parametrize("first", ["tree", "model"])
def test_drafters_that_share_a_model_keep_its_tree_in_any_order(first: str) -> None:
    session = TableSession(sharpness=4.0, end_bias=-60)
    drafts = [DraftModel(session, N_VOCAB, lambda token: token == END)]
    tree, model, _window = build_some(("tree", "model"), drafts, Library())
    for drafter in (tree, model):
        drafter.begin(PROMPT, sampler_for(Sampling(temperature=0), PROMPT))
    proposed = tree.propose(PROMPT, 6)
    assert proposed.parents is not None
    accepted = [proposed.tokens[node] for node in first_born(proposed.parents)[:2]]
    context = [*PROMPT, *accepted, 7]
    outcome = Outcome(proposed, Verdict(2, 7, last=1), np.zeros((7, N_VOCAB), np.float32))
    for drafter in (tree, model) if first == "tree" else (model, tree):
        drafter.observe(context, outcome)
    assert session.tokens == context[:-1]


def test_an_empty_tree_is_no_tree_to_a_session_that_cannot_branch() -> None:
    """As a draft model's that fails, or whose tokens are all forbidden."""

    class Empty(RandomTrees):
        def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
            return Draft((), self.name, parents=())

    class Chains(TableSession):
        def evaluate(
            self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
        ) -> Logits:
            assert parents is None
            return super().evaluate(tokens, rows, parents)

    sampling = Sampling(temperature=0.7, seed=1)
    rounds = run(Chains(branches=1), Empty(0), sampling=sampling, max_tokens=60)
    assert tokens_of(rounds) == plain(sampling)


def test_rows_that_are_pending_leave_less_room() -> None:
    """However much is pending after a tree, no evaluation has more rows than a session gives."""
    target = TableSession(sharpness=8.0, max_rows=9)
    trees = RandomTrees(2)
    run(target, trees, sampling=Sampling(temperature=0), k=8, max_tokens=120)
    assert max(target.calls[1:]) <= 9


def test_nothing_follows_an_end_token() -> None:
    tree = Draft((7, END, END, 5, 6, 4), confidences=CHANCES, parents=PARENTS)
    cut = tree.before_end(lambda token: token == END)
    assert cut.tokens == (7, END, END, 5)
    assert cut.parents == (ROOT, ROOT, 0, 0)
    assert cut.ends == {1, 2}


# ---- exactly the target's distribution ----------------------------------------------------------

SHAPES = {
    "two siblings": (ROOT, ROOT),
    "three siblings": (ROOT, ROOT, ROOT),
    "a chain": (ROOT, 0, 1),
    "a fork": (ROOT, 0, 0),
    "two twigs": (ROOT, ROOT, 0, 1),
}


@pytest.mark.parametrize("rule", [keyed, rejection, block])
@pytest.mark.parametrize("name", ["equal", "good", "adversarial", "flat"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end", [None, 1])
def test_trees_are_lossless(rule: object, name: str, shape: str, end: int | None) -> None:
    target, parents = random_table(3, 3), SHAPES[shape]
    setting = Setting(
        rule, target, drafters(target, 3)[name], len(parents), parents=parents, end=end,  # type: ignore[arg-type]
    )  # fmt: skip
    assert_lossless(setting, 2)


@pytest.mark.parametrize("name", ["good", "flat"])
def test_point_masses_in_a_tree_are_lossless(name: str) -> None:
    target = random_table(4, 3)
    table = drafters(target, 3)[name]
    setting = Setting(rejection, target, table, 3, with_probabilities=False, parents=(-1, -1, 0))
    assert_lossless(setting, 2)


@pytest.mark.parametrize("rule", [keyed, rejection])
def test_siblings_add_to_what_is_accepted(rule: object) -> None:
    target = random_table(6, 4)
    table = drafters(target, 4)["adversarial"]
    by_count = [
        expected_accepted(Setting(rule, target, table, n, parents=(ROOT,) * n))  # type: ignore[arg-type]
        for n in (1, 2, 3, 4)
    ]
    assert by_count == sorted(by_count)
    assert by_count[0] < by_count[1] < by_count[2]
    assert by_count[3] == pytest.approx(1)  # one of all tokens is the one


# ---- the loop -----------------------------------------------------------------------------------


class RandomTrees:
    """Trees of any shape, which the target's own text goes through more or less."""

    name = "random trees"

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.seen: list[Outcome] = []

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        pass

    def behind(self, context: Sequence[int]) -> int:
        return 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        size = self._random.randint(0, budget)
        if size == 0:
            return NO_DRAFT
        parents = [self._random.randint(ROOT, node - 1) for node in range(size)]
        likely_next, used = TableSession(), set[tuple[int, int]]()
        tokens = list[int]()
        for node, parent in enumerate(parents):
            before = [tokens[each] for each in path_to(parents, parent)]
            order = np.argsort(-likely_next.row([*context, *before])).tolist()
            token = next(t for t in order if (parent, t) not in used)
            if self._random.random() < 0.2:
                token = next(t for t in order[::-1] if (parent, t) not in used)
            used.add((parent, token))
            tokens.append(token)
            assert len(tokens) == node + 1
        return Draft(tuple(tokens), self.name, confidences=(0.5,) * size, parents=tuple(parents))

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        self.seen.append(outcome)

    def end(self, context: Sequence[int]) -> None:
        pass

    def close(self) -> None:
        pass


@cache
def plain(sampling: Sampling) -> list[int]:
    return tokens_of(run(TableSession(), NoDrafter(), sampling=sampling, max_tokens=60))


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.2])
@pytest.mark.parametrize("branches", [1, 2, 5, 16])
def test_any_tree_leaves_the_text_unchanged(temperature: float, branches: int) -> None:
    accepted_beside_the_first = 0
    for seed, k in product(range(4), (1, 5, 12)):
        sampling = Sampling(temperature=temperature, seed=seed)
        target, trees = TableSession(branches=branches), RandomTrees(seed)
        context = list(PROMPT)
        rounds = run(target, trees, sampling=sampling, k=k, max_tokens=60, context=context)
        assert tokens_of(rounds) == plain(sampling)
        assert target.tokens == context[:-1]
        for outcome in trees.seen:
            path = outcome.draft.path(outcome.verdict)
            assert len(path) == outcome.verdict.accepted
            accepted_beside_the_first += list(path) != list(range(len(path)))
    assert (accepted_beside_the_first > 0) is (branches > 1)


def test_what_lies_elsewhere_in_the_cache_is_evaluated_again() -> None:
    """Of the path 1, 2 nothing stands right after the committed tokens; of 0, 2 the first does."""
    target = TableSession(sharpness=8.0)
    first = int(target.row(PROMPT).argmax())
    second = int(target.row([*PROMPT, first]).argmax())
    third = int(target.row([*PROMPT, first, second]).argmax())
    wrong = next(t for t in range(N_VOCAB) if t not in (first, second, third))

    def kept(tokens: Sequence[int], parents: Sequence[int]) -> tuple[int, int]:
        """Accepted tokens of the draft of the second round, and what the third evaluates."""

        class Once(RandomTrees):
            def propose(
                self, context: Sequence[int], budget: int, pace: Pace | None = None
            ) -> Draft:
                if len(context) > len(PROMPT) + 1:
                    return NO_DRAFT
                return Draft(tuple(tokens), "", confidences=(0.5,) * 3, parents=tuple(parents))

        session, greedy = TableSession(sharpness=8.0), Sampling(temperature=0)
        rounds = run(session, Once(0), sampling=greedy, k=3, max_tokens=6)
        return rounds[1].accepted, rounds[2].evaluated

    assert kept((second, third, wrong), (ROOT, 0, 0)) == (2, 1)
    assert kept((second, wrong, third), (ROOT, 0, 0)) == (2, 2)
    assert kept((wrong, second, third), (ROOT, ROOT, 1)) == (2, 3)


# ---- a draft model's tree -----------------------------------------------------------------------


def propose(drafter: TreeDrafter, sampling: Sampling, budget: int) -> Draft:
    context = list(PROMPT)
    drafter.begin(context, sampler_for(sampling, context))
    return drafter.propose(context, budget)


def test_the_likeliest_paths_are_drafted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many evaluations as it is deep; greedy confidences are the draft model's probabilities."""
    monkeypatch.setattr(growing, "_LEAST", 1e-9)  # else it stops before the last level
    session = TableSession(sharpness=1.0, end_bias=-60)
    draft = propose(TreeDrafter(session), Sampling(temperature=0), 6)
    assert draft.parents is not None
    paths = {
        tuple(draft.tokens[each] for each in path_to(draft.parents, node)): chance
        for node, chance in enumerate(likely(draft.parents, draft.confidences))
    }
    possible = dict[tuple[int, ...], float]()

    def walk(before: tuple[int, ...], chance: float) -> None:
        row = session.row([*PROMPT, *before]).astype(float)
        shares = np.exp(row) / np.exp(row).sum()
        for token in np.argsort(-shares)[: growing.SIBLINGS].tolist():
            possible[(*before, token)] = chance * shares[token]
            if len(before) < 5:
                walk((*before, token), chance * shares[token])

    walk((), 1.0)
    best = sorted(possible, key=lambda path: -possible[path])[:6]
    assert paths.keys() == set(best)
    for path, chance in paths.items():
        assert chance == pytest.approx(possible[path], rel=0.01)
    assert len(draft.steps) <= max(map(len, paths)) + 1
    assert len(leaves(draft.parents)) > 1


def test_a_level_is_as_wide_as_its_pace_says() -> None:
    asked = list[Sequence[float]]()

    class Narrow(Policy):
        def level(self, tokens: Sequence[float]) -> int:
            asked.append(tokens)
            return min(2, len(tokens)) if len(asked) < 4 else 0

    session = TableSession(sharpness=1.0, end_bias=-60)
    drafter = TreeDrafter(session)
    drafter.begin(PROMPT, sampler_for(Sampling(temperature=0), PROMPT))
    draft = drafter.propose(PROMPT, 8, Narrow())
    assert session.calls == [len(PROMPT), 2, 2, 2]
    assert all(list(each) == sorted(each, reverse=True) for each in asked)
    assert [width for width, _seconds in draft.steps] == session.calls


def test_a_sure_model_drafts_a_chain() -> None:
    session = TableSession(sharpness=30.0, end_bias=-60)
    sampling = Sampling(temperature=0)
    draft = propose(TreeDrafter(session), sampling, 4)
    chain = ModelDrafter(TableSession(sharpness=30.0, end_bias=-60))
    chain.begin(PROMPT, sampler_for(sampling, PROMPT))
    assert draft.parents is not None
    spine = first_born(draft.parents)
    assert [draft.tokens[node] for node in spine] == list(chain.propose(PROMPT, 4).tokens)


@pytest.mark.parametrize("rule", ["keyed", "rejection", "block"])
def test_siblings_are_different_tokens(rule: AcceptanceRule) -> None:
    for seed in range(20):
        sampling = Sampling(temperature=1.2, seed=seed, acceptance=rule)
        draft = propose(TreeDrafter(TableSession(sharpness=0.7)), sampling, 10)
        assert draft.parents is not None
        pairs = list(zip(draft.parents, draft.tokens, strict=True))
        assert len(set(pairs)) == len(pairs) > 1
        assert (draft.distributions is None) is (rule == "keyed")


class Unsure(TableSession):
    """Thinks much as the target does, and of each token something else."""

    def row(self, context: Sequence[int]) -> Logits:
        other = TableSession(seed=self.seed + 100, end_bias=0.0).row(context)
        return super().row(context) + 0.6 * other


def test_a_tree_accepts_more_than_a_chain_of_as_many_tokens() -> None:
    """In the mean over 30 sampled texts."""

    def accepted(drafter: type[ModelDrafter]) -> float:
        means = []
        for seed in range(30):
            sampling = Sampling(temperature=1.0, seed=seed)
            model, target = drafter(Unsure(end_bias=-60)), TableSession(end_bias=-60)
            rounds = run(target, model, sampling=sampling, k=6, max_tokens=60)
            means.append(len(tokens_of(rounds)) / len(rounds))
        return float(np.mean(means))

    assert accepted(TreeDrafter) > accepted(ModelDrafter) + 0.1


def test_the_draft_model_keeps_what_was_accepted() -> None:
    session = TableSession(sharpness=4.0, end_bias=-60)
    target = TableSession(sharpness=4.0, end_bias=-60)
    context = list(PROMPT)
    rounds = run(target, TreeDrafter(session), sampling=Sampling(temperature=0), k=5,
                 max_tokens=40, context=context)  # fmt: skip
    assert session.tokens == context[: len(session.tokens)]
    assert sum(round_.accepted for round_ in rounds) > 20
    # Every token of the text is evaluated by the draft model once, as a node or to catch up.
    assert sum(session.calls) <= len(context) + sum(round_.drafted for round_ in rounds)
