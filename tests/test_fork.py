"""A runner in a forked child says what to do instead, and the parent's goes on."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from pathlib import Path

import pytest

from spec_local import Chunk, Generation, LoadOptions, Runner
from spec_local.llama.session import Session
from tests.forked import in_child

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
]

OPTIONS = LoadOptions(n_ctx=256, n_batch=32)
SAID = "EngineError: llama.cpp cannot go on in a forked process"


def test_using_a_runner_in_a_child_is_one_sentence(tiny: Path) -> None:
    with Runner.load(target=tiny, options=OPTIONS) as runner:
        expected = runner.complete("once", max_tokens=5).tokens
        generation = runner.generate("once", max_tokens=5)
        begun = runner.generate("once", max_tokens=5)
        uses = (
            lambda: runner.complete("once", max_tokens=5),
            lambda: next(generation),
            lambda: runner.chat().send("hello"),
            lambda: runner.check(runner.sampling),
            lambda: runner.target.evaluate([1]),
            lambda: Session(runner.target.model),
            lambda: Runner.load(target=tiny, options=OPTIONS).complete("once"),
        )
        next(begun)
        for use in uses:
            assert in_child(use).startswith(SAID)
        begun.close()
        assert runner.complete("once", max_tokens=5).tokens == expected


def test_a_generation_in_a_child_is_one_sentence_however_it_is_asked(tiny: Path) -> None:
    """Also one that the parent awaits or is in the middle of: its threads are not in the child."""

    async def iterate(generation: Generation) -> list[Chunk]:
        return [chunk async for chunk in generation]

    async def begin(generation: Generation) -> None:
        await anext(generation)

    async def leave(generation: Generation) -> None:
        await generation.aclose()

    with Runner.load(target=tiny, options=OPTIONS) as runner:
        awaited = runner.generate("once", max_tokens=20)
        asyncio.run(begin(awaited))
        uses = (
            lambda: asyncio.run(iterate(awaited)),
            lambda: asyncio.run(awaited.acomplete()),
            lambda: asyncio.run(runner.acomplete("once")),
            lambda: awaited.complete(),
            lambda: list(awaited),
        )
        for use in uses:
            assert in_child(use).startswith(SAID)
        for stop in (awaited.cancel, awaited.close, lambda: asyncio.run(leave(awaited))):
            assert in_child(stop) == "None"
        chunks = asyncio.run(iterate(awaited))
        assert chunks[-1].finish_reason == "length"


def test_a_child_is_refused_while_the_parent_is_in_a_round(tiny: Path) -> None:
    reading, go = threading.Event(), threading.Event()

    def hold(_stage: str, _share: float) -> None:
        reading.set()
        assert go.wait(20)

    with Runner.load(target=tiny, options=OPTIONS) as runner:
        generation = runner.generate("x" * 100, max_tokens=3, progress=hold)
        thread = threading.Thread(target=generation.complete)
        thread.start()
        assert reading.wait(20)
        try:
            assert in_child(lambda: next(generation)).startswith(SAID)
            assert in_child(generation.close) == "None"
        finally:
            go.set()
            thread.join()
        assert generation.finish_reason == "length"


def test_a_child_closes_and_drops_a_runner_that_generates_without_touching_it(tiny: Path) -> None:
    """Also where another thread held every lock at the moment of the fork."""
    runners = [Runner.load(target=tiny, options=OPTIONS)]
    reading, go = threading.Event(), threading.Event()

    def hold(_stage: str, _share: float) -> None:
        reading.set()
        assert go.wait(20)

    done = list[object]()
    thread = threading.Thread(
        target=lambda: done.append(runners[0].complete("x" * 100, max_tokens=3, progress=hold))
    )
    thread.start()
    assert reading.wait(20)

    def child() -> str:
        runners[0].close()
        runners.clear()
        gc.collect()
        return "over"

    try:
        assert in_child(child) == "over"
    finally:
        go.set()
        thread.join()
    assert len(done) == 1
    runners.pop().close()


def test_a_child_keeps_nothing_of_a_generation_it_drops(tiny: Path, tmp_path: Path) -> None:
    def learned() -> bool:
        return any(path.is_file() for path in (tmp_path / "profiles").rglob("*"))

    with Runner.load(target=tiny, options=OPTIONS) as runner:
        generation = runner.generate("once", max_tokens=60)
        for _chunk in zip(generation, range(20), strict=False):
            pass
        held = list(runner.target.tokens)

        def child() -> bool:
            nonlocal generation
            del generation
            gc.collect()
            return learned()

        assert in_child(child) == "False"
        assert list(runner.target.tokens) == held
        assert list(generation)[-1].finish_reason is not None
        assert learned()
