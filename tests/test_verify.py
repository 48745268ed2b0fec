"""The verification rules are lossless, exactly, and accept as many tokens as the theory says."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spec_local.engine.draft import Draft
from spec_local.engine.types import Verifier
from spec_local.engine.verify import acceptance, block, keyed, rejection, residual
from spec_local.sampling.distribution import Distribution, Probabilities
from spec_local.sampling.noise import keyed_gumbel
from tests.enumerate_outcomes import (
    Setting,
    Table,
    Text,
    drafts,
    expected_accepted,
    joint,
    joint_of_target,
)

RULES = {"rejection": rejection, "block": block, "keyed": keyed}
STOCHASTIC = {"rejection": rejection, "block": block}


def normalized(weights: Probabilities) -> Probabilities:
    shares: Probabilities = weights / weights.sum()
    return shares


def random_table(seed: int, n_vocab: int, sharpness: float = 1.5, zeros: int = 0) -> Table:
    """Probabilities that depend on the last two tokens; `zeros` tokens are impossible."""

    @cache
    def row(*key: int) -> Probabilities:
        rng = np.random.default_rng([seed, *key])
        weights = np.exp(rng.normal(size=n_vocab) * sharpness)
        weights[rng.permutation(n_vocab)[:zeros]] = 0
        return normalized(weights)

    return lambda text: row(len(text) % 2, *text[-2:])


def changed(target: Table, change: Callable[[Probabilities], Probabilities]) -> Table:
    """A drafter that knows the target and does something to its probabilities."""

    def table(text: Text) -> Probabilities:
        return normalized(change(target(text)))

    return table


def disjoint(p: Probabilities) -> Probabilities:
    """Mass only where the target has none, or if it has some everywhere, where it has least."""
    least: Probabilities = (p == p.min()).astype(float)
    return least


def keep_top(p: Probabilities) -> Probabilities:
    return np.where(p >= np.sort(p)[-2], p, 0.0)


def perturbed(size: float, p: Probabilities) -> Probabilities:
    shift: Probabilities = np.where(np.arange(len(p)) % 2, 1 + size, 1 - size)
    return p * shift


def drafters(target: Table, n_vocab: int) -> dict[str, Table]:
    return {
        "equal": target,
        "nearly equal": changed(target, partial(perturbed, 1e-12)),
        "good": changed(target, partial(perturbed, 0.3)),
        "truncated": changed(target, keep_top),
        "bad": random_table(77, n_vocab, zeros=n_vocab // 3),
        "adversarial": changed(target, lambda p: 1 / (p + 0.01)),
        "disjoint": changed(target, disjoint),
        "flat": changed(target, np.ones_like),
    }


DRAFTERS = tuple(drafters(random_table(0, 3), 3))


def assert_lossless(setting: Setting, length: int) -> None:
    found, wanted = joint(setting, length), joint_of_target(setting, length)
    assert sum(found.values()) == pytest.approx(1, abs=1e-9)
    for text in found.keys() | wanted.keys():
        assert found.get(text, 0.0) == pytest.approx(wanted.get(text, 0.0), abs=1e-9)
    assert found.keys() <= wanted.keys()  # nothing impossible, however improbable


# ---- exactly the target's distribution ----------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", DRAFTERS)
@pytest.mark.parametrize(
    ("n_vocab", "k", "length"),
    [(3, 0, 3), (3, 1, 3), (4, 1, 2), (3, 2, 3), (5, 2, 2), (8, 1, 2), (8, 2, 1), (3, 3, 2)],
)
def test_every_rule_is_lossless(rule: str, name: str, n_vocab: int, k: int, length: int) -> None:
    for zeros in (0, 1):
        target = random_table(k, n_vocab, zeros=zeros)
        drafter = drafters(target, n_vocab)[name]
        assert_lossless(Setting(RULES[rule], target, drafter, k), length)


@pytest.mark.parametrize("rule", STOCHASTIC)
@pytest.mark.parametrize("name", ["good", "truncated", "adversarial"])
def test_long_drafts_are_lossless(rule: str, name: str, full: bool) -> None:
    longest = [(3, 5, 3), (8, 3, 2)] if full else []
    for n_vocab, k, length in [(3, 4, 3), (4, 4, 2), (6, 3, 2), *longest]:
        target = random_table(k, n_vocab)
        drafter = drafters(target, n_vocab)[name]
        assert_lossless(Setting(RULES[rule], target, drafter, k), length)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_drafter_without_probabilities_is_a_point_mass(rule: str, k: int) -> None:
    target = random_table(5, 4)
    drafter = changed(random_table(6, 4), lambda q: (q == q.max()).astype(float))
    assert_lossless(Setting(RULES[rule], target, drafter, k, with_probabilities=False), 3)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["equal", "good", "bad", "adversarial"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_drafted_end_tokens_keep_it_lossless(rule: str, name: str, k: int) -> None:
    target = random_table(9, 4)
    drafter = drafters(target, 4)[name]
    assert_lossless(Setting(RULES[rule], target, drafter, k, end=3), length=2)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["good", "bad", "adversarial"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_ending_a_draft_by_the_distributions_on_the_way_keeps_it_lossless(
    rule: str, name: str, k: int
) -> None:
    """As `DraftPace` does: the token at hand is left out for what it *might* have been."""
    target = random_table(5 + k, 4)
    drafter = drafters(target, 4)[name]
    cut = Setting(RULES[rule], target, drafter, k, takes=lambda q, _token: bool(q.max() > 0.6))
    texts = product(range(4), repeat=2)
    assert {len(draft.tokens) for text in texts for draft, _p in drafts(cut, text)} > {k}
    assert_lossless(cut, 3 if k < 3 else 2)


@pytest.mark.parametrize("rule", STOCHASTIC)
def test_ending_a_draft_by_the_token_drawn_would_be_biased(rule: str) -> None:
    """Why `Proposal.confidence` is the best token's probability for these rules."""
    target = random_table(5, 4)
    drafter = drafters(target, 4)["good"]
    cut = Setting(RULES[rule], target, drafter, 1, takes=lambda q, token: q[token] > 0.3)
    assert joint(cut, 1) != pytest.approx(joint_of_target(cut, 1), abs=1e-3)


