"""What is told of a context's memory before a model is loaded, and what llama.cpp takes for it."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from spec_local import LoadOptions
from spec_local.llama.cache_bytes import cache_bytes
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from tests.test_zoo import RECIPES, each_architecture
from tests.zoo.recipes import write

pytestmark = pytest.mark.llama

N_CTX = 4096
TAKEN = re.compile(r"(?:KV|RS) buffer size = +([\d.]+) MiB")
LIKE_LLAMA = ("llama", "qwen3moe", "gemma3", "gemma2", "gpt2", "cohere2", "deepseek2", "bloom")
"""Of the dozen, those that have neither running states nor layers without a cache."""


@pytest.mark.parametrize("arch", each_architecture())
def test_it_is_never_much_less(arch: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(RECIPES[arch], tmp_path / f"{arch}.gguf")
    options = LoadOptions(n_ctx=N_CTX, n_threads=1)
    caplog.set_level(logging.DEBUG, "spec_local.llama")
    with Model(path, options) as model, Session(model):
        told = sum(cache_bytes(model.header, options, N_CTX)) / (1 << 20)
    lines = (TAKEN.search(record.getMessage()) for record in caplog.records)
    taken = sum(float(line[1]) for line in lines if line)
    assert taken > 0
    assert told > 0.97 * taken - 0.02
    if arch in LIKE_LLAMA:
        assert told == pytest.approx(taken, abs=0.02)
