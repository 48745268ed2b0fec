"""Drafting with multi-token prediction layers: the same text, and what they hold is right."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.heads_beside import table
from spec_local import ConfigError, LoadOptions, ModelFileError, Runner, Sampling
from spec_local.engine.speculate import Adaptive
from spec_local.llama import extension, hidden, trial
from spec_local.llama.heads import heads_of, keeps_bits
from spec_local.llama.hidden import HiddenStates
from spec_local.llama.model import Model
from spec_local.llama.mtp import HeadSession
from spec_local.llama.mtp_chain import ChainedHeadSession
from spec_local.llama.session import Session
from spec_local.llama.trial import require_survived
from spec_local.machine.profile import ProfileStore
from tests.zoo.headed import RECIPES, write_headed

pytestmark = pytest.mark.llama

BY_DAY = ("qwen35", "glm4moe", "deepseek4", "mimo2")
"""A running state, a prompt's last layer cut short, a wide hidden state, a window."""
N_CTX, TOLERANCE = 512, 0.02
OPTIONS = LoadOptions(n_ctx=N_CTX, n_batch=32, n_ubatch=32, n_threads=1, trial=False)
PROMPT = "hello hello there, hello"
GREEDY = Sampling(temperature=0)
LONG = [1, *np.random.default_rng(0).integers(260, 290, 100).tolist()]


