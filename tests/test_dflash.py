"""Drafting a block with a DFlash or DSpark head: the same text, and one evaluation a draft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spec_local import ConfigError, LoadOptions, ModelFileError, Runner, Sampling
from spec_local.engine.speculate import Adaptive
from spec_local.llama import hidden
from spec_local.llama.dflash import DflashSession
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from tests.zoo.dflash import BLOCK, MASK, write_dflash
from tests.zoo.headed import write_headed

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=512, n_batch=32, n_ubatch=32, n_threads=1, trial=False)
GREEDY = Sampling(temperature=0)
PROMPT = "hello hello there, hello"
LONG = [1, *np.random.default_rng(0).integers(260, 290, 100).tolist()]
KINDS: dict[str, dict[str, bool]] = {
    "dflash": {},
    "dspark": {"markov": True},
    "dspark behind the pending token": {"markov": True, "from_pending": False},
}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_headed("qwen35", tmp_path_factory.mktemp("blocks") / "qwen35.gguf")


def loaded(target: Path, head: Path, drafter: str = "dflash", **how: Any) -> Runner:
    return Runner.load(target=target, draft=head, drafter=drafter, options=OPTIONS, **how)


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_is_that_of_plain_decoding(kind: str, target: Path, tmp_path: Path) -> None:
    head = write_dflash(tmp_path / "head.gguf", **KINDS[kind])  # type: ignore[arg-type]
    texts: dict[Sampling, tuple[int, ...]] = {}
    for drafter, k in (("none", None), ("dflash", 1), ("dflash", 4), ("dflash", 12)):
        with loaded(target, head, drafter, k=k) as running:
            for sampling in (GREEDY, Sampling(temperature=1.0, seed=3)):
                done = running.complete(PROMPT, max_tokens=60, sampling=sampling)
                assert texts.setdefault(sampling, done.tokens) == done.tokens
                assert drafter == "none" or done.stats.drafted > 0
                if drafter != "none" and kind != "dflash" and sampling == GREEDY:
                    assert done.stats.accepted > 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_was_given_is_that_of_a_fresh_one(kind: str, target: Path, tmp_path: Path) -> None:
    head_file = write_dflash(tmp_path / "head.gguf", **KINDS[kind])  # type: ignore[arg-type]
    with (
        Model(target, OPTIONS) as model,
        Model(head_file, OPTIONS, may_be_head=True) as head,
        Session(model) as session,
        Session(model) as other,
    ):
        used, fresh = DflashSession(session, head), DflashSession(other, head)
        assert used.max_rows == (BLOCK if kind == "dspark" else BLOCK - 1)
        session.evaluate(LONG[:50])
        used.evaluate([*LONG[:51], MASK, MASK], rows=3)
        assert used.tokens == LONG[:50]
        session.evaluate([LONG[50], 270, 271], rows=3)
        session.truncate(52)
        rows = used.evaluate([LONG[50], 270, 280, MASK], rows=2).copy()
        other.evaluate([*LONG[:51], 270])
        expected = fresh.evaluate([*LONG[:51], 270, 280, MASK], rows=2)
        assert np.abs(rows - expected).max() < 0.02 * expected.std()
        used.truncate(20)
        rows = used.evaluate([*LONG[20:51], 270, 280, MASK], rows=2).copy()
        assert np.abs(rows - expected).max() < 0.02 * expected.std()
        used.close()
        fresh.close()


def test_of_a_long_text_it_is_given_the_end(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hidden, "HELD", 16)
    head = write_dflash(tmp_path / "head.gguf", markov=True)
    with loaded(target, head, "none") as plain, loaded(target, head) as running:
        for prompt in (LONG, LONG[:40], [*LONG[:40], 281]):
            expected = plain.complete(prompt, max_tokens=40, sampling=GREEDY)
            done = running.complete(prompt, max_tokens=40, sampling=GREEDY)
            assert done.tokens == expected.tokens
            assert done.stats.accepted > 0


@pytest.mark.parametrize("drafter", ["auto", "lookup,dflash"])
def test_the_controller_knows_what_a_block_costs(
    drafter: str, target: Path, tmp_path: Path
) -> None:
    head = write_dflash(tmp_path / "head.gguf", markov=True)
    with loaded(target, head, "none") as plain, loaded(target, head, drafter) as running:
        expected = plain.complete(PROMPT, max_tokens=60, sampling=GREEDY)
        assert running.complete(PROMPT, max_tokens=60, sampling=GREEDY).tokens == expected.tokens
        assert isinstance(running.speculator, Adaptive)
        states = running.speculator.controller.drafters
        assert set(states) == {"lookup", "dflash", *(["mtp"] if drafter == "auto" else [])}
        assert states["dflash"].block == BLOCK
        assert states["dflash"].cost is not None
        assert states["dflash"].cost.is_known
        assert all(state.block == 0 for name, state in states.items() if name != "dflash")


def test_what_does_not_fit_is_told(target: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="reads other layers than"):
        loaded(target, write_dflash(tmp_path / "a.gguf", layers=(0, 2)))
    with pytest.raises(ModelFileError, match="names no mask token"):
        loaded(target, write_dflash(tmp_path / "b.gguf", mask=None))
    with pytest.raises(ModelFileError, match="is a DFlash 2 head"):
        loaded(target, write_dflash(tmp_path / "c.gguf", selector=4))
    with pytest.raises(ConfigError, match="is for dflash"):
        loaded(target, write_dflash(tmp_path / "d.gguf"), "eagle3")
