"""The server's answers, on a runner without weights: shapes, streams, parameters, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from fastapi.testclient import TestClient

from spec_local.sampling.settings import Sampling
from spec_local.serve.app import make_app
from spec_local.serve.limits import Limits
from spec_local.serve.parameters import SamplingParameters
from tests.fake import END
from tests.stub_runner import StubRunner, stub_service

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
N = 60
"""Tokens of an answer: enough for something to be repeated."""
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def runner() -> StubRunner:
    return StubRunner()


@pytest.fixture
def client(runner: StubRunner) -> Iterator[TestClient]:
    service = stub_service(runner, limits=Limits(schema_bytes=200, body_bytes=20_000))
    with TestClient(make_app(service)) as client:
        yield client


def chat(client: TestClient, **given: Any) -> dict[str, Any]:
    answer = client.post(CHAT, json={"messages": HELLO, "max_tokens": N, **given})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def text(client: TestClient, **given: Any) -> dict[str, Any]:
    answer = client.post(TEXT, json={"prompt": "hello", **given})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def events(client: TestClient, path: str, **given: Any) -> list[dict[str, Any]]:
    answer = client.post(path, json={"stream": True, **given})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    *data, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(each.removeprefix("data: ")) for each in data]


def error(client: TestClient, path: str = CHAT, **given: Any) -> dict[str, Any]:
    prompt = {"messages": HELLO} if path == CHAT else {"prompt": "hello"}
    answer = client.post(path, json={**prompt, **given})
    assert set(answer.json()) == {"error"}
    found: dict[str, Any] = answer.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found | {"status": answer.status_code}


def test_it_is_healthy_and_lists_its_models(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    (card,) = client.get("/v1/models").json()["data"]
    assert (card["id"], card["object"], card["loaded"]) == ("letters", "model", False)
    chat(client)
    card = client.get("/v1/models/letters").json()
    assert card["loaded"]
    assert card["meta"] == {"n_ctx": 4096}


def test_a_chat_is_answered_as_the_runner_answers(client: TestClient) -> None:
    expected = StubRunner().generate("hello", max_tokens=N).complete()
    found = chat(client)
    (choice,) = found["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "content": expected.text,
        "reasoning_content": None,
        "refusal": None,
    }
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"] is None
    assert found["object"] == "chat.completion"
    assert found["model"] == "letters"
    stats = expected.stats
    assert 0 < stats.accepted < stats.drafted
    assert found["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": N,
        "total_tokens": 5 + N,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {
            "accepted_prediction_tokens": stats.accepted,
            "rejected_prediction_tokens": stats.drafted - stats.accepted,
        },
    }
    timings = found["timings"]
    assert (timings["draft_n"], timings["draft_n_accepted"]) == (stats.drafted, stats.accepted)
    assert (timings["cache_n"], timings["prompt_n"], timings["predicted_n"]) == (0, 5, N)


def test_a_stream_is_the_same_in_parts(client: TestClient) -> None:
    whole = chat(client)
    found = events(
        client, CHAT, messages=HELLO, max_tokens=N, stream_options={"include_usage": True}
    )
    *chunks, last = found
    assert {each["object"] for each in found} == {"chat.completion.chunk"}
    assert len({each["id"] for each in found}) == 1
    deltas = [each["choices"][0]["delta"] for each in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert all("role" not in delta for delta in deltas[1:])
    said = "".join(delta.get("content", "") for delta in deltas)
    assert said == whole["choices"][0]["message"]["content"]
    reasons = [each["choices"][0]["finish_reason"] for each in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    assert chunks[-1]["timings"]["draft_n"] == whole["timings"]["draft_n"]
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    assert last["usage"]["completion_tokens"] == N
    plain = events(client, CHAT, messages=HELLO, max_tokens=N)
    assert not any("usage" in each for each in plain)


def test_several_choices_differ_by_their_seeds(client: TestClient) -> None:
    given = {"n": 3, "temperature": 1.0, "seed": 7}
    found = chat(client, **given)
    texts = [choice["message"]["content"] for choice in found["choices"]]
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2]
    assert len(set(texts)) == 3
    assert texts[1] == chat(client, temperature=1.0, seed=8)["choices"][0]["message"]["content"]
    assert found["usage"]["prompt_tokens"] == 5
    assert found["usage"]["completion_tokens"] == 3 * N
    streamed = ["", "", ""]
    for event in events(client, CHAT, messages=HELLO, max_tokens=N, **given):
        for choice in event["choices"]:
            streamed[choice["index"]] += choice["delta"].get("content", "")
    assert streamed == texts


def test_without_a_seed_every_answer_has_its_own(client: TestClient, runner: StubRunner) -> None:
    for _ in range(3):
        chat(client, temperature=1.0)
    assert len({request.sampling.seed for request in runner.requests}) == 3


def test_every_setting_of_the_sampler_arrives(client: TestClient, runner: StubRunner) -> None:
    given: dict[str, Any] = {
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "min_p": 0.1,
        "repeat_penalty": 1.1,
        "frequency_penalty": 0.2,
        "presence_penalty": 0.3,
        "logit_bias": {"3": -1, "4": 2.5},
        "banned_tokens": [5],
        "seed": -1,
    }
    chat(client, **given, stop=["zz"], max_completion_tokens=4)
    (request,) = runner.requests
    sampling = request.sampling
    for name in ("temperature", "top_k", "top_p", "min_p", "repeat_penalty"):
        assert getattr(sampling, name) == given[name]
    assert (sampling.frequency_penalty, sampling.presence_penalty) == (0.2, 0.3)
    assert sampling.logit_bias == ((3, -1), (4, 2.5))
    assert sampling.banned_tokens == (5,)
    assert sampling.seed == 2**64 - 1
    assert request.stop == ("zz",) or request.stop == ["zz"]
    assert request.max_tokens == 4


def test_the_sampler_has_no_setting_that_cannot_be_asked_for() -> None:
    assert set(SamplingParameters.model_fields) == {field.name for field in fields(Sampling)}


def test_a_stop_string_ends_the_text(client: TestClient) -> None:
    whole = chat(client)["choices"][0]["message"]["content"]
    choice = chat(client, stop=whole[5:7])["choices"][0]
    assert choice["message"]["content"] == whole[: whole.find(whole[5:7])]
    assert choice["finish_reason"] == "stop"


def test_logprobs_are_of_the_text(client: TestClient) -> None:
    whole = chat(client)["choices"][0]["message"]["content"]
    given = {"logprobs": True, "top_logprobs": 2, "stop": whole[5:7], "max_tokens": N}
    choice = chat(client, **given)["choices"][0]
    tokens = choice["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == choice["message"]["content"]
    for token in tokens:
        assert token["bytes"] == list(token["token"].encode())
        assert len(token["top_logprobs"]) == 2
        assert token["top_logprobs"][0]["token"] == token["token"]  # greedy
        assert token["top_logprobs"][0]["logprob"] == token["logprob"] < 0
    streamed = [
        token
        for event in events(client, CHAT, messages=HELLO, **given)
        for each in event["choices"]
        for token in (each.get("logprobs") or {"content": []})["content"]
    ]
    assert streamed == tokens
    assert error(client, top_logprobs=2)["message"] == "top_logprobs needs logprobs: true."


def test_a_prediction_is_drafted_and_changes_nothing(client: TestClient) -> None:
    plain = chat(client)
    said = plain["choices"][0]["message"]["content"]
    for content in (said, [{"type": "text", "text": said}]):
        found = chat(client, prediction={"type": "content", "content": content})
        assert found["choices"][0]["message"]["content"] == said
        # One token, 14 rounds of three drafted ones and another, and one of two and another.
        assert found["timings"]["draft_n_accepted"] == 14 * 3 + 2
        assert found["usage"]["completion_tokens_details"]["rejected_prediction_tokens"] == 0


def test_speculation_is_chosen_by_request(client: TestClient) -> None:
    plain = chat(client)
    off = chat(client, speculative={"off": True})
    assert off["choices"] == plain["choices"]
    assert off["timings"]["draft_n"] == 0 < plain["timings"]["draft_n"]
    assert chat(client, speculative={"drafter": "lookup", "k": 2})["timings"]["draft_n"] > 0
    assert "needs a draft model" in error(client, speculative={"drafter": "model"})["message"]
    assert "no drafter 'luck'" in error(client, speculative={"drafter": "luck"})["message"]


def test_texts_are_continued(client: TestClient) -> None:
    found = text(client)
    (choice,) = found["choices"]
    assert choice["text"] == StubRunner().generate("hello", max_tokens=16).complete().text
    assert found["usage"]["completion_tokens"] == 16  # OpenAI's default
    assert found["object"] == "text_completion"
    by_tokens = text(client, prompt=StubRunner().tokenize("hello"))
    assert by_tokens["choices"] == found["choices"]
    several = text(client, prompt=["hello", "other"], n=2)["choices"]
    assert [each["index"] for each in several] == [0, 1, 2, 3]
    assert several[0]["text"] == several[1]["text"] == choice["text"] != several[2]["text"]
    streamed = events(client, TEXT, prompt="hello", stream_options={"include_usage": True})
    assert "".join(each["choices"][0]["text"] for each in streamed[:-1]) == choice["text"]
    assert streamed[-1]["usage"]["completion_tokens"] == 16


def test_an_echo_has_what_the_model_thinks_of_the_prompt(client: TestClient) -> None:
    session = StubRunner().session
    plain = text(client, prompt="hello", logprobs=1, max_tokens=4)["choices"][0]
    found = text(client, prompt="hello", logprobs=1, max_tokens=4, echo=True)["choices"][0]
    assert found["text"] == "hello" + plain["text"]
    logprobs = found["logprobs"]
    assert logprobs["tokens"] == list(found["text"])
    assert logprobs["text_offset"] == list(range(9))
    assert logprobs["token_logprobs"][0] is None is logprobs["top_logprobs"][0]
    assert logprobs["token_logprobs"][5:] == plain["logprobs"]["token_logprobs"]
    from spec_local.engine.logprobs import token_logprobs

    tokens = StubRunner().tokenize("hello")
    for i in range(1, 5):
        (expected,) = token_logprobs(session.row(tokens[:i])[None], (), tokens[i : i + 1], 1)
        assert logprobs["token_logprobs"][i] == expected.logprob
        assert max(logprobs["top_logprobs"][i].values()) == expected.top[0][1]
    only = text(client, prompt=[tokens, tokens[:3]], logprobs=1, max_tokens=0, echo=True)
    assert only["choices"][0]["logprobs"]["token_logprobs"] == logprobs["token_logprobs"][:5]
    assert [each["text"] for each in only["choices"]] == ["hello", "hel"]
    assert only["usage"]["completion_tokens"] == 0
    streamed = events(client, TEXT, prompt="hello", echo=True, max_tokens=4)
    assert streamed[0]["choices"][0]["text"] == "hello"
    assert error(client, TEXT, max_tokens=0)["status"] == 400


def test_prompts_and_choices_together_are_bounded(client: TestClient) -> None:
    for prompts, choices, status in [(64, 2, 200), (65, 2, 400), (1, 128, 200)]:
        asked = {"prompt": ["a"] * prompts, "n": choices, "max_tokens": 1}
        assert client.post("/v1/completions", json=asked).status_code == status


def test_an_end_token_is_no_text() -> None:
    runner = StubRunner()
    runner.session.end_bias = 6.0
    with TestClient(make_app(stub_service(runner))) as client:
        choice = chat(client, logprobs=True)["choices"][0]
        assert choice["finish_reason"] == "stop"
        assert runner.session.tokens[-1] != END
        shown = "".join(token["token"] for token in choice["logprobs"]["content"])
        assert shown == choice["message"]["content"]
        found = text(client, logprobs=0, max_tokens=60)["choices"][0]
        assert "".join(found["logprobs"]["tokens"]) == found["text"] + "<end>"
        assert found["logprobs"]["text_offset"][-1] == len(found["text"])


def test_habits_are_ignored_and_said(client: TestClient) -> None:
    given = {"user": "me", "store": False, "metadata": {"a": "b"}, "service_tier": "auto"}
    answer = client.post(CHAT, json={"messages": HELLO, "max_tokens": 1, **given})
    assert answer.status_code == 200
    assert answer.headers["x-ignored-parameters"] == "user, store, metadata, service_tier"
    streamed = client.post(CHAT, json={"messages": HELLO, "stream": True, "user": "me"})
    assert streamed.headers["x-ignored-parameters"] == "user"
    assert "x-ignored-parameters" not in client.post(CHAT, json={"messages": HELLO}).headers


@pytest.mark.parametrize(
    ("given", "param", "says"),
    [
        ({"frequence": 1}, "frequence", "Unknown parameter: frequence"),
        ({"temperature": "hot"}, "temperature", "Invalid temperature"),
        ({"temperature": -1}, None, "temperature must be"),
        ({"n": 0}, "n", "Invalid n"),
        ({"messages": []}, "messages", "Invalid messages"),
        ({"messages": [{"role": "user"}]}, None, "Each message needs a role and a content"),
        ({"messages": None}, "messages", "Invalid messages"),
        ({"logit_bias": {"x": 1}}, None, "'x' is no token id"),
        ({"speculative": {"fast": 1}}, "speculative.fast", "Unknown parameter"),
        ({"response_format": {"type": "json_schema"}}, None, "response_format has no schema"),
        (
            {"response_format": {"type": "json_object"}, "json_schema": {"type": "object"}},
            None,
            "not both",
        ),
        ({"json_schema": {"description": "x" * 300}}, None, "more than 200 characters"),
        ({"modalities": ["audio"]}, "modalities.0", "Invalid modalities.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            None,
            "Images need the model's encoder",
        ),
    ],
)
def test_what_is_wrong_is_said(
    client: TestClient, given: dict[str, Any], param: str | None, says: str
) -> None:
    found = error(client, **given)
    assert says in found["message"]
    assert found["param"] == param
    assert (found["status"], found["type"]) == (400, "invalid_request_error")


def test_what_is_not_there_is_said(client: TestClient) -> None:
    found = error(client, model="gpt-6")
    assert (found["status"], found["code"]) == (404, "model_not_found")
    assert "letters" in found["message"]
    assert client.get("/v1/models/gpt-6").status_code == 404
    for answer in (client.get("/v2"), client.get(CHAT)):
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    broken = client.post(CHAT, content=b"{", headers={"content-type": "application/json"})
    assert broken.json()["error"]["code"] == "invalid_json"
    nothing = client.post(CHAT, json={})
    assert nothing.json()["error"]["code"] == "missing_required_parameter"


def test_a_prompt_that_does_not_fit(client: TestClient, runner: StubRunner) -> None:
    found = error(client, messages=[{"role": "user", "content": "a" * 5000}])
    assert (found["status"], found["code"]) == (400, "context_length_exceeded")
    found = error(client, TEXT, prompt="a" * 30_000)
    assert found["status"] == 413
    assert "20,000 bytes" in found["message"]
    short = stub_service(StubRunner(), limits=Limits(prompt_tokens=4))
    with TestClient(make_app(short)) as other:
        assert error(other)["code"] == "context_length_exceeded"


def test_a_failure_says_nothing_of_the_server(
    runner: StubRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError("/home/someone/secret.gguf")

    runner.pause = fail
    with TestClient(make_app(stub_service(runner)), raise_server_exceptions=False) as client:
        found = error(client)
        assert (found["status"], found["type"]) == (500, "server_error")
        assert "secret" not in found["message"]
        answer = client.post(CHAT, json={"messages": HELLO, "stream": True})
        assert "secret" not in answer.text
        assert json.loads(answer.text.split("\n\n")[-3].removeprefix("data: "))["error"]
        runner.pause = lambda: None
        chat(client)


def test_only_chats_end_by_the_templates_stop_strings(
    client: TestClient, runner: StubRunner
) -> None:
    whole = text(client, max_tokens=N)["choices"][0]["text"]
    stop, other = whole[20:23], whole[10:13]
    runner.template.stop = (stop,)
    ends = whole[: whole.find(stop)]
    assert chat(client)["choices"][0]["message"]["content"] == ends
    response = client.post("/v1/responses", json={"input": "hello"}).json()
    assert response["output"][0]["content"][0]["text"] == ends
    sooner = chat(client, stop=other)["choices"][0]["message"]["content"]
    assert sooner == whole[: whole.find(other)]
    for prompt in ("hello", StubRunner().tokenize("hello")):
        found = text(client, prompt=prompt, max_tokens=N)["choices"][0]
        assert (found["text"], found["finish_reason"]) == (whole, "length")
