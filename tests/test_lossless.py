"""The whole engine with its real noise, over several rounds: distributed as the target alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import stats

from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.engine.types import Drafter
from spec_local.sampling.settings import AcceptanceRule, Sampling
from spec_local.sampling.types import Logits
from tests.fake import END, PROMPT, TableSession, run, start, tokens_of

SETTING = {"temperature": 1.0, "top_k": 4, "top_p": 1.0, "min_p": 0.0}
TEXTS = 3_000
LENGTH = 3


def target() -> TableSession:
    return TableSession(seed=4, sharpness=0.7, end_bias=0.5)


DRAFTERS: dict[str, Callable[[], Drafter]] = {
    "good": lambda: ModelDrafter(TableSession(seed=4, sharpness=0.5, end_bias=0.5)),
    "bad": lambda: ModelDrafter(TableSession(seed=5, sharpness=0.7, end_bias=1.0)),
    "eager to end": lambda: ModelDrafter(TableSession(seed=4, sharpness=0.7, end_bias=1.5)),
    "lookup": lambda: LookupDrafter(min_match=1),
}


def expected(context: tuple[int, ...], length: int) -> dict[tuple[int, ...], float]:
    """Texts of the target alone and their probabilities; nothing follows END."""
    if length == 0 or context[-1] == END:
        return {(): 1.0}
    row = target().row(context).astype(float)
    top = np.argsort(-row)[:4]
    weights = np.exp(row[top] - row[top].max())
    return {
        (int(token), *rest): weight / weights.sum() * p
        for token, weight in zip(top, weights, strict=True)
        for rest, p in expected((*context, int(token)), length - 1).items()
    }


@pytest.mark.parametrize("name", DRAFTERS)
@pytest.mark.parametrize("rule", ["keyed", "rejection", "block"])
@pytest.mark.parametrize("k", [1, 4])
def test_texts_have_the_targets_distribution(rule: AcceptanceRule, name: str, k: int) -> None:
    counts: Counter[tuple[int, ...]] = Counter()
    for seed in range(TEXTS):
        sampling = Sampling(seed=seed, acceptance=rule, **SETTING)  # type: ignore[arg-type]
        rounds = run(target(), DRAFTERS[name](), sampling=sampling, k=k, max_tokens=LENGTH + 1)
        counts[tuple(tokens_of(rounds)[:LENGTH])] += 1
    wanted = expected(PROMPT, LENGTH)
    assert counts.keys() <= wanted.keys()
    assert sum(wanted.values()) == pytest.approx(1)
    frequent = [text for text, p in wanted.items() if p * TEXTS >= 5]
    observed = [counts[text] for text in frequent]
    ideal = [wanted[text] * TEXTS for text in frequent]
    rest = TEXTS - sum(ideal)
    if rest > 5:
        observed, ideal = [*observed, TEXTS - sum(observed)], [*ideal, rest]
    assert stats.chisquare(observed, np.array(ideal) * sum(observed) / sum(ideal)).pvalue > 0.001


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


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("rule", ["keyed", "rejection", "block"])
@pytest.mark.parametrize("k", [1, 3])
def test_no_random_number_is_used_twice(rule: AcceptanceRule, name: str, k: int) -> None:
    """Three dice in a row are independent, though drafts overlap from round to round."""
    p, q = HARD[name]
    texts = 12_000
    counts = np.zeros((len(p),) * 3)
    for seed in range(texts):
        sampling = Sampling(seed=seed, acceptance=rule, **SETTING)  # type: ignore[arg-type]
        rounds = start(
            Dice(*p), ModelDrafter(Dice(*q)), [0, 1], sampling=sampling, k=k, max_tokens=4,
            is_end=lambda token: False,
        )  # fmt: skip
        counts[tuple(tokens_of(list(rounds))[1:])] += 1  # the first is drawn without a draft
    wanted = np.einsum("a,b,c", p, p, p) * texts
    assert stats.chisquare(counts.ravel(), wanted.ravel()).pvalue > 0.001
