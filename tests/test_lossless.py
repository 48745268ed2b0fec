"""The whole engine with its real noise, over several rounds: distributed as the target alone.

Every test that could find a fault is shown to find it, at the size it has without `--full`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np
import pytest
from scipy import stats

from spec_local.drafters.lookahead import LookaheadDrafter
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.lookup_tree import LookupTreeDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.tree import TreeDrafter
from spec_local.engine import verify
from spec_local.engine.types import Drafter
from spec_local.engine.verify import acceptance
from spec_local.sampling import sampler
from spec_local.sampling.noise import draft_seed, keyed_coin, keyed_gumbel
from spec_local.sampling.settings import AcceptanceRule, Sampling
from spec_local.sampling.types import Logits
from tests.fake import END, PROMPT, TableSession, run, start, tokens_of
from tests.toy_vocabulary import drawing, writing

SETTING = {"temperature": 1.0, "top_k": 4, "top_p": 1.0, "min_p": 0.0}
LEAST_P = 0.001
LENGTH = 3
"""Tokens in a row that are counted together."""


# ---- texts of a target that remembers -----------------------------------------------------------


def target() -> TableSession:
    return TableSession(seed=4, sharpness=0.7, end_bias=0.5)


DRAFTERS: dict[str, Callable[[], Drafter]] = {
    "good": lambda: ModelDrafter(TableSession(seed=4, sharpness=0.5, end_bias=0.5)),
    "bad": lambda: ModelDrafter(TableSession(seed=5, sharpness=0.7, end_bias=1.0)),
    "eager to end": lambda: ModelDrafter(TableSession(seed=4, sharpness=0.7, end_bias=1.5)),
    "lookup": lambda: LookupDrafter(min_match=1),
    "lookup tree": lambda: LookupTreeDrafter(min_match=1),
    "lookahead": LookaheadDrafter,
    "tree": lambda: TreeDrafter(TableSession(seed=4, sharpness=0.5, end_bias=0.5)),
    "bad tree": lambda: TreeDrafter(TableSession(seed=5, sharpness=0.7, end_bias=1.0)),
    "of another vocabulary, drawing": lambda: drawing(TableSession(seed=5, end_bias=1.0)),
    "of another vocabulary, writing": lambda: writing(TableSession(seed=5, end_bias=1.0)),
}


def likeliest(context: Sequence[int]) -> list[int]:
    """The tokens that can come next, the likeliest first."""
    return [int(token) for token in np.argsort(-target().row(context))[:4]]


@cache
def with_something_to_find() -> tuple[int, ...]:
    """The prompt, after what each first token is likely followed by."""
    seen = list[int]()
    for first in likeliest(PROMPT):
        text = [*PROMPT, first]
        for _ in range(LENGTH):
            text.append(likeliest(text)[0])
        seen += text[len(PROMPT) :]
    return (*seen, *PROMPT)


def expected(context: tuple[int, ...], length: int) -> dict[tuple[int, ...], float]:
    """Texts of the target alone and their probabilities; nothing follows END."""
    if length == 0 or context[-1] == END:
        return {(): 1.0}
    row, top = target().row(context).astype(float), likeliest(context)
    weights = np.exp(row[top] - row[top].max())
    return {
        (int(token), *rest): weight / weights.sum() * p
        for token, weight in zip(top, weights, strict=True)
        for rest, p in expected((*context, int(token)), length - 1).items()
    }


def p_of_texts(rule: AcceptanceRule, name: str, k: int, full: bool) -> float:
    """How likely the first tokens of many texts are, if the target alone writes them."""
    texts = 3_000 if full else 300
    counts: Counter[tuple[int, ...]] = Counter()
    drafted = 0
    for seed in range(texts):
        sampling = Sampling(seed=seed, acceptance=rule, **SETTING)  # type: ignore[arg-type]
        rounds = run(
            target(), DRAFTERS[name](), sampling=sampling, k=k, max_tokens=LENGTH + 1,
            context=list(with_something_to_find()),
        )  # fmt: skip
        counts[tuple(tokens_of(rounds)[:LENGTH])] += 1
        drafted += sum(round_.drafted for round_ in rounds)
    assert drafted > texts / 2
    wanted = expected(PROMPT, LENGTH)
    assert counts.keys() <= wanted.keys()
    assert sum(wanted.values()) == pytest.approx(1)
    frequent = [text for text, p in wanted.items() if p * texts >= 5]
    observed = [counts[text] for text in frequent]
    ideal = [wanted[text] * texts for text in frequent]
    rest = texts - sum(ideal)
    if rest > 5:
        observed, ideal = [*observed, texts - sum(observed)], [*ideal, rest]
    found = stats.chisquare(observed, np.array(ideal) * sum(observed) / sum(ideal))
    return float(found.pvalue)


@pytest.mark.parametrize("name", DRAFTERS)
@pytest.mark.parametrize("rule", ["keyed", "rejection", "block"])
@pytest.mark.parametrize("k", [1, 4])
def test_texts_have_the_targets_distribution(
    rule: AcceptanceRule, name: str, k: int, full: bool
) -> None:
    assert p_of_texts(rule, name, k, full) > LEAST_P


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("residual", lambda p, _q, _weight=1.0: p),
        ("acceptance", lambda *given: min(1.0, 1.5 * acceptance(*given))),
    ],
    ids=["recovered tokens from the whole p", "accepted half as often again"],
)
@pytest.mark.parametrize("rule", ["rejection", "block"])
def test_texts_show_a_rule_that_is_wrong(
    rule: AcceptanceRule, name: str, fault: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, name, fault)
    assert p_of_texts(rule, "lookup", 4, full=False) < LEAST_P


# ---- texts of a target that forgets everything --------------------------------------------------


class Dice(TableSession):
    """The same probabilities whatever came before."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__(n_vocab=len(probabilities))
        self._row = np.log(probabilities).astype(np.float32)

    def row(self, context: Sequence[int]) -> Logits:
        return self._row


