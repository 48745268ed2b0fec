"""Generations under asyncio: the same chunks, a free event loop, and cancelling that frees."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from spec_local import ConfigError, ContextOverflow, LoadOptions, Runner, RunnerBusy, Sampling
from spec_local.generation import Chunk, Generation
from tests.fake import ScriptedDrafter

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=256, n_batch=32)
GREEDY = Sampling(temperature=0)
LONG = "a long prompt " * 12
SECONDS = 20.0
"""Longest wait for what must happen."""


@pytest.fixture(scope="module")
def runner(tiny: Path) -> Iterator[Runner]:
    with Runner.load(target=tiny, drafter="lookup", options=OPTIONS) as runner:
        yield runner


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for it without holding the loop up."""
    for _ in range(round(1000 * SECONDS)):
        if is_so():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


async def taken(generation: Generation, count: int) -> list[Chunk]:
    return [await generation.__anext__() for _ in range(count)]


def test_the_same_chunks_by_for_and_by_async_for(runner: Runner) -> None:
    how = {"max_tokens": 30, "sampling": GREEDY}
    plain = list(runner.generate("once upon", **how))  # type: ignore[arg-type]

    async def main() -> None:
        generation = runner.generate("once upon", **how)  # type: ignore[arg-type]
        chunks = [chunk async for chunk in generation]
        assert [chunk.tokens for chunk in chunks] == [chunk.tokens for chunk in plain]
        assert generation.finish_reason == "length"
        assert generation.stats.tokens == 30
        done = await runner.acomplete("once upon", **how)  # type: ignore[arg-type]
        assert done.text == "".join(chunk.text for chunk in plain)
        assert await generation.acomplete() == generation.complete()  # nothing is left of it

    asyncio.run(main())


def test_rounds_run_in_one_thread_and_the_loop_is_free(tiny: Path) -> None:
    go, threads = threading.Event(), list[int]()

    def script(_context: Sequence[int], _budget: int) -> list[int]:
        threads.append(threading.get_ident())
        assert go.wait(SECONDS)  # set by the loop
        return []

    own = ScriptedDrafter(script)
    with Runner.load(target=tiny, drafter=own, options=OPTIONS) as runner:

        async def main() -> None:
            task = asyncio.create_task(runner.acomplete("once", max_tokens=9))
            await until(lambda: bool(threads))
            assert not task.done()
            go.set()
            assert (await task).stats.tokens == 9
            await runner.acomplete("once", max_tokens=9)

        asyncio.run(main())
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads


def test_a_cancelled_task_stops_in_the_prompt_and_frees_the_runner(runner: Runner) -> None:
    reading, seen = threading.Event(), list[float]()
    runner.target.truncate(0)

    async def main() -> None:
        def progress(_stage: str, share: float) -> None:
            seen.append(share)
            if 0 < share < 1:
                reading.set()
                assert generation._cancel.wait(SECONDS)

        generation = runner.generate(LONG, progress=progress)
        task = asyncio.create_task(generation.acomplete())
        await until(reading.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(seen) == 2  # its beginning, and one batch
        assert generation.finish_reason == "cancelled"
        again = runner.complete(LONG, max_tokens=3)  # at once, and in another thread
        assert again.stats.cached_tokens == OPTIONS.n_batch

    asyncio.run(main())


def test_a_round_is_cancelled_with_its_task(runner: Runner) -> None:
    async def main() -> None:
        generation = runner.generate("once", sampling=GREEDY)
        await taken(generation, 2)
        task = asyncio.create_task(generation.acomplete())
        await asyncio.sleep(0)  # it has begun
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await runner.acomplete("twice", max_tokens=3)).tokens

    asyncio.run(main())


