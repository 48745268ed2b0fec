"""Several models: loaded when they are asked for, dropped when they are not; what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace

import pytest
from fastapi.testclient import TestClient

from spec_local.errors import ConfigError, NotEnoughMemory, SpecLocalError
from spec_local.serve.app import make_app
from spec_local.serve.failures import Refused
from spec_local.serve.limits import Limits
from spec_local.serve.models import Loaded, Models
from spec_local.serve.service import Service
from tests.stub_runner import LetterTemplate, StubRunner, stub_service, stub_slot


class Loads:
    """Loads stubs, and counts how often."""

    def __init__(self, name: str) -> None:
        self.name, self.runners = name, list[StubRunner]()

    def __call__(self) -> Loaded:
        self.runners.append(StubRunner())
        slot = stub_slot(self.runners[-1])
        return Loaded(self.name, [slot], {}, slot.close)


def test_each_is_loaded_when_it_is_first_asked_for() -> None:
    one, two = Loads("one"), Loads("two")
    models = Models({"one": one, "two": two}, most_waiting=1)
    with TestClient(make_app(Service(models, Limits()))) as client:
        assert [card["loaded"] for card in client.get("/v1/models").json()["data"]] == [False] * 2
        for name in ("two", "two", None):
            answer = client.post("/v1/completions", json={"prompt": "hello", "model": name})
            assert answer.json()["model"] == (name or "one")
        assert (len(one.runners), len(two.runners)) == (1, 1)
        assert [card["loaded"] for card in client.get("/v1/models").json()["data"]] == [True] * 2
    assert one.runners[0].closed
    assert two.runners[0].closed


def test_what_nobody_asks_for_is_dropped() -> None:
    async def main() -> None:
        load = Loads("one")
        models = Models({"one": load}, most_waiting=1, idle_seconds=1e-9)
        async with models.using("one") as served:
            await models.drop_idle()
            assert models.served("one") is served  # it is in use
        await models.drop_idle()
        assert models.served("one") is None
        assert load.runners[0].closed
        async with models.using("one"):
            assert len(load.runners) == 2

    asyncio.run(main())


def test_where_memory_is_short_what_nobody_uses_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = Loads("one"), Loads("two"), Loads("three")
    fails: list[SpecLocalError] = []

    def large() -> Loaded:
        if fails:
            raise fails.pop()
        return three()

    async def main() -> None:
        models = Models({"one": one, "two": two, "three": large}, most_waiting=1)

        def there() -> list[bool]:
            return [models.served(name) is not None for name in ("one", "two", "three")]

        for name in ("one", "two"):
            async with models.using(name):
                pass
        assert there() == [True, True, False]
        fails.append(ConfigError("It is broken."))
        with pytest.raises(Refused):
            async with models.using("three"):
                pass
        assert there() == [True, True, False]  # nobody pays for that
        fails.append(NotEnoughMemory("It is large."))
        async with models.using("two"), models.using("three"):
            assert there() == [False, True, True]
            assert one.runners[0].closed
            free = SimpleNamespace(available=0)
            monkeypatch.setattr("spec_local.serve.models.virtual_memory", lambda: free)
            async with models.using("one"):
                assert there() == [True, True, True]  # all are in use

    asyncio.run(main())


def test_where_gpus_have_no_room_for_all_what_nobody_uses_is_dropped() -> None:
    """Though it could be loaded all the same, with layers left to the processor."""
    loads = {name: Loads(name) for name in ("one", "two", "three", "four")}
    asked = list[str]()

    async def main() -> None:
        def there() -> str:
            return " ".join(name for name in loads if models.served(name) is not None)

        def beside(most: int) -> Callable[[], bool]:
            def has_room() -> bool:
                asked.append(there())
                return len(there().split()) <= most

            return has_room

        models = Models(loads, most_waiting=1, has_room={"three": beside(1), "four": beside(0)})
        for name in ("one", "two"):
            async with models.using(name):
                pass
        assert asked == []  # nothing is known of them
        async with models.using("three"):
            assert there() == "two three"
            async with models.using("four"):
                assert there() == "three four"  # it has less than all, and nothing is idle
        assert asked == ["one two", "two", "two three"]

    asyncio.run(main())


def test_who_leaves_while_a_model_loads_does_not_load_it_twice() -> None:
    async def main() -> None:
        load, may_end = Loads("one"), Event()

        def slowly() -> Loaded:
            assert may_end.wait(10)
            return load()

        async def use() -> None:
            async with models.using("one"):
                pass

        models = Models({"one": slowly, "two": Loads("two")}, most_waiting=1)
        leaving, staying = asyncio.create_task(use()), asyncio.create_task(use())
        await asyncio.sleep(0)
        leaving.cancel()
        async with models.using("two"):  # what loads does not stop the others
            assert models.served("one") is None
        may_end.set()
        await staying
        assert leaving.cancelled()
        assert len(load.runners) == 1
        assert models.served("one") is not None

    asyncio.run(main())


def test_a_model_that_is_loaded_at_the_start_is_known_as_such() -> None:
    load = Loads("one")
    models = Models({"one": load}, most_waiting=1, loaded=load())
    with TestClient(make_app(Service(models, Limits()))) as client:
        assert [card["loaded"] for card in client.get("/v1/models").json()["data"]] == [True]
    assert len(load.runners) == 1
    assert load.runners[0].closed


def test_a_model_that_cannot_be_loaded_names_no_file() -> None:
    def fail() -> Loaded:
        raise ConfigError("/home/someone/secret.gguf is damaged.")

    async def main() -> None:
        models = Models({"one": fail}, most_waiting=1)
        with pytest.raises(Refused) as refused:
            async with models.using("one"):
                pass
        assert refused.value.status == 500
        assert "secret" not in str(refused.value)

    asyncio.run(main())


def test_what_is_counted() -> None:
    with TestClient(make_app(stub_service(StubRunner()))) as client:
        asked = {"prompt": "hello", "max_tokens": 60, "n": 2}
        found = client.post("/v1/completions", json=asked).json()
        client.post("/v1/completions", json={})
        client.get("/v1/nowhere")
        lines = client.get("/metrics").text.splitlines()
        assert lines[-1]
    timings = found["timings"]
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    model = '{model="letters"}'
    assert float(values[f"spec_local_tokens_total{model}"]) == 120
    assert float(values[f"spec_local_drafted_total{model}"]) == timings["draft_n"]
    assert float(values[f"spec_local_accepted_total{model}"]) == timings["draft_n_accepted"]
    rate = timings["draft_n_accepted"] / timings["draft_n"]
    assert float(values[f"spec_local_acceptance_rate{model}"]) == rate
    rounds = float(values[f"spec_local_rounds_total{model}"])
    length = float(values[f"spec_local_mean_accepted_length{model}"])
    assert length == 118 / (rounds - 2)
    assert float(values[f"spec_local_running{model}"]) == 0
    assert float(values[f"spec_local_first_token_seconds_count{model}"]) == 2
    requests = "spec_local_requests_total"
    assert float(values[f'{requests}{{path="/v1/completions",status="200"}}']) == 1
    assert float(values[f'{requests}{{path="/v1/completions",status="400"}}']) == 1
    assert float(values[f'{requests}{{path="other",status="404"}}']) == 1


def test_tokens_and_templates() -> None:
    with TestClient(make_app(stub_service(StubRunner()))) as client:
        tokens = client.post("/tokenize", json={"content": "abc"}).json()
        assert tokens == {"tokens": [0, 1, 2]}
        assert client.post("/detokenize", json=tokens).json() == {"content": "abc", "prompt": "abc"}
        by_vllms_names = {"prompt": "abc", "add_special_tokens": False}
        assert client.post("/tokenize", json=by_vllms_names).json() == tokens
        assert client.get("/tokenizer_info").json() == {
            "bos_token": None,
            "eos_token": "<end>",
            "pad_token": None,
            "chat_template": LetterTemplate.source,
        }
        wrong = client.post("/detokenize", json={"tokens": [99]})
        assert wrong.json()["error"]["message"] == "There are ids the model lacks."
        messages = [{"role": "developer", "content": "one"}, {"role": "user", "content": "two"}]
        written = client.post("/apply-template", json={"messages": messages}).json()
        assert written == {"prompt": "onetwo"}
