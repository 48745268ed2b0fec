"""What a model thinks stands apart from its answer, and template variables come from the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openai import OpenAI

from spec_local.engine.rounds import Stats
from spec_local.generation import Chunk
from spec_local.serve.app import make_app
from spec_local.serve.said import Telling
from spec_local.serve.tool_calls import ToolCall
from spec_local.serve.tool_format import ObjectCalls
from spec_local.thoughts import Thinking
from tests.live_server import live
from tests.stub_runner import SayingRunner, StubRunner, stub_service

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
HELLO = [{"role": "user", "content": "hello"}]


def chunks(text: str, size: int) -> Iterator[Chunk]:
    for at in range(0, len(text), size):
        ends = at + size >= len(text)
        yield Chunk(text[at : at + size], (), (), Stats(), "stop" if ends else None)


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("mark", "written"),
    [("", "<think>one, two</think>\n\nthree"), ("<think>", "one, two</think>three")],
)
def test_a_thought_is_told_from_the_answer(mark: str, written: str, size: int) -> None:
    telling = Telling(None, Thinking(mark))
    told = [telling.feed(chunk) for chunk in chunks(written, size)]
    assert "".join(each.thought for each in told) == "one, two"
    assert "".join(each.text for each in told) == "three"


def test_without_telling_it_is_text() -> None:
    telling = Telling(None, None)
    (told,) = [telling.feed(chunk) for chunk in chunks("<think>a</think>b", 100)]
    assert (told.thought, told.text) == ("", "<think>a</think>b")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr("spec_local.serve.said.begun", lambda _tokens, _vocab: "<think>")
    with TestClient(make_app(stub_service(StubRunner()))) as client:
        yield client


def test_a_thought_that_does_not_end_is_no_content(client: TestClient) -> None:
    asked = {"messages": HELLO, "max_tokens": 12, "seed": 1}
    thinking = client.post(CHAT, json=asked).json()["choices"][0]["message"]
    plain = client.post(CHAT, json={**asked, "reasoning_format": "none"}).json()["choices"][0]
    assert plain["message"]["reasoning_content"] is None
    assert len(plain["message"]["content"]) == 12
    assert thinking["reasoning_content"] == plain["message"]["content"]
    assert thinking["content"] == ""
    streamed = client.post(CHAT, json={**asked, "stream": True}).text.split("\n\n")[:-2]
    deltas: list[dict[str, Any]] = [
        json.loads(each.removeprefix("data: "))["choices"][0]["delta"] for each in streamed
    ]
    assert (
        "".join(delta.get("reasoning_content", "") for delta in deltas)
        == (thinking["reasoning_content"])
    )
    assert not any(delta.get("content") for delta in deltas)


@pytest.mark.parametrize(
    "bound",
    [{"json_schema": {}}, {"grammar": "root ::= x"}, {"response_format": {"type": "json_object"}}],
)
def test_what_is_bound_to_a_form_is_no_thought(
    bound: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spec_local.serve.said.begun", lambda *_: "<think>")
    with TestClient(make_app(stub_service(SayingRunner('{"a": 1}')))) as client:
        answer = client.post(CHAT, json={"messages": HELLO, **bound})
        assert answer.status_code == 200, answer.text
        message = answer.json()["choices"][0]["message"]
        assert (message["content"], message["reasoning_content"]) == ('{"a": 1}', None)


@pytest.mark.parametrize(
    ("path", "asked", "thinks"),
    [
        (CHAT, {"messages": HELLO}, True),
        (CHAT, {"messages": HELLO, "response_format": {"type": "json_object"}}, False),
        (CHAT, {"messages": HELLO, "json_schema": {}}, False),
        (CHAT, {"messages": HELLO, "grammar": "root ::= x"}, True),  # which may describe thoughts
        (RESPONSES, {"input": "hello"}, True),
        (RESPONSES, {"input": "hello", "text": {"format": {"type": "json_object"}}}, False),
    ],
)
def test_a_thought_before_a_form_is_ended(path: str, asked: dict[str, Any], thinks: bool) -> None:
    runner = SayingRunner("{}")
    with TestClient(make_app(stub_service(runner))) as client:
        assert client.post(path, json=asked).status_code == 200
    assert runner.thinks == thinks


def test_calls_follow_thoughts() -> None:
    written = '<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call>'
    form = ObjectCalls("<tool_call>\n", "name", "arguments")
    text = f"<think>shall I <tool_call>?</think>\n\nLet me see.\n{written}"
    for size in (1, len(text)):
        telling = Telling(form.reader(["look"]), Thinking())
        told = [telling.feed(chunk) for chunk in chunks(text, size)]
        assert "".join(each.thought for each in told) == "shall I <tool_call>?"
        assert "".join(each.text for each in told) == "Let me see."
        assert [c for each in told for c in each.calls] == [ToolCall("look", '{"at": "sky"}')]


THOUGHT, ANSWER = "is 3 < 4?\n\nyes", "Yes, 3 < 4."
TEXT = f"<think>{THOUGHT}</think>\n\n{ANSWER}"


def test_a_response_has_thoughts_as_an_item_of_its_own() -> None:
    with TestClient(make_app(stub_service(SayingRunner(TEXT)))) as client:
        thought, said = client.post(RESPONSES, json={"input": "hello"}).json()["output"]
        kind = (thought["type"], thought["status"], thought["summary"])
        assert kind == ("reasoning", "completed", [])
        assert thought["content"] == [{"type": "reasoning_text", "text": THOUGHT}]
        assert (said["type"], said["content"][0]["text"]) == ("message", ANSWER)
        plain = client.post(RESPONSES, json={"input": "hello", "reasoning_format": "none"}).json()
        assert [item["content"][0]["text"] for item in plain["output"]] == [TEXT]


def test_openais_client_reads_a_thoughtful_response() -> None:
    with (
        live(make_app(stub_service(SayingRunner(TEXT)))) as url,
        OpenAI(base_url=f"{url}/v1", api_key="-", _strict_response_validation=True) as client,
    ):
        events = list(client.responses.create(model="letters", input="hello", stream=True))
        kinds = [event.type.removeprefix("response.") for event in events]
        told = ["output_item.added", "content_part.added"]
        ended = ["content_part.done", "output_item.done"]
        assert [kind for kind in kinds if not kind.endswith("delta")] == [
            *["created", "in_progress"],
            *[*told, "reasoning_text.done", *ended],
            *[*told, "output_text.done", *ended],
            "completed",
        ]
        places = [event.output_index for event in events if hasattr(event, "output_index")]
        assert places == sorted(places)
        assert {*places} == {0, 1}
        text = "".join(e.delta for e in events if e.type == "response.reasoning_text.delta")
        assert text == THOUGHT
        with client.responses.stream(model="letters", input="hello") as stream:
            for _event in stream:
                pass
            assert stream.get_final_response().output_text == ANSWER


def test_variables_of_the_template_are_bounded(client: TestClient) -> None:
    ask = {"messages": HELLO, "max_tokens": 2}
    assert client.post(CHAT, json={**ask, "chat_template_kwargs": {"a": 1}}).status_code == 200
    large = {"chat_template_kwargs": {"a": "x" * 100_000}}
    answer = client.post(CHAT, json={**ask, **large})
    assert answer.status_code == 400
    assert "chat_template_kwargs" in answer.json()["error"]["message"]


@pytest.mark.llama
def test_variables_reach_the_template_of_one_request_alone(tmp_path: Path) -> None:
    from spec_local import Runner
    from tests.tiny_gguf import write_tiny

    template = "{{ tone }}{% for message in messages %}{{ message.content }}{% endfor %}"
    with Runner.load(target=write_tiny(tmp_path / "m.gguf", template=template)) as runner:
        plain = runner.tokenize(HELLO)
        assert runner.tokenize(HELLO, variables={"tone": "kind "}) == runner.tokenize(
            [{"role": "user", "content": "kind hello"}]
        )
        assert runner.tokenize(HELLO) == plain
