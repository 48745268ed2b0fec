"""Trees in a real cache: a node sees its own path, one is kept, interruptions leave none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spec_local import LoadOptions, Runner, Sampling
from spec_local.errors import ContextOverflow
from spec_local.llama.backend import lib
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.sampling.types import Logits
from spec_local.util.tree import MOST_LEAVES, ROOT, path_to

pytestmark = pytest.mark.llama

PROMPT = [1, *range(262, 282)]
TOKENS = [270, 271, 272, 273, 274, 275, 276]
PARENTS = [ROOT, ROOT, 0, 0, 1, 2, ROOT]
TEXT = "the thing and the other thing and the "


@pytest.fixture(scope="module")
def model(tiny: Path) -> Iterator[Model]:
    with Model(tiny, LoadOptions(n_ctx=128, n_batch=32, n_threads=1), vouched=True) as model:
        yield model


@pytest.fixture
def session(model: Model) -> Iterator[Session]:
    with Session(model) as session:
        session.evaluate(PROMPT[:-1])
        yield session


def alone(model: Model, tokens: Sequence[int]) -> Logits:
    """The last row of these tokens in a session of their own."""
    with Session(model) as fresh:
        row: Logits = fresh.evaluate(tokens)[-1].copy()
        return row


def same(found: Logits, wanted: Logits) -> bool:
    return bool(np.abs(found - wanted).max() < 1e-3 * wanted.std())


def along(node: int) -> list[int]:
    return [TOKENS[each] for each in path_to(PARENTS, node)]


def test_every_node_sees_its_own_path(model: Model, session: Session) -> None:
    rows = session.evaluate([PROMPT[-1], *TOKENS], 8, PARENTS)
    for node in range(ROOT, 7):
        assert same(rows[node + 1], alone(model, [*PROMPT, *along(node)]))
    assert not same(rows[1], rows[2])
    assert session.tokens == PROMPT


@pytest.mark.parametrize("node", range(ROOT, 7))
def test_a_path_is_kept(model: Model, session: Session, node: int) -> None:
    session.evaluate([PROMPT[-1], *TOKENS], 8, PARENTS)
    session.keep(path_to(PARENTS, node))
    kept = [*PROMPT, *along(node)]
    assert session.tokens == kept
    assert same(session.evaluate([280])[-1], alone(model, [*kept, 280]))


def test_a_tree_grows_level_by_level(model: Model, session: Session) -> None:
    session.evaluate(PROMPT[-1:])
    levels = [(0, 2), (2, 5), (5, 7)]
    parents = [*sorted(PARENTS[:6]), 2]
    for first, end in levels:
        rows = session.evaluate(TOKENS[first:end], end - first, parents[first:end])
        for node, row in enumerate(rows, start=first):
            path = [TOKENS[each] for each in path_to(parents, node)]
            assert same(row, alone(model, [*PROMPT, *path]))
    session.keep(path_to(parents, 6))
    kept = [*PROMPT, *(TOKENS[each] for each in path_to(parents, 6))]
    assert session.tokens == kept
    assert same(session.evaluate([280])[-1], alone(model, [*kept, 280]))


def test_what_was_kept_in_a_row_leaves_the_bits_of_plain_decoding(
    model: Model, session: Session
) -> None:
    session.evaluate([PROMPT[-1], *TOKENS], 8, PARENTS)
    session.keep([0])
    with Session(model) as plain:
        plain.evaluate(PROMPT[:-1])
        plain.evaluate([PROMPT[-1], *TOKENS], 8)
        plain.truncate(len(PROMPT) + 1)
        assert session.digest() == plain.digest()  # whatever other sequences its cells are of
        assert np.array_equal(plain.evaluate([280])[-1], session.evaluate([280])[-1])


def test_a_leaf_is_given_only_the_cells_that_are_new(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rounds without a tree give and take nothing but what they drafted in vain."""
    calls = list[tuple[str, int, int]]()

    def noted(name: str) -> Any:
        function = getattr(lib, f"llama_memory_seq_{name}")

        def call(memory: Any, *given: int) -> Any:
            calls.append((name, given[-2], given[-1]))
            return function(memory, *given)

        return call

    for name in ("cp", "rm"):
        monkeypatch.setattr(lib, f"llama_memory_seq_{name}", noted(name))

    def of(tokens: Sequence[int], kept: Sequence[int] | None) -> list[tuple[str, int, int]]:
        """What is called in a round with a tree of four leaves, or without one."""
        calls.clear()
        if kept is None:
            session.evaluate(tokens)
            session.truncate(len(session.tokens))
        else:
            session.evaluate([*tokens, *TOKENS], 8, PARENTS)
            session.keep(kept)
        return list(calls)

    held = len(PROMPT)
    beside = [("rm", held, held + 1)] * 3  # what the other branches have instead of the token kept
    assert of(PROMPT[-1:], [0]) == [*[("cp", 0, held - 1)] * 3, ("rm", held + 1, -1), *beside]
    assert of([280], None) == of([281], None) == []
    # Since then the text has the token kept and two more.
    assert of([282], []) == [*[("cp", held, held + 3)] * 3, ("rm", held + 4, -1)]
    assert of([283], []) == [("rm", held + 5, -1)]


