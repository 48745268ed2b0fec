"""Every architecture: whatever was evaluated, taken back or broken off, the caches are right, and
drafting changes no text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from spec_local.errors import ModelFileError
from spec_local.util.tree import path_to
from tests.zoo.recipes import DIFFUSION, recipes, write

pytestmark = pytest.mark.llama

RECIPES = recipes()
DOZEN = (
    # One of each kind of memory and of layer.
    "llama",
    "qwen3moe",
    "gemma3",
    "gemma2",
    "gpt2",
    "mamba",
    "cohere2",
    "jamba",
    "lfm2",
    "deepseek2",
    "gpt-oss",
    "bloom",
)
N_CTX, TOLERANCE = 256, 0.05
"""TOLERANCE: of the logits' standard deviation; batches of other widths round otherwise."""


def each_architecture() -> list[Any]:
    """The dozen, and all others by night."""
    others = sorted(RECIPES.keys() - {*DOZEN, *DIFFUSION})
    return [*DOZEN, *(pytest.param(arch, marks=pytest.mark.nightly) for arch in others)]


TOKENS = st.integers(260, 285)


class Stopped(Exception):
    """What a rule's progress callback raises."""


class Caches(RuleBasedStateMachine):
    """A session, used at random, and fresh ones beside it."""

    model: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.session = self.opened()
        self.held: list[int] = []

    def teardown(self) -> None:
        self.session.close()

    def opened(self) -> Any:
        from spec_local.llama.session import Session

        return Session(self.model)

    def room(self) -> int:
        return N_CTX - len(self.held)

    def keep(self, most: int) -> None:
        """What is left after going back to so many tokens: some memories forget more."""
        assert len(self.session.tokens) <= most
        self.held = self.held[: len(self.session.tokens)]

    def check(self, row: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        assert self.session.tokens == self.held
        with self.opened() as fresh:
            expected = fresh.evaluate(self.held)[-1]
            assert np.abs(row - expected).max() < TOLERANCE * expected.std()

    @precondition(lambda self: self.room() > 40)
    @rule(given=st.lists(TOKENS, min_size=1, max_size=40), rows=st.integers(1, 5))
    def evaluate(self, given: list[int], rows: int) -> None:
        self.held = self.held + given
        row = self.session.evaluate(given, min(rows, len(given)))[-1].copy()
        self.check(row)

    @precondition(lambda self: self.held)
    @rule(share=st.floats(0, 1))
    def truncate(self, share: float) -> None:
        kept = int(share * len(self.held))
        self.session.truncate(kept)
        self.keep(kept)

    @precondition(lambda self: self.room() > 40 and self.held)
    @rule(given=st.lists(TOKENS, min_size=1, max_size=6), kept=st.integers(0, 6))
    def draft(self, given: list[int], kept: int) -> None:
        """Token by token, as a draft model does, and some of it is taken back."""
        self.session.mark(len(given))
        for token in given:
            self.session.evaluate([token])
        self.held = self.held + given[:kept]
        self.session.truncate(len(self.held))
        self.keep(len(self.held))

    @precondition(lambda self: self.room() > 40 and self.session.branches > 1)
    @rule(
        pending=st.integers(260, 285),
        nodes=st.lists(st.tuples(TOKENS, st.integers(-1, 20)), min_size=1, max_size=8),
        more=st.lists(st.tuples(TOKENS, st.integers(-1, 20)), max_size=4),
        last=st.integers(-1, 12),
    )
    def tree(
        self,
        pending: int,
        nodes: list[tuple[int, int]],
        more: list[tuple[int, int]],
        last: int,
    ) -> None:
        """Several continuations at once, in one evaluation and another; one of them is kept."""
        tokens = [token for token, _parent in (*nodes, *more)]
        parents = [parent % (node + 1) - 1 for node, (_token, parent) in enumerate((*nodes, *more))]
        first = len(nodes)
        self.session.evaluate([pending, *tokens[:first]], first + 1, parents[:first])
        if more:
            self.session.evaluate(tokens[first:], len(more), parents[first:])
        path = path_to(parents, min(last, len(tokens) - 1))
        self.session.keep(path)
        self.held = [*self.held, pending, *(tokens[node] for node in path)]
        assert self.session.tokens == self.held

    @precondition(lambda self: self.held)
    @rule(other=st.lists(TOKENS, max_size=20), share=st.floats(0, 1))
    def branch(self, other: list[int], share: float) -> None:
        wanted = self.held[: int(share * len(self.held))] + other
        common = self.session.sync(wanted)
        self.held = self.held[:common]
        assert wanted[:common] == self.held

    @precondition(lambda self: self.held)
    @rule()
    def adopt(self) -> None:
        """What is held is taken away, and given back."""
        self.session.adopt(self.session.saved())

    @precondition(lambda self: self.room() > 100)
    @rule(given=st.lists(TOKENS, min_size=80, max_size=100))
    def stop(self, given: list[int]) -> None:
        """A long evaluation is broken off between two batches."""

        def stop(_done: int, _total: int) -> None:
            raise Stopped

        self.session.on_progress = stop
        with pytest.raises(Stopped):
            self.session.evaluate(given)
        self.session.on_progress = None
        self.held = (self.held + given)[: len(self.session.tokens)]


@contextmanager
def loaded(path: Path) -> Iterator[Any]:
    from spec_local.llama.model import Model
    from spec_local.llama.options import LoadOptions

    options = LoadOptions(n_ctx=N_CTX, n_batch=32, n_ubatch=32, n_threads=1)
    with Model(path, options, vouched=True) as model:
        yield model


@pytest.mark.parametrize("arch", each_architecture())
def test_caches_are_those_of_a_fresh_session(arch: str, tmp_path: Path) -> None:
    with loaded(write(RECIPES[arch], tmp_path / "model.gguf")) as model:
        caches = type("Caches", (Caches,), {"model": model})
        run_state_machine_as_test(
            caches, settings=settings(max_examples=12, stateful_step_count=15)
        )


@pytest.mark.parametrize("arch", sorted(RECIPES.keys() - {*DIFFUSION}))
def test_logits_are_those_of_the_last_tokens(arch: str, tmp_path: Path) -> None:
    """However many rows are asked for, in a batch or in several."""
    from spec_local.llama.session import Session

    tokens = [1, *range(262, 282), *range(265, 285)]
    with loaded(write(RECIPES[arch], tmp_path / "model.gguf")) as model, Session(model) as session:
        few = tokens[:9]
        every = session.evaluate(few, rows=9).copy()
        for given, rows in ((few, 1), (few, 3), (tokens, 1), (tokens, 9)):
            session.truncate(0)
            found = session.evaluate(given, rows)
            assert found.shape == (rows, session.n_vocab)
            if given is few:
                assert np.abs(found - every[-rows:]).max() < TOLERANCE * every.std()
            elif rows == 1:
                last = found.copy()
            else:
                assert np.abs(found[-1:] - last).max() < TOLERANCE * every.std()


@pytest.mark.parametrize("arch", each_architecture())
def test_what_was_held_can_be_held_again(arch: str, tmp_path: Path) -> None:
    from spec_local.llama.session import Session

    first, other = [1, *range(262, 282)], [1, *range(268, 285), *range(262, 290)]
    with (
        loaded(write(RECIPES[arch], tmp_path / "model.gguf")) as model,
        Session(model) as session,
        Session(model) as fresh,
    ):
        session.evaluate(first)
        held = session.saved()
        session.truncate(0)
        session.evaluate(other, rows=3)
        session.adopt(held)
        assert session.tokens == first
        row = session.evaluate([270, 271])[-1].copy()
        expected = fresh.evaluate([*first, 270, 271])[-1]
        assert np.abs(row - expected).max() < TOLERANCE * expected.std()
        session.truncate(len(first) - 2)  # and it goes back as ever
        row = session.evaluate([*first[len(session.tokens) :], 272])[-1].copy()
        fresh.truncate(0)
        expected = fresh.evaluate([*first, 272])[-1]
        assert np.abs(row - expected).max() < TOLERANCE * expected.std()


@pytest.mark.parametrize("arch", each_architecture())
def test_drafting_changes_no_text(arch: str, tmp_path: Path) -> None:
    from spec_local import LoadOptions, Runner, Sampling

    target = write(RECIPES[arch], tmp_path / "target.gguf")
    draft = write(RECIPES[arch], tmp_path / "draft.gguf", seed=1)
    options = LoadOptions(n_ctx=N_CTX, n_threads=1, trial=False)
    prompt = "hello hello hello there, hello"
    texts: dict[float, str] = {}
    for drafter in ("none", "lookup", "model", "lookup-then-model", "staged", "auto"):
        with Runner.load(target=target, draft=draft, drafter=drafter, options=options) as runner:
            for temperature in (0.0, 1.0):
                sampling = Sampling(temperature=temperature, seed=3)
                text = runner.complete(prompt, max_tokens=48, sampling=sampling).text
                assert texts.setdefault(temperature, text) == text


def test_a_file_of_the_zoo_is_the_same_every_time(tmp_path: Path) -> None:
    first, again = (write(RECIPES["llama"], tmp_path / name).read_bytes() for name in "ab")
    assert first == again
    other = write(RECIPES["llama"], tmp_path / "c", seed=1).read_bytes()
    assert len(other) == len(first)
    assert other != first


def test_a_recurrent_state_is_taken_back_without_evaluating(tmp_path: Path) -> None:
    """Within the last batch, and once; what is older comes from a checkpoint or from nothing."""
    from spec_local.llama.session import Session

    tokens = [1, *range(262, 285)]
    with (
        loaded(write(RECIPES["lfm2"], tmp_path / "model.gguf")) as model,
        Session(model) as session,
        Session(model) as fresh,
    ):
        assert session.capabilities.rollback == "snapshot"
        session.evaluate(tokens[:15])
        session.evaluate(tokens[15:20], rows=5)
        calls = session.decode_calls
        session.truncate(17)
        assert (session.decode_calls, len(session.tokens)) == (calls, 17)
        row = session.evaluate([270])[-1].copy()
        expected = fresh.evaluate([*tokens[:17], 270])[-1]
        assert np.abs(row - expected).max() < TOLERANCE * expected.std()
        session.truncate(16)  # before the last batch: no snapshot is of that, so it is replayed
        assert (session.decode_calls, len(session.tokens)) == (calls + 2, 16)


@pytest.mark.parametrize("arch", DIFFUSION)
def test_a_diffusion_model_is_refused(arch: str, tmp_path: Path) -> None:
    from spec_local.llama.model import Model

    with pytest.raises(ModelFileError, match="cannot continue text"):
        Model(write(RECIPES[arch], tmp_path / "model.gguf"))
