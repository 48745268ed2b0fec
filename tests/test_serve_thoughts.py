"""What a model thinks stands apart from its answer, and template variables come from the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from spec_local.engine.rounds import Stats
from spec_local.generation import Chunk
from spec_local.serve.app import make_app
from spec_local.serve.said import Telling
from spec_local.thoughts import Thinking
from tests.stub_runner import StubRunner, stub_service

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "hello"}]


def chunks(text: str, size: int) -> Iterator[Chunk]:
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    for part in parts:
        yield Chunk(part, (), (), Stats(), "stop" if part is parts[-1] else None)


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
    monkeypatch.setattr(
        "spec_local.serve.chat_completions.begun", lambda _tokens, _vocab: "<think>"
    )
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