@pytest.mark.parametrize("kept", [[], [0], [1, 4]])
@pytest.mark.parametrize("back", ["truncate", "sync", "adopt", "clear"])
def test_what_other_sequences_hold_goes_back_with_the_text(
    model: Model, session: Session, back: str, kept: list[int]
) -> None:
    text, other = [*PROMPT, *(TOKENS[node] for node in kept)], [*PROMPT[:9], 285, 286]
    session.evaluate([PROMPT[-1], *TOKENS], 8, PARENTS)
    session.keep(kept)
    if back == "adopt":
        session.adopt(session.saved())
        assert session.tokens == text
        session.truncate(9)
    elif back == "clear":
        session.truncate(0)
    else:
        session.truncate(9) if back == "truncate" else session.sync(other)
    session.evaluate(other[len(session.tokens) :])
    rows = session.evaluate([PROMPT[-1], *TOKENS], 8, PARENTS)
    for node in range(ROOT, 7):
        assert same(rows[node + 1], alone(model, [*other, PROMPT[-1], *along(node)]))


@pytest.mark.parametrize("forget", ["truncate", "sync", "evaluate"])
def test_a_tree_that_is_not_kept_leaves_nothing(
    model: Model, session: Session, forget: str
) -> None:
    session.evaluate([PROMPT[-1], *TOKENS], 8, PARENTS)
    if forget == "truncate":
        session.truncate(len(PROMPT))
    elif forget == "sync":
        session.sync(PROMPT)
    assert same(session.evaluate([280])[-1], alone(model, [*PROMPT, 280]))


def test_too_many_leaves_and_too_many_tokens_are_refused(model: Model, session: Session) -> None:
    assert session.branches == MOST_LEAVES
    with pytest.raises(ValueError, match="leaves"):
        session.evaluate([PROMPT[-1], *range(260, 277)], 18, [ROOT] * 17)
    assert session.evaluate(PROMPT[-1:]).shape == (1, session.n_vocab)
    with pytest.raises(ContextOverflow):
        session.evaluate([260] * 128)
    assert same(session.evaluate([280])[-1], alone(model, [*PROMPT, 280]))


def test_a_long_chain_before_a_tree_is_evaluated_in_batches(model: Model) -> None:
    chain = [1, *range(260, 290)] * 2
    with Session(model) as session:
        rows = session.evaluate([*chain, *TOKENS], 8, PARENTS).copy()
    assert same(rows[6], alone(model, [*chain, *along(5)]))


def test_interrupted_in_a_tree(
    model: Model, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a Ctrl-C between llama.cpp's calls the cache has no trace of the tree."""

    def broken(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(lib, "llama_decode", broken)
        with pytest.raises(KeyboardInterrupt):
            session.evaluate([PROMPT[-1], *TOKENS], 8, PARENTS)
    assert session.tokens == PROMPT[:-1]
    session.evaluate([PROMPT[-1], *TOKENS], 8, PARENTS)
    with monkeypatch.context() as patched:
        patched.setattr(lib, "llama_memory_seq_rm", broken)
        with pytest.raises(KeyboardInterrupt):
            session.keep([0, 2])
    assert same(session.evaluate([280])[-1], alone(model, [*PROMPT, 280]))


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("acceptance", ["keyed", "rejection"])
def test_a_tree_writes_plain_decodings_text(
    tiny: Path, tiny_draft: Path, temperature: float, acceptance: str
) -> None:
    sampling = Sampling(temperature=temperature, seed=4, acceptance=acceptance)  # type: ignore[arg-type]
    texts, options = list[tuple[int, ...]](), LoadOptions(n_ctx=250, n_batch=32, n_threads=1)
    for drafter in ("none", "tree"):
        with Runner.load(
            target=tiny, draft=tiny_draft, drafter=drafter, options=options,
            k=8 if drafter == "tree" else None,
        ) as runner:  # fmt: skip
            done = runner.complete(TEXT * 4, max_tokens=100, sampling=sampling)
            again = runner.complete(TEXT * 4, max_tokens=100, sampling=sampling)
            assert done.tokens == again.tokens
            assert (done.stats.drafted > 0) is (drafter == "tree")
            texts.append(done.tokens)
    if acceptance == "keyed":
        assert texts[0] == texts[1]


def test_log_probabilities_are_those_of_the_path(tiny: Path, tiny_draft: Path) -> None:
    found = []
    for drafter in ("none", "tree"):
        with Runner.load(target=tiny, draft=tiny_draft, drafter=drafter) as runner:
            sampling = Sampling(temperature=0.9, seed=2)
            done = runner.complete(TEXT * 4, max_tokens=40, sampling=sampling, logprobs=2)
            found.append(done)
    for one, other in zip(found[0].logprobs or (), found[1].logprobs or (), strict=True):
        assert one.token == other.token
        assert one.logprob == pytest.approx(other.logprob, abs=1e-2)


def test_the_controller_chooses_among_those_named(tiny: Path, tiny_draft: Path) -> None:
    texts = set[tuple[int, ...]]()
    for drafter in ("none", "lookup-tree,recycling,model", "model,tree,logitspec"):
        with Runner.load(target=tiny, draft=tiny_draft, drafter=drafter) as runner:
            done = runner.complete(TEXT * 4, max_tokens=100, sampling=Sampling(temperature=0))
            texts.add(done.tokens)
            assert set(done.stats.by_drafter) <= {*drafter.split(","), "window"}
    assert len(texts) == 1
