"""Peers of a benchmark: as many loaded at once as there is memory for, and asked in turn."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from spec_local.bench.peers.specs import PeerSpec
from spec_local.bench.run.opened import Field
from spec_local.bench.run.running_peers import RunningPeers
from spec_local.bench.run.schedule import Schedule
from spec_local.llama.options import LoadOptions
from spec_local.sampling.settings import Sampling
from spec_local.util.progress import no_progress
from tests.test_peers import FAKE, children, executable

pytestmark = pytest.mark.llama

GREEDY = Sampling(temperature=0)
NAMES = ["llama-server one", "llama-server two", "llama-server three"]


def specs(folder: Path, **behaviour: str) -> list[PeerSpec]:
    """Three peers; behaviour: how one of them fails, by its name."""
    found = []
    for name in ("one", "two", "three"):
        text = FAKE.format(
            python=sys.executable,
            behaviour=behaviour.get(name, ""),
            record=str(folder / f"{name}.json"),
        )
        found.append(PeerSpec("llama-server", name, executable(folder / name, text)))
    return found


@pytest.fixture
def field(tiny: Path) -> Field:
    """A target that peers load as well."""
    model = SimpleNamespace(path=tiny, options=LoadOptions(n_ctx=256, n_threads=1))
    return cast(Field, SimpleNamespace(target=SimpleNamespace(model=model, n_ctx=256), draft=None))


def started(folder: Path, field: Field, **behaviour: str) -> RunningPeers:
    schedule = cast(Schedule, SimpleNamespace(tokens=4, prompts=()))
    return RunningPeers(specs(folder, **behaviour), field, schedule, None, no_progress)


def available(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    found: Any = SimpleNamespace(available=free)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: found)


def test_with_memory_enough_they_stay_loaded(tmp_path: Path, field: Field) -> None:
    before = len(children())
    with started(tmp_path, field) as peers:
        assert peers.running == NAMES
        loaded = {child.pid for child in children()}
        assert len(loaded) == before + 3
        for name in NAMES * 2:
            assert peers.answer(name, [1, 2], 3, GREEDY) is not None
        assert {child.pid for child in children()} == loaded
    assert len(children()) == before


def test_where_memory_is_short_one_at_a_time_is_loaded(
    tmp_path: Path, field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    available(monkeypatch, 1000)
    before = len(children())
    with started(tmp_path, field) as peers:
        assert peers.running == NAMES
        assert len(children()) == before + 1
        for name in NAMES * 2:
            answer = peers.answer(name, [1, 2], 3, GREEDY)
            assert answer is not None
            assert answer.tokens == (7, 8, 9)
            assert len(children()) == before + 1
        assert [peers.contenders[name].version for name in NAMES] == ["b1-fake"] * 3
    assert len(children()) == before


def test_who_was_asked_longest_ago_goes_first(
    tmp_path: Path, field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(tmp_path, field) as peers:
        peers.answer(NAMES[0], [1], 3, GREEDY)
        monkeypatch.setattr(peers, "_needed", 10)
        frees = iter([1, 100])  # enough when one has ended
        monkeypatch.setattr(
            psutil, "virtual_memory", lambda: SimpleNamespace(available=next(frees))
        )
        peers._make_room()
        assert list(peers._loaded) == [NAMES[2], NAMES[0]]


def test_one_that_fails_is_noted_and_asked_no_more(tmp_path: Path, field: Field) -> None:
    before = len(children())
    with started(tmp_path, field, one="exits", two="dies") as peers:
        assert peers.running == NAMES[2:]
        assert "ended with exit code 1" in str(peers.contenders[NAMES[0]].error)
        assert "out of memory" in str(peers.contenders[NAMES[1]].error)
        assert peers.contenders[NAMES[2]].error is None
        assert len(children()) == before + 1
