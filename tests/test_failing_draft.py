"""A draft model that cannot be loaded, or fails on the way: the target writes the same without."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spec_local import ContextOverflow, EngineError, LoadOptions, ModelFileError, Runner, Sampling
from spec_local.engine.types import EvaluationSession
from spec_local.errors import ConfigError
from spec_local.llama.session import Session
from spec_local.models.registry import ModelSpec, PairSpec, Registry
from spec_local.sampling.types import Logits
from tests.test_cli import fails_with, spec_local
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=512)
SAMPLING = Sampling(temperature=1.0, seed=3)
DRAFTERS = ("model", "lookup-then-model", "staged", "auto")
PROMPT = "abc abc abc abc"


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = (record for record in caplog.records if record.levelno >= logging.WARNING)
    return [record.getMessage() for record in found]


@pytest.fixture(scope="module")
def plain(tiny: Path) -> Iterator[Callable[..., tuple[int, ...]]]:
    """What the target writes by itself."""
    with Runner.load(target=tiny, drafter="none", options=OPTIONS) as runner:
        yield lambda **how: runner.complete(PROMPT, sampling=SAMPLING, **how).tokens


Evaluate = Callable[..., Logits]


def raising(error: Exception) -> Callable[[Evaluate], Evaluate]:
    def failing(_evaluate: Evaluate) -> Evaluate:
        def evaluate(*_args: Any, **_more: Any) -> Logits:
            raise error

        return evaluate

    return failing


def not_numbers(evaluate: Evaluate) -> Evaluate:
    def failing(*args: Any, **more: Any) -> Logits:
        return np.full_like(evaluate(*args, **more), np.nan)

    return failing


FAILURES = {
    "refused": raising(EngineError("llama.cpp could not evaluate 1 tokens (status -3).")),
    "no memory": raising(MemoryError("there is none")),
    "damaged": not_numbers,
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_a_draft_that_fails_on_the_way_changes_no_text_and_is_said_once(
    tiny: Path,
    plain: Callable[..., tuple[int, ...]],
    drafter: str,
    failure: Callable[[Evaluate], Evaluate],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    k = None if drafter == "auto" else 3
    with Runner.load(target=tiny, draft=tiny, drafter=drafter, k=k, options=OPTIONS) as runner:
        for name in ("model", "window"):
            learn_to_draft(runner, name)
        generation = runner.generate(PROMPT, max_tokens=120, sampling=SAMPLING)
        found = list(next(generation).tokens)
        assert runner.draft is not None
        monkeypatch.setattr(runner.draft, "evaluate", failure(runner.draft.evaluate))
        for chunk in generation:
            found += chunk.tokens
        assert tuple(found) == plain(max_tokens=120)
        (said,) = warnings_of(caplog)
        assert said.startswith("note: the draft model failed and drafts no more: ")
        again = runner.complete(PROMPT, max_tokens=40, sampling=SAMPLING)
        assert again.tokens == plain(max_tokens=40)
        assert len(warnings_of(caplog)) == 1


def learn_to_draft(runner: Runner, name: str) -> None:
    """Let `auto` believe that this drafter is cheap and right; others need no belief."""
    from spec_local.engine.speculate import Adaptive

    if not isinstance(runner.speculator, Adaptive):
        return
    state = runner.speculator.controller.drafters[name]
    assert state.cost is not None
    for width in (1, 2, 8, 64):
        for _ in range(9):
            state.cost.observe(width, 0, 1e-6 * width)
            runner.speculator.controller.target.observe(width, 0, 1e-3)


def test_taking_back_may_fail_as_well(
    tiny: Path, plain: Callable[..., tuple[int, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Session):
        def truncate(self, length: int) -> None:
            raise EngineError("llama.cpp could not evaluate 3 tokens (status -3).")

    with Runner.load(target=tiny, draft=tiny, drafter="model", k=3, options=OPTIONS) as runner:
        assert runner.draft is not None
        runner.draft.__class__ = Broken
        done = runner.complete(PROMPT, max_tokens=30, sampling=SAMPLING)
        runner.draft.__class__ = Session
        assert done.tokens == plain(max_tokens=30)
        assert len(warnings_of(caplog)) == 1


def test_a_target_that_fails_is_an_error_and_can_be_used_again(
    tiny: Path, plain: Callable[..., tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Runner.load(target=tiny, drafter="none", options=OPTIONS) as runner:
        generation = runner.generate(PROMPT, max_tokens=30, sampling=SAMPLING)
        next(generation)
        with monkeypatch.context() as patch:
            error = EngineError("llama.cpp could not evaluate 1 tokens (status 1).")
            patch.setattr(runner.target, "evaluate", raising(error)(runner.target.evaluate))
            with pytest.raises(EngineError, match="status 1"):
                list(generation)
        again = runner.complete(PROMPT, max_tokens=30, sampling=SAMPLING)
        assert again.tokens == plain(max_tokens=30)


@pytest.fixture
def pair_with(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """A pair in models.toml of the tiny target and a draft with that fault; its name."""

    def made(fault: str) -> str:
        draft = tmp_path / "draft.gguf"
        if fault == "damaged":
            draft.write_bytes(tiny.read_bytes()[:-4000])
        elif fault == "no memory":
            write_tiny(draft, seed=1)
        models = {"target": ModelSpec(path=str(tiny)), "draft": ModelSpec(path=str(draft))}
        registry = Registry(models, {"pair": PairSpec("target", "draft")})
        for module in ("loading", "registry"):
            monkeypatch.setattr(f"spec_local.models.{module}.load_registry", lambda: registry)
        monkeypatch.setattr("spec_local.pair.load_registry", lambda: registry)
        return "pair"

    return made


def refuse_contexts_of_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_draft: object) -> EvaluationSession:
        raise ContextOverflow("A context of 512 tokens cannot be made: failed to allocate.")

    monkeypatch.setattr("spec_local.pair.draft_session", refused)


FAULTS = ("damaged", "missing", "no memory")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_draft_that_nobody_named_may_fail_to_load(
    plain: Callable[..., tuple[int, ...]],
    pair_with: Callable[[str], str],
    fault: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = pair_with(fault)
    if fault == "no memory":
        refuse_contexts_of_drafts(monkeypatch)
    with Runner.load(name, options=OPTIONS) as runner:
        assert runner.draft is None
        assert runner.pair is not None
        assert runner.pair.draft is None
        done = runner.complete(PROMPT, max_tokens=20, sampling=SAMPLING)
        assert done.tokens == plain(max_tokens=20)
    (said,) = warnings_of(caplog)
    assert said.startswith("note: nothing drafts with draft")


@pytest.mark.parametrize("fault", FAULTS)
def test_one_that_is_named_or_needed_is_an_error(
    pair_with: Callable[[str], str], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = pair_with(fault)
    if fault == "no memory":
        refuse_contexts_of_drafts(monkeypatch)
    errors = (ModelFileError, ConfigError, ContextOverflow, Exception)
    for how in ({"draft": "draft"}, {"drafter": "model"}):
        with pytest.raises(errors, match=r"draft\.gguf|cannot be made"):
            Runner.load(name, options=OPTIONS, **how)  # type: ignore[arg-type]


def test_the_command_line_goes_on_with_one_note(tiny: Path, tmp_path: Path) -> None:
    """The best draft at hand has a header that fits, and tensors that do not."""
    (tmp_path / "draft.gguf").write_bytes(tiny.read_bytes()[:-4000])
    for config in (".config", "Library/Application Support"):  # of Linux and of macOS
        own = tmp_path / config / "spec-local" / "models.toml"
        own.parent.mkdir(parents=True)
        own.write_text(
            f"[models.t]\npath = '{tiny}'\n[models.d]\npath = '{tmp_path / 'draft.gguf'}'\n"
            "[pairs.own]\ntarget = 't'\ndraft = 'd'\n"
        )
    here = {"XDG_CONFIG_HOME": "", "HOME": str(tmp_path)}
    how = ("generate", "hi", "-n", "6", "-q", "--temperature", "0")
    done = spec_local(*how, "-m", "own", **here)
    assert done.returncode == 0
    assert done.stderr.startswith("note: nothing drafts with d: draft.gguf is damaged: 4,000 bytes")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == spec_local(*how, "-m", tiny, "--no-draft", **here).stdout
    named = spec_local(*how, "-m", "own", "-d", "d", **here)
    assert fails_with(named, "draft.gguf is damaged: 4,000 bytes are missing at its end")