def test_leaving_the_loop_frees_the_runner(runner: Runner) -> None:
    async def broken_off() -> None:
        async for _chunk in runner.generate("once", sampling=GREEDY):
            break

    async def failed() -> None:
        async for _chunk in runner.generate("once", sampling=GREEDY):
            raise ZeroDivisionError

    async def closed() -> None:
        async with aclosing(runner.generate("once", sampling=GREEDY)) as generation:
            await taken(generation, 3)
        assert generation.finish_reason is None
        with pytest.raises(StopAsyncIteration):
            await generation.__anext__()

    async def finished() -> None:
        async with aclosing(runner.generate("once", max_tokens=3)) as generation:
            async for _chunk in generation:
                pass
        assert generation.finish_reason == "length"

    for way in (broken_off, failed, closed, finished):

        async def main(way: Callable[[], Coroutine[Any, Any, None]] = way) -> None:
            with suppress(ZeroDivisionError):
                await way()
            assert (await runner.acomplete("twice", max_tokens=3)).tokens
            assert runner.complete("thrice", max_tokens=3).tokens

        asyncio.run(main())


def test_the_last_chunk_gives_the_runner_back(runner: Runner) -> None:
    async def main() -> None:
        generation = runner.generate("once", max_tokens=1)
        assert (await taken(generation, 1))[0].finish_reason == "length"
        assert runner.complete("twice", max_tokens=3).tokens

    asyncio.run(main())


def test_errors_are_the_same_ones(runner: Runner, tiny: Path) -> None:
    def fail(_context: Sequence[int], _budget: int) -> list[int]:
        raise ZeroDivisionError

    async def main() -> None:
        running = runner.generate("once", sampling=GREEDY)
        await taken(running, 1)
        with pytest.raises(RunnerBusy, match="generating already"):
            await runner.acomplete("twice")
        await running.aclose()
        with pytest.raises(ContextOverflow):
            await runner.acomplete("x" * 400)
        with Runner.load(target=tiny, drafter=ScriptedDrafter(fail), options=OPTIONS) as failing:
            with pytest.raises(ZeroDivisionError):
                await failing.acomplete("once", max_tokens=9)
            waiting = failing.generate("once")
        with pytest.raises(ConfigError, match="This runner is closed"):
            await waiting.acomplete()

    asyncio.run(main())


def test_closing_ends_a_round_that_another_task_waits_for(tiny: Path) -> None:
    drafting, go = threading.Event(), threading.Event()

    def script(_context: Sequence[int], _budget: int) -> list[int]:
        drafting.set()
        assert go.wait(SECONDS)
        return []

    with Runner.load(target=tiny, drafter=ScriptedDrafter(script), options=OPTIONS) as runner:

        async def main() -> None:
            generation = runner.generate("once")
            task = asyncio.create_task(generation.acomplete())
            await until(drafting.is_set)
            closing = asyncio.create_task(generation.aclose())
            await asyncio.sleep(0)
            go.set()
            await closing
            assert (await task).finish_reason == "cancelled"
            assert (await runner.acomplete("twice", max_tokens=1)).tokens

        asyncio.run(main())


def test_a_conversation_under_asyncio(runner: Runner) -> None:
    async def main() -> None:
        chat = runner.chat("be brief", max_tokens=12, sampling=GREEDY)
        said = [chunk.text async for chunk in chat.send("hello")]
        assert chat.messages[-1] == {"role": "assistant", "content": "".join(said)}
        done = await chat.send("and then?").acomplete()
        assert chat.messages[-1]["content"] == done.text
        assert chat.generation is not None
        assert chat.generation.stats.cached_tokens > 20

        kept = list[str]()

        async def talk() -> None:
            async for chunk in chat.send("tell me more"):
                kept.append(chunk.text)
                await asyncio.sleep(SECONDS if len(kept) == 3 else 0)

        task = asyncio.create_task(talk())
        await until(lambda: len(kept) == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert chat.messages[-1] == {"role": "assistant", "content": "".join(kept)}
        assert [chunk async for chunk in chat.retry()]

    asyncio.run(main())
