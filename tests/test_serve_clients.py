"""OpenAI's own client, which checks every answer strictly, against a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from spec_local.serve.app import make_app
from tests.fake import TableSession
from tests.live_server import live
from tests.stub_runner import StubRunner, stub_service


@pytest.fixture(scope="module")
def client() -> Iterator[OpenAI]:
    app = make_app(stub_service(StubRunner()), api_key="sesame")
    with (
        live(app) as url,
        OpenAI(
            base_url=f"{url}/v1",
            api_key="sesame",
            max_retries=0,
            _strict_response_validation=True,
        ) as client,
    ):
        yield client


def expected(most: int) -> str:
    return StubRunner().generate("hello", max_tokens=most).complete().text


def test_chats(client: OpenAI) -> None:
    found = client.chat.completions.create(
        model="letters",
        messages=[{"role": "user", "content": "hello"}],
        max_completion_tokens=60,
        logprobs=True,
        top_logprobs=3,
        seed=1,
        store=False,
    )
    (choice,) = found.choices
    assert choice.message.content == expected(60)
    assert choice.finish_reason == "length"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert len(choice.logprobs.content) == 60
    assert found.usage is not None
    assert found.usage.completion_tokens_details is not None
    assert found.usage.completion_tokens_details.accepted_prediction_tokens


def test_streams_of_chats(client: OpenAI) -> None:
    with client.chat.completions.create(
        model="letters",
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=30,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    said = [each.choices[0].delta.content or "" for each in chunks if each.choices]
    assert "".join(said) == expected(30)
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 30


def test_the_stream_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model="letters",
        messages=[{"role": "user", "content": "hello"}],
        stop=[expected(30)[20:]],
    ) as stream:
        for _event in stream:
            pass
        found = stream.get_final_completion()
    assert found.choices[0].message.content == expected(20)


def test_continued_texts(client: OpenAI) -> None:
    found = client.completions.create(
        model="letters", prompt=["hello", "hello"], max_tokens=9, echo=True
    )
    assert [choice.text for choice in found.choices] == ["hello" + expected(9)] * 2
    judged = client.completions.create(model="letters", prompt="hello", logprobs=2)
    assert judged.choices[0].logprobs is not None
    # Strictly, a part of a stream would have to say why it ended, which OpenAI's own does not.
    asked: Any = {"model": "letters", "prompt": "hello", "max_tokens": 9, "stream": True}
    with OpenAI(base_url=client.base_url, api_key="sesame") as loose:
        streamed = list(loose.completions.create(**asked))
    assert "".join(each.choices[0].text for each in streamed) == expected(9)


def test_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["letters"]
    assert client.models.retrieve("letters").owned_by == "spec-local"


def test_errors_are_the_clients_own(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "hello"}]
    with pytest.raises(openai.BadRequestError, match="temperature must be") as raised:
        client.chat.completions.create(model="letters", messages=messages, temperature=-1)
    assert raised.value.type == "invalid_request_error"
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-6", messages=messages)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as unknown:
        client.with_options(api_key="guess").models.list()
    assert unknown.value.code == "invalid_api_key"


def test_responses(client: OpenAI) -> None:
    found = client.responses.create(
        model="letters",
        input="hello",
        max_output_tokens=30,
        metadata={"a": "b"},
        store=False,
        temperature=0,
    )
    assert found.output_text == expected(30)
    assert found.status == "incomplete"
    assert found.incomplete_details is not None
    assert found.incomplete_details.reason == "max_output_tokens"
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (5, 30)
    assert found.metadata == {"a": "b"}
    items: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": "hel"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "lo"}],
        },
    ]
    again = client.responses.create(model="letters", input=items, max_output_tokens=30)
    assert again.output_text == expected(30)
    with pytest.raises(openai.BadRequestError, match="previous_response_id"):
        client.responses.create(model="letters", input="?", previous_response_id="resp_1")


def test_streams_of_responses(client: OpenAI) -> None:
    events = list(
        client.responses.create(model="letters", input="hello", max_output_tokens=30, stream=True)
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == expected(30)
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.output_text == said


def test_a_response_that_ends_by_itself() -> None:
    with (
        live(make_app(stub_service(StubRunner(TableSession(end_bias=6.0))))) as url,
        OpenAI(base_url=f"{url}/v1", api_key="-", _strict_response_validation=True) as client,
    ):
        with client.responses.stream(model="letters", input="hello") as stream:
            for _event in stream:
                pass
            found = stream.get_final_response()
        assert found.status == "completed"
        runner = StubRunner(TableSession(end_bias=6.0))
        assert found.output_text == runner.generate("hello").complete().text
