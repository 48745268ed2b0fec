"""The guard: near ties are decided as plain decoding decides them, and only those are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.engine.decode import generate
from spec_local.engine.logprobs import TokenLogprobs
from spec_local.engine.rounds import Round
from spec_local.engine.speculate import FixedK
from spec_local.exact.guard import Guard
from spec_local.sampling.constraints import Constraint
from spec_local.sampling.distribution import Ids
from spec_local.sampling.sampler import TokenSampler
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits
from tests.fake import END, N_VOCAB, PROMPT, TableSession, sampler_for, tokens_of
from tests.table_chain import TableChain

DIFFERENCE = 0.2
SAMPLINGS = [
    Sampling(temperature=0),
    Sampling(temperature=0.9, seed=3),
    Sampling(temperature=0.7, seed=5, top_k=5, top_p=0.8, min_p=0.1),
    Sampling(temperature=0, repeat_penalty=1.3),
    Sampling(temperature=1.2, seed=9, xtc_probability=0.5, xtc_threshold=0.2),
]


class Inexact(TableSession):
    """Evaluations of several tokens are off by up to DIFFERENCE."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        logits = super().evaluate(tokens, rows, parents)
        if rows > 1:
            rng = np.random.default_rng([len(self.tokens), rows])
            logits += rng.uniform(-DIFFERENCE, DIFFERENCE, logits.shape).astype(np.float32)
        return logits


def write(
    sampling: Sampling, k: int, differences: dict[int, float]
) -> tuple[list[Round], list[Logits]]:
    """The rounds of a generation, and the row of each token as others see it afterwards."""
    target, context, seen = Inexact(sharpness=1.5), list(PROMPT), list[Logits]()

    def inspect(
        rows: Logits, path: Sequence[int], _tokens: Sequence[int]
    ) -> tuple[TokenLogprobs, ...]:
        seen.extend(rows[node + 1].copy() for node in (-1, *path))
        return ()

    rounds = list(
        generate(
            target,
            FixedK(LookupDrafter() if k else NoDrafter(), k),
            Guard(target, differences),
            sampler_for(sampling, context),
            context,
            max_tokens=120,
            is_end=lambda token: token == END,
            inspect=inspect,
        )
    )
    assert target.tokens == context[:-1]
    assert len(target.calls) == len(rounds) + rechecks(rounds)
    return rounds, seen


def rechecks(rounds: Sequence[Round]) -> int:
    return sum(r.rechecked for r in rounds)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_text_is_that_of_plain_decoding(sampling: Sampling) -> None:
    plain, _ = write(sampling, 0, {})
    guarded, _ = write(sampling, 6, dict.fromkeys(range(2, 8), DIFFERENCE))
    assert rechecks(plain) == 0
    assert tokens_of(guarded) == tokens_of(plain)
    assert rechecks(guarded) > 0


def test_without_the_guard_it_is_not() -> None:
    rounds = [(write(s, 0, {})[0], write(s, 6, {})[0]) for s in SAMPLINGS]
    assert sum(tokens_of(plain) != tokens_of(free) for plain, free in rounds) >= 3


def test_widths_without_a_difference_are_not_guarded() -> None:
    rounds, _ = write(SAMPLINGS[0], 6, dict.fromkeys(range(1, 8), 0.0))
    assert rechecks(rounds) == 0


def test_the_rows_that_others_see_are_those_that_decided() -> None:
    """Log-probabilities are read after verification, from the same buffer."""
    _, plain = write(SAMPLINGS[0], 0, {})
    rounds, seen = write(SAMPLINGS[0], 6, dict.fromkeys(range(2, 8), DIFFERENCE))
    again = {
        sum(len(r.tokens) for r in rounds[: i + 1]) - 1 for i, r in enumerate(rounds) if r.rechecked
    }
    assert again
    for i, (row, expected) in enumerate(zip(seen, plain, strict=True)):
        assert np.abs(row - expected).max() <= (0 if i in again else DIFFERENCE + 1e-6)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_what_is_certain_stays_under_every_change_of_that_size(sampling: Sampling) -> None:
    rng = np.random.default_rng(0)
    certain = 0
    for _ in range(60):
        row = rng.normal(scale=2.0, size=N_VOCAB).astype(np.float32)
        sampler = sampler_for(sampling, PROMPT)
        if not sampler.is_certain(row, DIFFERENCE):
            continue
        certain += 1
        token = sampler_for(sampling, PROMPT).draw(row)
        for _ in range(40):
            signs = rng.choice([-1, 1], N_VOCAB) * DIFFERENCE * 0.999
            assert sampler_for(sampling, PROMPT).draw((row + signs).astype(np.float32)) == token
    assert certain > 10


def test_certainty_is_a_matter_of_the_margin() -> None:
    sampler = sampler_for(Sampling(temperature=0), PROMPT)
    row = np.zeros(N_VOCAB, np.float32)
    row[4], row[9] = 3.0, 2.5
    assert sampler.is_certain(row, 0.24)
    assert not sampler.is_certain(row, 0.26)


class Only:
    """Lets two tokens through."""

    def allows(self, ids: Ids) -> NDArray[np.bool_]:
        return np.isin(ids, [4, 5])

    def accept(self, token: int) -> None: ...

    def copy(self) -> Only:
        return self

    def follow(self, other: Constraint) -> None: ...

    def close(self) -> None: ...


def test_what_a_constraint_forbids_is_no_rival() -> None:
    sampling = Sampling(temperature=0)
    chain = TableChain(sampling)
    row = np.zeros(N_VOCAB, np.float32)
    row[4], row[9] = 3.0, 2.9
    assert TokenSampler(sampling, chain.copy(), PROMPT, [Only()]).is_certain(row, 0.5)
    row[5] = 2.8
    assert not TokenSampler(sampling, chain, PROMPT, [Only()]).is_certain(row, 0.5)
