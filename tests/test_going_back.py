"""A prompt that goes back in a text the memory cannot go back in: read again, and honestly so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spec_local import Generation, LoadOptions, Runner, Sampling
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=1024, n_batch=64, n_ubatch=64)
GREEDY = Sampling(temperature=0)
TOKENS = [1, *np.random.default_rng(0).integers(260, 290, 900).tolist()]
BACK = [*TOKENS[:500], 275, 276]


@pytest.fixture(params=["llama", "gemma3", "mamba"])
def model(request: pytest.FixtureRequest, tiny_directory: Path) -> Path:
    return write_tiny(tiny_directory / f"back-{request.param}.gguf", request.param)


def test_what_is_read_again_is_counted_told_and_gives_the_same_text(model: Path) -> None:
    with Runner.load(target=model, drafter="none", options=OPTIONS) as runner:
        expected = runner.complete(BACK, max_tokens=5, sampling=GREEDY).tokens
        runner.complete(TOKENS, max_tokens=2)
        told, calls = list[float](), runner.target.decode_calls
        again = runner.complete(
            BACK, max_tokens=5, sampling=GREEDY, progress=lambda _stage, share: told.append(share)
        )
        calls = runner.target.decode_calls - calls - len(again.tokens) + 1
        goes_back = runner.target.capabilities.rollback == "remove"
        assert again.tokens == expected
        assert again.stats.cached_tokens == (500 if goes_back else 0)
        assert calls == (1 if goes_back else 8)  # batches of 64
        assert len(told) == calls + 1
        assert told == sorted(told)


def test_it_can_be_cancelled_and_goes_on_from_there(model: Path) -> None:
    with Runner.load(target=model, drafter="none", options=OPTIONS) as runner:
        expected = runner.complete(BACK, max_tokens=5, sampling=GREEDY).tokens
        runner.complete(TOKENS, max_tokens=2)
        generation: Generation | None = None

        def stop(_stage: str, share: float) -> None:
            if 0.3 < share < 1:
                assert generation is not None
                generation.cancel()

        calls = runner.target.decode_calls
        generation = runner.generate(BACK, max_tokens=5, progress=stop)
        done = generation.complete()
        if runner.target.capabilities.rollback != "remove":
            assert done.finish_reason == "cancelled"
            assert runner.target.decode_calls - calls <= 4
        again = runner.complete(BACK, max_tokens=5, sampling=GREEDY)
        assert again.tokens == expected
