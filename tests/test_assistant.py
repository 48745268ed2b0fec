"""Drafting with Gemma 4's assistant, which looks at the target's cache and has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spec_local import ConfigError, LoadOptions, ModelFileError, Runner, Sampling
from spec_local.engine.speculate import Adaptive
from spec_local.llama.assistant import AssistantSession
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from tests.tiny_gguf import write_tiny
from tests.zoo.assistant import write_assistant
from tests.zoo.headed import write_headed

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=512, n_batch=32, n_ubatch=32, n_threads=1, trial=False)
GREEDY = Sampling(temperature=0)
PROMPT = "hello hello there, hello"
LONG = [1, *np.random.default_rng(0).integers(260, 290, 100).tolist()]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_headed("gemma4", tmp_path_factory.mktemp("assisted") / "gemma4.gguf")


@pytest.fixture
def assistant(tmp_path: Path) -> Path:
    return write_assistant(tmp_path / "assistant.gguf")


def test_the_text_is_that_of_plain_decoding(target: Path, assistant: Path) -> None:
    texts: dict[Sampling, tuple[int, ...]] = {}
    for drafter in ("none", "mtp", "auto"):
        with Runner.load(
            target=target, draft=assistant, drafter=drafter, options=OPTIONS
        ) as runner:
            for sampling in (GREEDY, Sampling(temperature=1.0, seed=3)):
                done = runner.complete(LONG, max_tokens=60, sampling=sampling)
                assert texts.setdefault(sampling, done.tokens) == done.tokens
                if drafter == "mtp":
                    assert done.stats.drafted > 0
                    assert done.stats.accepted > 0 or sampling != GREEDY
            if drafter == "auto":
                assert isinstance(runner.speculator, Adaptive)
                assert "mtp" in runner.speculator.controller.drafters
                assert runner.draft is None


def test_it_leaves_the_targets_cache_alone(target: Path, assistant: Path) -> None:
    with (
        Model(target, OPTIONS) as model,
        Model(assistant, OPTIONS, may_be_head=True) as head,
        Session(model) as session,
        Session(model) as other,
    ):
        drafting = AssistantSession(session, head)
        session.evaluate(LONG)
        other.evaluate(LONG)
        held = session.digest()
        assert drafting.readable_from == len(LONG)
        first = drafting.evaluate([270])[0].copy()
        drafting.evaluate([271])
        drafting.truncate(0)
        assert session.digest() == held
        assert np.array_equal(drafting.evaluate([270])[0], first)
        drafting.truncate(0)
        rows = session.evaluate([270, 271], rows=2).copy()
        assert np.array_equal(rows, other.evaluate([270, 271], rows=2))
        drafting.close()


def test_what_does_not_fit_is_told(target: Path, assistant: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is the assistant of another model"):
        Runner.load(
            target=target,
            draft=write_assistant(tmp_path / "wide.gguf", backbone=96),
            drafter="mtp",
            options=OPTIONS,
        )
    with pytest.raises(ConfigError, match="take the drafter mtp"):
        Runner.load(target=target, draft=assistant, drafter="model", options=OPTIONS)
    draft = write_tiny(tmp_path / "draft.gguf")
    with pytest.raises(ConfigError, match="needs a target with multi-token prediction layers"):
        Runner.load(target=target, draft=draft, drafter="mtp", options=OPTIONS)