# Where noise that is used twice shows most: drafts that are often rejected, by what follows too.
HARD = {
    "the paper's coins": ((1 / 3, 2 / 3), (2 / 3, 1 / 3)),
    "a loaded die": ((0.2, 0.4, 0.4), (0.8, 0.19, 0.01)),
}


def throws(
    rule: AcceptanceRule, name: str, k: int, texts: int, length: int = 200
) -> Iterator[tuple[int, ...]]:
    """Three dice in a row, from the beginning of a round on; none is thrown twice.

    What a round begins with depends on nothing that comes later, so they are independent. In the
    middle of a text, that a draft was rejected before must not matter either.
    """
    p, q = HARD[name]
    for seed in range(texts):
        sampling = Sampling(seed=seed, acceptance=rule, **SETTING)  # type: ignore[arg-type]
        rounds = start(
            Dice(*p), ModelDrafter(Dice(*q)), [0, 1], sampling=sampling, k=k, max_tokens=length,
            is_end=lambda token: False,
        )  # fmt: skip
        next(rounds)  # drawn without a draft
        thrown = list[int]()
        for round_ in rounds:
            thrown += round_.tokens
            if len(thrown) >= LENGTH:
                yield tuple(thrown[:LENGTH])
                thrown = []


def p_of_throws(rule: AcceptanceRule, name: str, k: int, full: bool) -> float:
    p, _q = HARD[name]
    counts = np.zeros((len(p),) * LENGTH)
    for thrown in throws(rule, name, k, texts=240 if full else 16):
        counts[thrown] += 1
    wanted = np.einsum("a,b,c", p, p, p) * counts.sum()
    return float(stats.chisquare(counts.ravel(), wanted.ravel()).pvalue)


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("rule", ["keyed", "rejection", "block"])
@pytest.mark.parametrize("k", [1, 3])
def test_no_random_number_is_used_twice(
    rule: AcceptanceRule, name: str, k: int, full: bool
) -> None:
    """Three dice in a row are independent, though drafts overlap from round to round."""
    assert p_of_throws(rule, name, k, full) > LEAST_P


@pytest.mark.parametrize(
    ("function", "fault", "rule", "name"),
    [
        ("draft_seed", lambda seed, _at: seed, "rejection", "a loaded die"),
        ("draft_seed", lambda seed, _at: seed, "block", "a loaded die"),
        ("draft_seed", lambda seed, _at: draft_seed(seed, 0), "block", "the paper's coins"),
        ("keyed_coin", lambda seed, at, _i: keyed_coin(seed, at, 0), "block", "a loaded die"),
        ("keyed_coin", lambda seed, _at, i: keyed_coin(seed, 0, i), "rejection", "a loaded die"),
        (
            "keyed_gumbel",
            lambda seed, _at, ids: keyed_gumbel(seed, 0, ids),
            "keyed",
            "a loaded die",
        ),
    ],
    ids=[
        "rejection: drafted with the target's noise",
        "block: drafted with the target's noise",
        "block: the same token drafted again after a rejection",
        "block: one coin for all questions at a position",
        "rejection: one coin for all positions",
        "keyed: one draw for all positions",
    ],
)
def test_a_random_number_that_is_used_twice_shows(
    function: str,
    fault: Callable[..., object],
    rule: AcceptanceRule,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler, function, fault)
    assert p_of_throws(rule, name, k=3, full=False) < LEAST_P
