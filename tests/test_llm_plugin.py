"""The plugin of `llm`, on models of a few kilobytes; skipped where `llm` is not installed."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from spec_local import LoadOptions, Runner, Sampling
from spec_local.models.registry import load_registry
from tests.templates import HERMES
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

llm = pytest.importorskip("llm")
plugin = pytest.importorskip("spec_local.llm_plugin")


@pytest.fixture
def runner(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    path = write_tiny(tiny_directory / "for-llm.gguf", template=HERMES)
    with Runner.load(target=path, options=LoadOptions(n_ctx=1024)) as runner:
        monkeypatch.setattr(plugin, "_runner", lambda _name: runner)
        monkeypatch.setattr(plugin, "_turn", cache(lambda _name: plugin._Turn()))
        yield runner


def test_every_pair_and_model_is_registered() -> None:
    found: list[Any] = []
    plugin.register_models(lambda *models: found.append(models))
    names = {model.model_id for model, _ in found}
    registry = load_registry()
    assert names == {f"spec-local/{name}" for name in (*registry.pairs, *registry.models)}
    assert all(model.model_id == other.model_id for model, other in found)


def test_the_text_is_the_runners(runner: Runner) -> None:
    model = plugin.SpecLocal("any")
    response = model.prompt("hello", system="be brief", temperature=0, max_tokens=20)
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    expected = runner.complete(messages, max_tokens=20, sampling=Sampling(temperature=0))
    assert response.text() == expected.text
    usage = response.usage()
    assert (usage.input, usage.output) == (expected.stats.prompt_tokens, 20)

    async def main() -> str:
        asked = plugin.AsyncSpecLocal("any").prompt(
            "hello", system="be brief", temperature=0, max_tokens=20
        )
        text: str = await asked.text()
        return text

    assert asyncio.run(main()) == expected.text


def test_a_conversation_goes_on(runner: Runner) -> None:
    conversation = plugin.SpecLocal("any").conversation()
    first = conversation.prompt("hello", temperature=0, max_tokens=9)
    said = first.text()
    again = conversation.prompt("and then", temperature=0, max_tokens=9).text()
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "and then"},
    ]
    sampling = Sampling(temperature=0)
    assert again == runner.complete(messages, max_tokens=9, sampling=sampling).text


def test_a_schema_is_obeyed(runner: Runner) -> None:
    schema = {"type": "object", "properties": {"is": {"type": "boolean"}}, "required": ["is"]}
    text = plugin.SpecLocal("any").prompt("hello", schema=schema, max_tokens=60).text()
    assert set(json.loads(text)) == {"is"}


def test_calls_are_made_and_answered(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(['<tool_call>\n{"name": "double", "arguments": {"of": 4}}\n</tool_call>', "8"])
    asked: list[Any] = []
    generate = runner.generate

    def scripted(prompt: Any, **options: Any) -> Any:
        asked.append(prompt)
        grammar = f"root ::= {json.dumps(next(said))}"
        return generate(prompt, **options | {"sampling": Sampling(grammar=grammar)})

    monkeypatch.setattr(runner, "generate", scripted)

    def double(of: int) -> int:
        """Twice a number."""
        return 2 * of

    assert plugin.SpecLocal("any").chain("hello", tools=[double]).text() == "8"
    call, result = asked[1][-2:]
    assert call["tool_calls"][0]["function"] == {"name": "double", "arguments": {"of": 4}}
    assert (result["role"], result["content"]) == ("tool", "8")


def test_what_is_wrong_is_a_sentence(runner: Runner) -> None:
    with pytest.raises(llm.ModelError, match="temperature must be"):
        plugin.SpecLocal("any").prompt("hello", temperature=-1).text()


# ---- one answer at a time ------------------------------------------------------------------------

ASKED: dict[str, Any] = {"temperature": 0, "max_tokens": 20}
MEANWHILE = 3 * plugin._PATIENCE
"""Seconds after which somebody who does not wait would be through."""


def expected(runner: Runner, said: str) -> str:
    messages = [{"role": "user", "content": said}]
    return runner.complete(messages, max_tokens=20, sampling=Sampling(temperature=0)).text


def plain(said: str) -> str:
    text: str = plugin.SpecLocal("any").prompt(said, **ASKED).text()
    return text


async def awaited(said: str) -> str:
    text: str = await plugin.AsyncSpecLocal("any").prompt(said, **ASKED).text()
    return text


def test_another_thread_waits_for_its_turn(runner: Runner) -> None:
    wanted = [expected(runner, said) for said in ("one", "two")]
    first = iter(plugin.SpecLocal("any").prompt("one", **ASKED))
    text, others = next(first), list[str]()
    asking = threading.Thread(target=lambda: others.append(plain("two")))
    asking.start()
    asking.join(MEANWHILE)
    assert others == []
    text += "".join(first)
    asking.join()
    assert [text, *others] == wanted


def test_threads_and_tasks_take_turns(runner: Runner) -> None:
    said = ("one", "two", "three", "four")
    wanted = [expected(runner, each) for each in said]

    async def main() -> list[str]:
        one, two, three, four = said
        apart = asyncio.to_thread
        asked = (awaited(one), apart(plain, two), awaited(three), apart(plain, four))
        return list(await asyncio.gather(*asked))

    for _ in range(3):
        assert asyncio.run(main()) == wanted


def test_who_leaves_gives_the_turn_to_the_next(runner: Runner) -> None:
    wanted = expected(runner, "two")
    first = iter(plugin.SpecLocal("any").prompt("one", temperature=0))
    next(first)
    del first
    assert plain("two") == wanted

    async def main() -> str:
        begun = asyncio.Event()

        async def read() -> None:
            async for _chunk in plugin.AsyncSpecLocal("any").prompt("one", temperature=0):
                begun.set()

        reading = asyncio.create_task(read())
        await begun.wait()
        waiting = asyncio.create_task(awaited("three"))
        await asyncio.sleep(MEANWHILE)
        for task in (waiting, reading):
            task.cancel()
        await asyncio.gather(waiting, reading, return_exceptions=True)
        return await awaited("two")

    assert asyncio.run(main()) == wanted


def test_an_answer_that_was_left_is_no_obstacle(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "_STALLED", 0.01)

    async def main() -> str:
        async for _chunk in plugin.AsyncSpecLocal("any").prompt("one", temperature=0):
            break
        return await awaited("two")

    assert asyncio.run(main()) == expected(runner, "two")


def test_an_answer_may_be_read_in_any_task_and_thread(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "_STALLED", 0.01)
    wanted = [expected(runner, said) for said in ("one", "two")]

    async def main() -> list[str]:
        answer = aiter(plugin.AsyncSpecLocal("any").prompt("one", **ASKED))
        text = await asyncio.create_task(anext(answer))
        second = asyncio.create_task(awaited("two"))
        while (part := await asyncio.create_task(anext(answer, None))) is not None:
            text += part
        return [text, await second]

    assert asyncio.run(main()) == wanted


def test_nobody_waits_for_what_he_reads_himself(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "_STALLED", 0.01)
    half_read = "half read here; read it to its end first"
    first = iter(plugin.SpecLocal("any").prompt("one", **ASKED))
    text = next(first)
    with pytest.raises(llm.ModelError, match=half_read):
        plain("two")
    with pytest.raises(llm.ModelError, match=half_read):
        asyncio.run(awaited("two"))
    assert text + "".join(first) == expected(runner, "one")

    async def main() -> str:
        answer = aiter(plugin.AsyncSpecLocal("any").prompt("one", **ASKED))
        text: str = await anext(answer)
        with pytest.raises(llm.ModelError, match=half_read):
            await awaited("two")
        with pytest.raises(llm.ModelError, match=half_read):
            plain("two")
        return text + "".join([part async for part in answer])

    assert asyncio.run(main()) == expected(runner, "one")
