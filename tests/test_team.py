"""Fewer threads beside others, and the same bits."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from spec_local.exact.modes import exact_options
from spec_local.llama import backend
from spec_local.llama.backend import lib
from spec_local.llama.model import Model
from spec_local.llama.openmp import Threads, threads_by_load
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.llama.team import Team, tokens_of_any_team
from spec_local.llama.waiting import Waiting
from spec_local.sampling.types import Logits
from tests.zoo.recipes import DIFFUSION, recipes, write

pytestmark = pytest.mark.llama

RECIPES = recipes()
WIDTHS = (1, 2, 3, 5, 9)
UNDIVIDED = (1, 30, 256 - max(WIDTHS))


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """The choice for this process, which looks at no load."""
    found = threads_by_load()
    if found is None:
        pytest.skip("there is no libgomp to choose for")
    monkeypatch.setattr(Waiting, "look", lambda _self, _threads: None)
    monkeypatch.setattr(backend, "_threads", found)
    return found


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        (LoadOptions(), 256),
        (LoadOptions(kv_type_k="f32", kv_type_v="f32"), 256),
        (LoadOptions(flash_attention="off"), float("inf")),
        (LoadOptions(kv_type_v="bf16"), float("inf")),
        (LoadOptions(kv_type_k="q8_0", kv_type_v="q8_0"), float("inf")),
    ],
)
def test_where_the_number_of_threads_changes_nothing(
    options: LoadOptions, tokens: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert tokens_of_any_team(options, "llama") == tokens
    assert tokens_of_any_team(options, "deepseek4") == (0 if tokens == 256 else tokens)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert tokens_of_any_team(options, "llama") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is chosen")
def test_beside_others_fewer_compute_until_their_number_counts(
    tiny: Path, alone: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    used: list[tuple[int, int]] = []
    decode = lib.llama_decode

    def watched(context: lib.llama_context_p, batch: lib.llama_batch) -> int:
        used.append((len(session.tokens) + batch.n_tokens, lib.llama_n_threads(context)))
        return decode(context, batch)

    monkeypatch.setattr(lib, "llama_decode", watched)
    with Model(tiny, LoadOptions(n_ctx=512, n_threads=3)) as model, Session(model) as session:
        session.evaluate([1] * 100)
        alone.waiting.kept_on = frozenset(list(alone.waiting.processors)[:1])
        session.evaluate([1] * 156)
        session.evaluate([1])
        session.truncate(255)
        session.evaluate([1])
        alone.waiting.kept_on = None
        session.truncate(0)
        session.evaluate([1])
    assert used == [(100, 3), (256, 1), (257, 3), (256, 1), (1, 3)]


def rows(model: Model, threads: int, contexts: Sequence[int]) -> list[Logits]:
    """Logits at every width after these contexts; with so many threads, whatever else runs here."""
    found = []
    with (
        mock.patch.object(Team, "computing", return_value=nullcontext()),
        Session(model) as session,
    ):
        lib.llama_set_n_threads(session.handle, threads, threads)
        for context in contexts:
            session.truncate(0)
            session.evaluate([260 + i % 25 for i in range(context)])
            for width in WIDTHS:
                found.append(session.evaluate([261 + i for i in range(width)], rows=width).copy())
                session.truncate(context)
    return found


def same_bits(model: Model, contexts: Sequence[int], *threads: int) -> bool:
    """Whether so many threads compute the same."""
    one, *others = (rows(model, each, contexts) for each in threads)
    pairs = (zip(one, other, strict=True) for other in others)
    return all(np.array_equal(a, b) for each in pairs for a, b in each)


promised = pytest.mark.skipif(
    not tokens_of_any_team(LoadOptions(), "llama"), reason="not promised for this processor"
)


@promised
@pytest.mark.parametrize("arch", sorted(RECIPES.keys() - {*DIFFUSION}))
def test_any_number_of_threads_computes_the_same_bits(arch: str, tmp_path: Path) -> None:
    path = write(RECIPES[arch], tmp_path / "model.gguf")
    options = LoadOptions(n_ctx=512)
    with Model(path, options, vouched=True) as model:
        same = tokens_of_any_team(options, arch) >= max(UNDIVIDED) + max(WIDTHS)
        assert same_bits(model, UNDIVIDED, 1, 2, 3) is same


@promised
@pytest.mark.parametrize("arch", ["deepseek2", "deepseek4"])
def test_in_exact_modes_so_they_do_where_keys_and_values_are_one(arch: str, tmp_path: Path) -> None:
    """llama.cpp refuses two types for them."""
    path = write(RECIPES[arch], tmp_path / "model.gguf")
    with Model(path, exact_options("certified", LoadOptions(n_ctx=512)), vouched=True) as model:
        assert model.has_one_cache
        assert same_bits(model, (300,), 1, 2)


@promised
@pytest.mark.model("smollm2-135m")
@pytest.mark.parametrize(
    ("caches", "contexts", "same"),
    [
        ({}, UNDIVIDED, True),
        ({}, (300,), False),
        ({"kv_type_v": "bf16"}, (300,), True),
        ({"kv_type_k": "q8_0", "kv_type_v": "q8_0"}, (300,), True),
        ({"flash_attention": "off"}, (300,), True),
    ],
)
def test_so_they_do_on_a_real_model(
    caches: dict[str, Any], contexts: Sequence[int], same: bool, model_files: list[Path]
) -> None:
    with Model(model_files[0], LoadOptions(n_ctx=1024, **caches)) as model:
        assert same_bits(model, contexts, 1, 2) is same