def tables_of(rows: list[list[float]]) -> Table:
    """Row i is for texts of length i, modulo the number of rows."""
    probabilities = [np.array(row) / sum(row) for row in rows]
    return lambda text: probabilities[len(text) % len(probabilities)]


def a_table(n_vocab: int) -> st.SearchStrategy[Table]:
    weight = st.one_of(st.just(0.0), st.floats(1e-13, 1.0), st.sampled_from([1e-300, 1e-12, 0.5]))
    row = st.lists(weight, min_size=n_vocab, max_size=n_vocab).filter(lambda r: max(r) > 1e-3)
    return st.lists(row, min_size=2, max_size=2).map(tables_of)


two_tables = st.integers(3, 5).flatmap(lambda n: st.tuples(a_table(n), a_table(n)))


@settings(max_examples=60, deadline=None)
@given(two_tables, st.integers(0, 2), st.sampled_from([None, 2]))
def test_any_distributions_are_lossless(
    tables: tuple[Table, Table], k: int, end: int | None
) -> None:
    target, drafter = tables
    for rule in STOCHASTIC.values():
        assert_lossless(Setting(rule, target, drafter, k, end=end), length=2)


# ---- as many accepted tokens as promised --------------------------------------------------------


def overlap(setting: Setting, text: Text) -> float:
    """Σ min(p, q) = 1 - TV after the text."""
    return float(np.minimum(setting.target(text), setting.drafter(text)).sum())


def product_of_overlaps(setting: Setting, text: Text = (), depth: int = 0) -> float:
    """Σ_i E Π_{j≤i} (1 - TV_j), by recursion over what both can say."""
    if depth == setting.k:
        return 0.0
    both = np.minimum(setting.target(text), setting.drafter(text))
    total: float = sum(
        weight * (1 + product_of_overlaps(setting, (*text, token), depth + 1))
        for token, weight in enumerate(both.tolist())
        if weight > 0
    )
    return total


@pytest.mark.parametrize("name", DRAFTERS)
@pytest.mark.parametrize("k", [0, 1, 2, 3, 4])
def test_rejection_accepts_what_the_overlap_allows(name: str, k: int) -> None:
    target = random_table(3, 3)
    setting = Setting(rejection, target, drafters(target, 3)[name], k)
    assert expected_accepted(setting) == pytest.approx(product_of_overlaps(setting), abs=1e-9)


@pytest.mark.parametrize("k", [0, 1, 2, 3, 5])
def test_rejection_follows_the_geometric_formula_where_the_overlap_is_constant(k: int) -> None:
    """(1 - a^(k+1)) / (1 - a) tokens per round for an overlap a, arXiv 2211.17192."""
    p, q = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.5, 0.3])
    setting = Setting(rejection, lambda _text: p, lambda _text: q, k)
    a = overlap(setting, ())
    formula = (1 - a ** (k + 1)) / (1 - a)
    assert 1 + expected_accepted(setting) == pytest.approx(formula, abs=1e-9)


