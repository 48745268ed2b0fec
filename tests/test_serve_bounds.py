"""What a client may cost others: bounds on time, texts and queues, and input that is cleaned."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from spec_local.engine.logprobs import TokenLogprobs
from spec_local.serve.app import make_app
from spec_local.serve.engine import Engine
from spec_local.serve.failures import Refused
from spec_local.serve.limits import Limits
from spec_local.serve.slot import Slot
from tests.stub_runner import StubRunner, stub_service, stub_slot

CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
HELLO = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": HELLO},
    TEXT: {"prompt": "hello"},
    RESPONSES: {"input": "hello"},
}


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(make_app(stub_service(StubRunner()))) as client:
        yield client


def test_a_prompt_is_scored_once_for_all_its_choices(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[Sequence[int]] = []
    inner = Slot.scored

    async def counted(
        self: Slot, tokens: Sequence[int], n: int, given_up: threading.Event
    ) -> tuple[TokenLogprobs, ...]:
        scored.append(tokens)
        return await inner(self, tokens, n, given_up)

    monkeypatch.setattr(Slot, "scored", counted)
    asked = {"prompt": ["hello", "world"], "n": 3, "echo": True, "logprobs": 1, "max_tokens": 2}
    choices = client.post(TEXT, json=asked).json()["choices"]
    assert len(scored) == 2
    first = [choice["logprobs"]["token_logprobs"][:5] for choice in choices]
    assert first[0] == first[1] == first[2] != first[3] == first[4] == first[5]


def test_scoring_ends_by_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = StubRunner()
    inner = runner.session.evaluate

    def slow(tokens: Sequence[int], rows: int = 1, _parents: Sequence[int] | None = None) -> Any:
        time.sleep(0.05)
        return inner(tokens, rows)

    monkeypatch.setattr(runner.session, "evaluate", slow)
    with TestClient(make_app(stub_service(runner, limits=Limits(seconds=0.1)))) as client:
        asked = {"prompt": "a" * 600, "echo": True, "logprobs": 1, "max_tokens": 0}
        answer = client.post(TEXT, json=asked)
        assert answer.status_code == 408
        assert answer.json()["error"]["message"] == (
            "Scoring took more than 0.1 s; shorten the prompt."
        )
        assert client.post(TEXT, json={"prompt": "hello"}).status_code == 200


@pytest.mark.parametrize("name", ["banned_strings", "dry_sequence_breakers", "stop"])
def test_texts_that_are_looked_for_are_few_and_short(client: TestClient, name: str) -> None:
    for texts in (["a"] * 65, ["a" * 257]):
        answer = client.post(CHAT, json={"messages": HELLO, name: texts})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"].startswith(name)
    assert client.post(CHAT, json={"messages": HELLO, name: ["!" * 256] * 64}).status_code == 200


def test_who_could_not_wait_is_refused_before_anything_is_prepared() -> None:
    async def main() -> None:
        shared = Engine([stub_slot(StubRunner())], most_waiting=1)
        async with shared.turn([]):
            assert shared.running == 1
        with (
            shared.arriving(),  # would run
            shared.arriving(),  # would wait
            pytest.raises(Refused, match="try again later"),
            shared.arriving(),
        ):
            pass
        async with shared.turn([]):
            with shared.arriving(), pytest.raises(Refused), shared.arriving():
                pass

    asyncio.run(main())


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(client: TestClient, path: str, number: str) -> None:
    for name in ("tools", "metadata", "seed"):
        body = f'{{"{name}": [{{"a": {number}}}]}}'
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"] == "Invalid body: numbers must be finite."


@pytest.mark.parametrize("path", BODIES)
def test_bodies_are_nested_a_hundred_levels_at_most(client: TestClient, path: str) -> None:
    for levels in (100, 1000, 100_000):
        body = f'{{"metadata": {"[" * levels}{"]" * levels}}}'
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        message = answer.json()["error"]["message"]
        says = ("100 levels",) if levels < 1000 else ("nested", "JSON", "parsing")
        assert any(each in message for each in says), message


def test_halves_of_characters_are_replaced(client: TestClient) -> None:
    tool = {"type": "function", "name": "f\udc00", "parameters": {"type": "object"}}
    for body in ({"tools": [tool]}, {"metadata": {"a\ud800": "b"}}, {"user": "\udfff"}):
        spelled = json.dumps({"input": "hi\ud83d", **body})
        answer = client.post(
            RESPONSES, content=spelled, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (200, 400)
        answer.json()


@pytest.mark.parametrize(
    ("path", "given", "param"),
    [
        (CHAT, {"tool_choice": {"type": "function", "function": {"nam": "x"}}}, "tool_choice"),
        (CHAT, {"stop": [1]}, "stop"),
        (TEXT, {"prompt": [["a"]]}, "prompt"),
        (RESPONSES, {"tool_choice": 1}, "tool_choice"),
    ],
)
def test_a_parameter_is_named_as_it_was_written(
    client: TestClient, path: str, given: dict[str, Any], param: str
) -> None:
    error = client.post(path, json={**BODIES[path], **given}).json()["error"]
    found = error["param"]
    assert found.split(".")[0] == param
    at: Any = given
    for part in found.split("."):  # every part is one of the request, or what it lacks
        if isinstance(at, list):
            at = at[int(part)]
        elif part in at:
            at = at[part]
        else:
            assert error["code"] == "missing_required_parameter"


def test_responses_say_what_they_ignored(client: TestClient) -> None:
    given = {"input": "hello", "user": "me", "truncation": "auto", "max_output_tokens": 3}
    answer = client.post(RESPONSES, json=given)
    assert answer.headers["x-ignored-parameters"] == "user, truncation"


def test_a_prediction_that_nobody_looks_up_is_no_fault(client: TestClient) -> None:
    told = {"messages": HELLO, "prediction": {"type": "content", "content": "hello"}, "seed": 1}
    told["max_tokens"] = 9
    with TestClient(make_app(stub_service(StubRunner(drafter="none")))) as other:
        texts = {
            asking.post(CHAT, json={**told, **how}).json()["choices"][0]["message"]["content"]
            for asking in (client, other)
            for how in ({}, {"speculative": {"off": True}}, {"speculative": {"drafter": "lookup"}})
        }
    assert len(texts) == 1


def test_a_load_keeps_no_process_from_ending() -> None:
    from spec_local.util.awaiting import in_daemon

    async def main() -> None:
        assert await in_daemon(lambda: threading.current_thread().daemon)
        with pytest.raises(ZeroDivisionError):
            await in_daemon(lambda: 1 // 0)

    asyncio.run(main())


def test_a_tool_whose_name_is_none_is_refused(client: TestClient) -> None:
    tool = {"type": "function", "function": {"name": "<|im_end|>", "parameters": {}}}
    asked = {"messages": [{"role": "user", "content": "hello"}], "tools": [tool]}
    answer = client.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith("'<|im_end|>' cannot be the name of a tool; use ")


@pytest.mark.parametrize("path", BODIES)
def test_one_kind_of_numbers_is_enough(client: TestClient, path: str) -> None:
    said = {**BODIES[path], "seed": 7}
    expected = client.post(path, json={**said, "top_k": 5})
    same = {**said, "seed": 7.0, "top_k": 5.0}
    answer = client.post(path, json=same)
    assert answer.status_code == expected.status_code == 200, answer.text
    assert "X-Ignored-Parameters" not in answer.headers
    for key in ("choices", "output"):
        texts = (json.dumps(each.json().get(key)) for each in (expected, answer))
        first, second = (re.sub("msg_[0-9a-f]+", "", text) for text in texts)
        assert first == second
    for wrong in ({"seed": 7.5}, {"seed": True}, {"seed": "7"}, {"else": 0}):
        assert client.post(path, json={**said, **wrong}).status_code == 400


def test_best_of_chooses_nothing(client: TestClient) -> None:
    for given in ({"best_of": 1}, {"best_of": 2, "n": 2}, {"best_of": 1.0, "n": 1}):
        assert client.post(TEXT, json={"prompt": "hello", **given}).status_code == 200
    for given in ({"best_of": 2}, {"best_of": 1, "n": 2}, {"best_of": 0}):
        answer = client.post(TEXT, json={"prompt": "hello", **given})
        assert answer.status_code == 400
        assert "best_of" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "name"), [(CHAT, "functions"), (TEXT, "suffix"), (RESPONSES, "conversation")]
)
def test_what_openai_has_and_we_have_not_may_be_null(
    client: TestClient, path: str, name: str
) -> None:
    assert client.post(path, json={**BODIES[path], name: None}).status_code == 200
    answer = client.post(path, json={**BODIES[path], name: "x"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"] == f"{name} is not supported here; leave it out."
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")
