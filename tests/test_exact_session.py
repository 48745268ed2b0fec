"""Whatever happened before: the same prompt leaves the same evaluations, rounds keep to widths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from spec_local.control.widths import Widths
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.engine.types import Drafter
from spec_local.exact.session import ExactSession
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits
from tests.fake import N_VOCAB, TableSession, run, tokens_of

pytestmark = pytest.mark.llama

BATCH = 16


@dataclass
class Rounding(TableSession):
    """Every token remembers in what company it was evaluated, and every row shows it.

    As in llama.cpp, the batches of a prompt are whole ones from where it begins.
    """

    same: tuple[int, ...] = ()
    """Widths that compute the same as each other."""
    shapes: list[int] = field(default_factory=list)
    """Of each token held, the shape it was evaluated in."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        done = 0
        while len(tokens) - done > BATCH:
            self._evaluate(tokens[done : done + BATCH], 1)
            done += BATCH
        return self._evaluate(tokens[done:], rows)

    def _evaluate(self, tokens: Sequence[int], rows: int) -> Logits:
        del self.shapes[len(self.tokens) :]
        logits = super().evaluate(tokens, rows)
        prompt = rows < len(tokens)
        shape = 100 + len(tokens) if prompt else 0 if len(tokens) in self.same else len(tokens)
        self.shapes += [shape] * len(tokens)
        start = len(self.tokens) - rows
        for i, row in enumerate(logits):
            rng = np.random.default_rng(self.shapes[: start + i + 1])
            row += rng.normal(size=N_VOCAB).astype(np.float32)
        return logits


def exact(session: Rounding, *widths: int) -> ExactSession:
    session.same = widths
    return ExactSession(session, Widths(widths), BATCH)


def drafters() -> Iterator[Drafter]:
    yield from (NoDrafter(), LookupDrafter(), ModelDrafter(TableSession(seed=1)))
    yield ModelDrafter(TableSession())


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(temperature=0.9, seed=3)])
@pytest.mark.parametrize("widths", [(1, 2, 3, 5), (4,), (2, 3, 4), (1,)])
def test_the_text_does_not_depend_on_the_drafter(
    widths: tuple[int, ...], sampling: Sampling
) -> None:
    prompt = [i % 7 for i in range(37)]
    texts = set()
    for drafter in drafters():
        session = exact(Rounding(), *widths)
        rounds = run(session, drafter, sampling=sampling, context=list(prompt), max_tokens=50)
        assert {round_.evaluated for round_ in rounds[1:]} <= set(range(1, widths[-1] + 1))
        texts.add(tuple(tokens_of(rounds)))
    assert len(texts) == 1
    free = {
        tuple(tokens_of(run(Rounding(), drafter, sampling=sampling, context=list(prompt))))
        for drafter in drafters()
    }
    assert len(free) > 1  # this machine does change the text where nobody takes care


@pytest.mark.parametrize("widths", [(1, 2, 3), (4,)])
@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 31, 32, 33, 34, 48])
def test_the_text_does_not_depend_on_what_is_cached(widths: tuple[int, ...], length: int) -> None:
    sampling = Sampling(temperature=0)
    prompt = [i % 5 for i in range(length)]

    def answer(session: ExactSession, context: list[int]) -> list[int]:
        return tokens_of(run(session, LookupDrafter(), sampling=sampling, context=context))

    fresh = answer(exact(Rounding(), *widths), list(prompt))
    said = [*prompt, *fresh, 1, 2]
    continued_fresh = answer(exact(Rounding(), *widths), list(said))
    session = exact(Rounding(), *widths)
    answer(session, [4, *prompt])
    assert answer(session, list(prompt)) == fresh
    assert answer(session, list(said)) == continued_fresh
    assert answer(session, list(prompt)) == fresh


def test_whole_batches_of_the_prompt_are_kept() -> None:
    session = exact(Rounding(), 1, 2)
    session.evaluate(list(range(3)) * 15)
    session.evaluate([5])
    assert session.sync([*list(range(3)) * 15, 5, 5]) == 2 * BATCH
    assert session.sync([0, 1, 2]) == 0


def test_a_text_that_was_generated_is_evaluated_again() -> None:
    session = exact(Rounding(), 1, 2)
    for _ in range(3 * BATCH):
        session.evaluate([5])
    assert session.sync([5] * 3 * BATCH) == 0


def test_a_prompt_that_is_abandoned_leaves_whole_batches() -> None:
    inner = Rounding(fail_at=2)
    session = exact(inner, 1, 2)
    with pytest.raises(KeyboardInterrupt):
        session.evaluate([3] * 60)
    inner.fail_at = None
    inner.truncate(2 * BATCH)  # as llama.cpp's session does by itself
    assert session.sync([3] * 60) == 2 * BATCH


def test_padding_leaves_the_room_it_needs() -> None:
    session = exact(Rounding(n_ctx=40), 8)
    assert session.n_ctx == 33
    rounds = run(
        session,
        LookupDrafter(),
        sampling=Sampling(temperature=0),
        context=[1, 2] * 10,
        max_tokens=200,
    )
    assert rounds[-1].finish in ("context", "stop")


def test_rows_read_do_not_change_what_the_cache_holds(tiny: Path) -> None:
    """Whether a batch of the prompt is its last one must not matter to those after it."""
    tokens = np.random.default_rng(0).integers(260, 290, 64).tolist()
    with Model(tiny, LoadOptions(n_ctx=128, n_batch=32)) as model, Session(model) as session:
        session.evaluate(tokens)  # the first batch without a row
        session.truncate(32)
        first = session.digest()
        session.truncate(0)
        session.evaluate(tokens[:32])  # with one
        assert session.digest() == first