def test_block_beats_rejection_on_the_papers_example() -> None:
    """Two binary tokens: 11/9 accepted instead of 10/9 (arXiv 2403.10444, section 2)."""
    p, q = np.array([1 / 3, 2 / 3]), np.array([2 / 3, 1 / 3])
    accepted = {
        name: expected_accepted(Setting(rule, lambda _text: p, lambda _text: q, 2))
        for name, rule in STOCHASTIC.items()
    }
    assert accepted["rejection"] == pytest.approx(10 / 9, abs=1e-12)
    assert accepted["block"] == pytest.approx(11 / 9, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(two_tables, st.integers(0, 3))
def test_block_never_accepts_fewer_than_rejection(tables: tuple[Table, Table], k: int) -> None:
    target, drafter = tables
    by_block, by_rejection = (
        expected_accepted(Setting(rule, target, drafter, k)) for rule in (block, rejection)
    )
    assert by_block >= by_rejection - 1e-9


def test_keyed_accepts_what_the_coupling_promises() -> None:
    """Between (1 - TV) / (1 + TV) and 1 - TV, and by the formula in `engine/verify.py`."""
    rng = np.random.default_rng(0)
    n, draws = 6, 20_000
    ids = np.arange(n, dtype=np.int32)
    noise = np.stack([keyed_gumbel(1, position, ids) for position in range(draws)])
    for case in range(12):
        p, q = rng.dirichlet(np.full(n, 0.3 + case / 4), size=2) + 1e-9
        p, q = p / p.sum(), q / q.sum()
        distance = np.abs(p - q).sum() / 2
        formula = sum(1 / np.maximum(p / p[x], q / q[x]).sum() for x in range(n))
        assert (1 - distance) / (1 + distance) - 1e-12 <= formula <= 1 - distance + 1e-12
        same = (np.log(p) + noise).argmax(axis=1) == (np.log(q) + noise).argmax(axis=1)
        four_deviations = 4 * np.sqrt(formula * (1 - formula) / draws)
        assert same.mean() == pytest.approx(formula, abs=four_deviations + 1e-4)


# ---- edges ---------------------------------------------------------------------------------------


def of(**weights: float) -> Distribution:
    ids = np.array([int(name[1:]) for name in weights], np.int32)
    return Distribution.of_weights(ids, np.array(list(weights.values())))


def test_supports_need_not_agree() -> None:
    p, q = of(t1=0.5, t7=0.5), of(t7=0.25, t9=0.75)
    assert acceptance(p, q, 9) == 0
    assert acceptance(p, q, 7) == 1
    assert acceptance(p, q, 7, weight=0.25) == 0.5
    left = residual(p, q)
    assert left.ids.tolist() == [1, 7]
    assert left.probabilities.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_equal_distributions_leave_no_residual_and_no_nan() -> None:
    p = of(t1=0.3, t2=0.7)
    assert residual(p, p) is p
    assert acceptance(p, p, 1) == acceptance(p, p, 2) == 1
    assert residual(p, of(t1=0.3 - 1e-12, t2=0.7 + 1e-12)).ids.tolist() == [1]


def test_disjoint_supports_are_always_rejected() -> None:
    p, q = of(t1=1.0), of(t2=1.0)
    assert acceptance(p, q, 2) == 0
    assert residual(p, q).ids.tolist() == [1]


def test_a_drafter_that_denies_its_own_token_divides_by_nothing() -> None:
    assert acceptance(of(t1=0.5, t2=0.5), of(t2=1.0), 1) == 1
    assert acceptance(of(t2=1.0), of(t2=1.0), 1) == 0


def test_tokens_at_minus_infinity_are_not_in_the_distribution() -> None:
    logits = np.array([0.0, -np.inf, -2000.0, 1.0], np.float32)
    found = Distribution.of_logits(np.arange(4, dtype=np.int32), logits)
    assert found.ids.tolist() == [0, 3]
    assert found.probabilities.sum() == pytest.approx(1)
    assert found.probability(1) == 0


def test_an_end_token_is_cut_off_but_still_judged() -> None:
    draft = Draft((4, 9, 5), distributions=(of(t4=1), of(t9=0.5, t1=0.5), of(t5=1)))
    cut = draft.before_end(lambda token: token == 9)
    assert (cut.tokens, cut.end, cut.judged) == ((4,), 9, (4, 9))
    assert cut.distribution(1).probability(9) == 0.5
    assert Draft((4, 9)).before_end(lambda token: token == 9).distribution(1).ids.tolist() == [9]


@pytest.mark.parametrize("rule", RULES)
def test_at_temperature_zero_every_rule_compares_argmaxes(rule: str) -> None:
    """Point masses: accepted while equal, the target's own token where not."""

    def one(token: int) -> Probabilities:
        mass: Probabilities = np.eye(4)[token]
        return mass

    target: Table = lambda text: one(len(text) % 4)  # noqa: E731
    right: Table = lambda text: one(len(text) % 4)  # noqa: E731
    wrong: Table = lambda text: one((len(text) + (len(text) == 2)) % 4)  # noqa: E731
    verifier: Verifier = RULES[rule]
    assert joint(Setting(verifier, target, right, 3), 4) == {(0, 1, 2, 3): 1.0}
    assert expected_accepted(Setting(verifier, target, right, 3)) == 3
    assert expected_accepted(Setting(verifier, target, wrong, 3)) == 2