def each_architecture() -> list[Any]:
    others = sorted(RECIPES.keys() - set(BY_DAY))
    return [*BY_DAY, *(pytest.param(arch, marks=pytest.mark.nightly) for arch in others)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("headed")


@contextmanager
def runner(path: Path, drafter: str = "mtp", **how: Any) -> Iterator[Runner]:
    with Runner.load(target=path, draft="none", drafter=drafter, options=OPTIONS, **how) as loaded:
        yield loaded


def states(running: Runner) -> HiddenStates:
    return running.target.hidden[()]


@pytest.mark.parametrize("arch", each_architecture())
def test_the_text_is_that_of_plain_decoding(arch: str, folder: Path) -> None:
    path = write_headed(arch, folder / f"{arch}.gguf")
    texts: dict[Sampling, tuple[int, ...]] = {}
    for drafter in ("none", "mtp", "auto"):
        with runner(path, drafter) as running:
            for sampling in (GREEDY, Sampling(temperature=1.0, seed=3)):
                done = running.complete(PROMPT, max_tokens=60, sampling=sampling)
                assert texts.setdefault(sampling, done.tokens) == done.tokens
                if drafter == "mtp":
                    assert done.stats.accepted > 0
                assert done.stats.rounds <= running.target.decode_calls


@pytest.mark.parametrize("arch", each_architecture())
def test_after_drafts_the_layers_hold_what_they_would_have_read(arch: str, folder: Path) -> None:
    path = write_headed(arch, folder / f"{arch}.gguf")
    with Model(path, OPTIONS, heads=True) as model, Session(model) as target:
        used, fresh = HeadSession(target), Session(model)
        target.evaluate(LONG[:50])
        used.evaluate(LONG[:51])
        for drafted in (270, 271, 272):  # of which the first will be accepted
            used.evaluate([drafted])
        target.evaluate([LONG[50], 270], rows=2)
        used.truncate(51)
        assert len(used.tokens) == 51
        row = used.evaluate([270, 273])[0].copy()
        with HeadSession(fresh) as reader:
            fresh.evaluate([*LONG[:51], 270])
            expected = reader.evaluate([*LONG[:51], 270, 273])[0]
            assert np.abs(row - expected).max() < TOLERANCE * expected.std()
        used.close()
        fresh.close()


@pytest.mark.parametrize("arch", ["mimo2", "step35"])
def test_several_layers_draft_one_token_each(arch: str, folder: Path) -> None:
    path = write_headed(arch, folder / f"{arch}-3.gguf", several=3)
    texts = set()
    for drafter, k in (("none", None), ("mtp", 1), ("mtp", 3), ("mtp", 8)):
        with runner(path, drafter, k=k) as running:
            done = running.complete(PROMPT, max_tokens=60, sampling=GREEDY)
            texts.add(done.tokens)
            assert done.stats.drafted <= 3 * done.stats.rounds
            assert drafter == "none" or done.stats.accepted > 0
    assert len(texts) == 1
    with Model(path, OPTIONS, heads=True) as model, Session(model) as target:
        other = Session(model)
        used, fresh = ChainedHeadSession(target), ChainedHeadSession(other)
        target.evaluate(LONG[:50])
        for draft in (LONG[:51], [270], [271]):
            used.evaluate(draft)
        target.evaluate([LONG[50], 270], rows=2)
        used.truncate(52)
        assert list(used.tokens) == LONG[:50]
        other.evaluate([*LONG[:51], 270])
        for mine, theirs in (
            ([LONG[50], 270, 273], [*LONG[:51], 270, 273]),
            ([274], [274]),
            ([275], [275]),
        ):
            row, expected = used.evaluate(mine)[0].copy(), fresh.evaluate(theirs)[0]
            assert np.abs(row - expected).max() < TOLERANCE * expected.std()
        used.close()
        fresh.close()
        other.close()


@pytest.mark.parametrize("arch", ["qwen35", "glm4moe"])
def test_layers_may_be_in_a_file_of_their_own(arch: str, folder: Path) -> None:
    alone = write_headed(arch, folder / f"{arch}-alone.gguf", alone=True)
    target = write_headed(arch, folder / f"{arch}.gguf")
    found = []
    for draft, drafter in ((None, "mtp"), (alone, "mtp"), (alone, "auto"), (alone, "none")):
        with Runner.load(target=target, draft=draft, drafter=drafter, options=OPTIONS) as running:
            found.append(running.complete(PROMPT, max_tokens=60, sampling=GREEDY))
            if drafter == "auto":
                assert isinstance(running.speculator, Adaptive)
                assert "mtp" in running.speculator.controller.drafters
    assert len({each.tokens for each in found}) == 1
    assert found[0].stats.accepted > 0
    assert found[1].stats.accepted > 0
    other = write_headed("hy_v3", folder / "hy_v3.gguf")
    with pytest.raises(ModelFileError, match="has the prediction layers of another model"):
        Runner.load(target=other, draft=alone, drafter="mtp", options=OPTIONS)
    with pytest.raises(ConfigError, match="take the drafter mtp"):
        Runner.load(target=other, draft=alone, drafter="model", options=OPTIONS)


@pytest.mark.parametrize("arch", each_architecture())
def test_keeping_hidden_states_changes_no_bit(arch: str, folder: Path) -> None:
    path = write_headed(arch, folder / f"{arch}.gguf")
    with Model(path, OPTIONS, heads=True) as model:
        found = []
        for keeps in (False, True):
            with Session(model) as target:
                if keeps:
                    HeadSession(target, masked=not keeps_bits(arch))
                found.append(target.evaluate(LONG).copy())
                found.append(target.evaluate([270, 271, 272], rows=3).copy())
        assert np.array_equal(found[0], found[2])
        assert np.array_equal(found[1], found[3])


def test_exact_modes_keep_no_states_that_would_change_a_bit(folder: Path, tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    for arch, masked in (("hy_v3", False), ("deepseek2", True)):
        path = write_headed(arch, folder / f"{arch}.gguf")
        texts = set()
        for drafter in ("none", "mtp"):
            with runner(path, drafter, exact=True, profiles=store) as running:
                done = running.complete(PROMPT, max_tokens=40, sampling=GREEDY)
                texts.add(done.tokens)
                assert drafter == "none" or states(running).masked == masked
        assert len(texts) == 1


def test_of_a_long_text_they_read_the_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden, "HELD", 16)
    path = write_headed("hy_v3", folder / "hy_v3.gguf")
    with runner(path, "none") as plain, runner(path) as running:
        for prompt in (LONG, LONG[:40], [*LONG[:40], 281]):
            expected = plain.complete(prompt, max_tokens=40, sampling=GREEDY)
            done = running.complete(prompt, max_tokens=40, sampling=GREEDY)
            assert done.tokens == expected.tokens
            assert done.stats.accepted > 0
            assert states(running).first > len(prompt) - 16


def test_states_are_kept_by_position(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden, "HELD", 8)
    given = np.zeros((0, 2), np.float32)

    def call(name: str, *_arguments: Any) -> Any:
        return np.ascontiguousarray(given).ctypes.data_as(extension._FLOATS)

    monkeypatch.setattr(extension, "call", call)
    kept = HiddenStates(0, 2)  # type: ignore[arg-type]

    def take(start: int, count: int, mark: float = 0.0) -> None:
        nonlocal given
        given = np.array([[p, mark] for p in range(start, start + count)], np.float32)
        kept.take(start, count, 1)

    def held() -> list[float]:
        return [float(row[0]) for row in kept.rows(kept.first, kept.end)]

    take(0, 5)
    assert held() == [0, 1, 2, 3, 4]
    assert kept.rows(-1, 1).tolist() == [[0, 0], [0, 0]]
    take(3, 2, mark=1.0)  # after going back
    assert kept.rows(2, 5)[:, 1].tolist() == [0, 1, 1]
    take(5, 20)
    assert held() == list(range(17, 25))
    take(20, 1)
    assert held() == list(range(17, 21))
    take(10, 2)  # before all that is kept
    assert held() == [10, 11]
    take(30, 1)
    assert held() == [30]
    kept.forget()
    assert held() == []


def test_nothing_is_known_of_a_text_that_was_adopted(folder: Path) -> None:
    path = write_headed("hy_v3", folder / "hy_v3.gguf")
    with Model(path, OPTIONS, heads=True) as model, Session(model) as target:
        heads = HeadSession(target)
        target.evaluate(LONG[:20])
        held = target.saved()
        target.truncate(0)
        target.adopt(held)
        target.evaluate(LONG[20:22])
        assert heads.readable_from == 21
        heads.evaluate(LONG[21:23])
        assert heads.tokens == LONG[21:23]


def test_the_controller_chooses_it_too_and_keeps_what_it_costs(
    folder: Path, tmp_path: Path
) -> None:
    path, store = write_headed("qwen35", folder / "qwen35.gguf"), ProfileStore(tmp_path)
    with runner(path, "auto", profiles=store) as running:
        running.complete(PROMPT, max_tokens=20)
        assert isinstance(running.speculator, Adaptive)
        assert "mtp" in running.speculator.controller.drafters
        identity = {**running.target.model.identity, "drafter": "mtp"}
        assert running.draft is None
    assert store.curve(identity).is_known


def test_nobody_else_pays(folder: Path) -> None:
    path = write_headed("qwen35", folder / "qwen35.gguf")
    for drafter in ("none", "lookup"):
        with runner(path, drafter) as running:
            assert not running.target.model.has_heads
            assert not running.target.hidden


def test_a_file_without_layers_is_told(folder: Path, tiny: Path) -> None:
    stripped = write_headed("glm4moe", folder / "stripped.gguf", heads=False)
    for path in (tiny, stripped):
        with pytest.raises(ConfigError, match="needs a target with multi-token prediction layers"):
            Runner.load(target=path, draft="none", drafter="mtp", options=OPTIONS)
        with runner(path, "auto") as running:
            assert isinstance(running.speculator, Adaptive)
            assert "mtp" not in running.speculator.controller.drafters


def test_a_build_without_the_functions_does_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_headed("qwen35", folder / "qwen35.gguf")
    with Model(path, OPTIONS) as model:
        assert heads_of(model.header)
        monkeypatch.setattr(extension, "_found", lambda _name: None)
        assert not heads_of(model.header)


@pytest.mark.usefixtures("empty_cache")
def test_a_trial_evaluates_the_layers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_headed("qwen35", folder / "qwen35.gguf")
    asked: list[str] = []
    run = subprocess.run

    def watched(command: list[str], **how: Any) -> Any:
        asked.append(command[-1])
        return run(command, **how)

    monkeypatch.setattr(trial, "require_survived", require_survived)
    monkeypatch.setattr(subprocess, "run", watched)
    options = LoadOptions(n_ctx=N_CTX, n_threads=1)
    for each in (path, write_headed("step35", folder / "step35-3.gguf", several=3)):
        with Model(each, options, heads=True) as model:
            assert model.has_heads
    assert len(asked) == 2
    assert all('"heads": true' in settings for settings in asked)


def test_the_page_says_what_was_counted_beside_llama_server() -> None:
    decisions = Path(__file__).parent.parent / "docs" / "decisions"
    data = json.loads((decisions / "data" / "heads.json").read_text())
    assert table(data) in (decisions / "heads.md").read_text()
    assert all(row["same text"] is not False for row in data)
