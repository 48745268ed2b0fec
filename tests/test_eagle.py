"""Drafting with an EAGLE-3 head: the same text, and what is said where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spec_local import ConfigError, LoadOptions, ModelFileError, Runner, Sampling
from spec_local.engine.speculate import Adaptive
from spec_local.llama import hidden
from spec_local.llama.eagle import EagleSession
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.machine.profile import ProfileStore
from spec_local.models.pairing import drafts_for
from spec_local.models.registry import load_registry
from tests.tiny_gguf import write_tiny
from tests.zoo.eagle import TARGETS, write_eagle
from tests.zoo.headed import write_headed

pytestmark = pytest.mark.llama

N_CTX, TOLERANCE = 512, 0.02
OPTIONS = LoadOptions(n_ctx=N_CTX, n_batch=32, n_ubatch=32, n_threads=1, trial=False)
GREEDY = Sampling(temperature=0)
PROMPT = "hello hello there, hello"
LONG = [1, *np.random.default_rng(0).integers(260, 290, 100).tolist()]
LETTERS = [*range(4), *range(260, 285)]
HEADS = {"knows all": {}, "knows some": {"known": LETTERS, "own_embeddings": False}}
BY_DAY = ("qwen35",)


def each_target() -> list[Any]:
    others = sorted(set(TARGETS) - set(BY_DAY))
    return [*BY_DAY, *(pytest.param(arch, marks=pytest.mark.nightly) for arch in others)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("eagles")


def loaded(target: Path, head: Path, drafter: str = "eagle3", **how: Any) -> Runner:
    return Runner.load(target=target, draft=head, drafter=drafter, options=OPTIONS, **how)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("arch", each_target())
def test_the_text_is_that_of_plain_decoding(arch: str, kind: str, folder: Path) -> None:
    target = write_headed(arch, folder / f"{arch}.gguf")
    head = write_eagle(folder / f"{kind}.gguf", **HEADS[kind])  # type: ignore[arg-type]
    texts: dict[Sampling, tuple[int, ...]] = {}
    for drafter in ("none", "eagle3", "auto"):
        with loaded(target, head, drafter) as running:
            for sampling in (GREEDY, Sampling(temperature=1.0, seed=3)):
                done = running.complete(PROMPT, max_tokens=60, sampling=sampling)
                assert texts.setdefault(sampling, done.tokens) == done.tokens
                if drafter == "eagle3":
                    assert done.stats.drafted > 0
                    assert done.stats.accepted > 0 or sampling != GREEDY or arch != "qwen35"


def test_after_drafts_it_holds_what_it_would_have_read(folder: Path) -> None:
    target_file = write_headed("qwen35", folder / "qwen35.gguf")
    head_file = write_eagle(folder / "head.gguf", known=LETTERS, own_embeddings=False)
    with (
        Model(target_file, OPTIONS) as model,
        Model(head_file, OPTIONS, may_be_head=True) as head,
        Session(model) as target,
        Session(model) as other,
    ):
        used = EagleSession(target, head)
        target.evaluate(LONG[:50])
        assert used.readable_from == 1
        used.evaluate(LONG[1:51])
        for drafted in (270, 271, 272):
            used.evaluate([drafted])
        target.evaluate([LONG[50], 270], rows=2)
        used.truncate(50)
        row = used.evaluate([270, 273])[0].copy()
        fresh = EagleSession(other, head)
        other.evaluate([*LONG[:51], 270])
        expected = fresh.evaluate([*LONG[1:51], 270, 273])[0]
        known = expected > -1e8
        assert known.sum() == len(LETTERS)
        assert np.abs(row - expected)[known].max() < TOLERANCE * expected[known].std()
        used.close()
        fresh.close()


@pytest.mark.parametrize("arch", each_target())
def test_keeping_what_layers_were_given_changes_no_bit(arch: str, folder: Path) -> None:
    target_file = write_headed(arch, folder / f"{arch}.gguf")
    head_file = write_eagle(folder / "head.gguf")
    found = []
    with (
        Model(target_file, OPTIONS) as model,
        Model(head_file, OPTIONS, may_be_head=True) as head,
    ):
        for keeps in (False, True):
            with Session(model) as target:
                if keeps:
                    EagleSession(target, head)
                found.append(target.evaluate(LONG).copy())
                found.append(target.evaluate([270, 271, 272], rows=3).copy())
    assert np.array_equal(found[0], found[2])
    assert np.array_equal(found[1], found[3])


def test_of_a_long_text_it_reads_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden, "HELD", 16)
    target = write_headed("qwen35", folder / "qwen35.gguf")
    head = write_eagle(folder / "head.gguf")
    with loaded(target, head, "none") as plain, loaded(target, head) as running:
        for prompt in (LONG, LONG[:40], [*LONG[:40], 281]):
            expected = plain.complete(prompt, max_tokens=40, sampling=GREEDY)
            done = running.complete(prompt, max_tokens=40, sampling=GREEDY)
            assert done.tokens == expected.tokens
            assert done.stats.accepted > 0


def test_the_controller_chooses_it_too(folder: Path, tmp_path: Path) -> None:
    target, store = write_headed("qwen35", folder / "qwen35.gguf"), ProfileStore(tmp_path)
    head = write_eagle(folder / "head.gguf")
    with loaded(target, head, "auto", profiles=store) as running:
        running.complete(PROMPT, max_tokens=20)
        assert isinstance(running.speculator, Adaptive)
        assert {"mtp", "eagle3"} < set(running.speculator.controller.drafters)
        assert running.draft is None
        assert running.pair is not None
        assert running.pair.draft == str(head)


def test_runners_share_what_a_target_keeps(folder: Path) -> None:
    target, head = write_headed("qwen35", folder / "qwen35.gguf"), write_eagle(folder / "h.gguf")
    with loaded(target, head, "auto") as first:
        with Runner(first.target, "mtp") as second, Runner(first.target, "eagle3") as third:
            texts = {
                each.complete(PROMPT, max_tokens=40, sampling=GREEDY).tokens
                for each in (first, second, third, second, first, third)
            }
            assert len(texts) == 1
            for each in (second, third):
                assert each.complete(PROMPT, max_tokens=40, sampling=GREEDY).stats.accepted > 0
        assert len(first.target.hidden) == 2
        first.complete(PROMPT, max_tokens=5)


def test_what_it_was_not_trained_for_is_told(folder: Path, tiny: Path) -> None:
    qwen = write_headed("qwen35", folder / "qwen35.gguf")
    head = write_eagle(folder / "head.gguf")
    with pytest.raises(ModelFileError, match="reads other layers than"):
        loaded(qwen, write_eagle(folder / "deep.gguf", layers=(0, 1, 2)))
    with pytest.raises(ModelFileError, match="none of a model of the architecture glm4moe"):
        loaded(write_headed("glm4moe", folder / "glm4moe.gguf"), head)
    for drafter in ("model", "pard", "lookup-then-model"):
        with pytest.raises(ConfigError, match="what was given is a head; take the drafter eagle3"):
            loaded(qwen, head, drafter)
    with pytest.raises(ConfigError, match="needs a head trained for the target"):
        loaded(tiny, write_tiny(folder / "draft.gguf", seed=1))
    with pytest.raises(ModelFileError, match="cannot continue text"):
        Runner.load(target=head, draft="none", drafter="none", options=OPTIONS)


def test_a_head_drafts_only_where_it_is_named(folder: Path, tmp_path: Path) -> None:
    target = write_headed("qwen35", tmp_path / "qwen35.gguf")
    write_eagle(tmp_path / "head.gguf")
    assert list(drafts_for(target, load_registry(), [tmp_path])) == []
