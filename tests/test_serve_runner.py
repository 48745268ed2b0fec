"""The server on real runners: their text, schemas, several contexts on the same weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from spec_local import LoadOptions, Runner, Sampling
from spec_local.cli.machine_options import MachineOptions
from spec_local.cli.options import ModelOptions
from spec_local.cli.sampling_options import SamplingOptions
from spec_local.cli.serve import load_served
from spec_local.cli.template_options import TemplateOptions
from spec_local.serve.app import make_app
from spec_local.serve.limits import Limits
from spec_local.serve.models import Models
from spec_local.serve.service import Service

pytestmark = pytest.mark.llama

GREEDY = Sampling(temperature=0)
MACHINE = MachineOptions(ctx_size=512)
CHAT = "/v1/chat/completions"


def served(path: Path, parallel: int = 1, kept: int = 0, **options: Any) -> TestClient:
    models = ModelOptions(target=str(path), **options)
    how = (SamplingOptions(temperature=0.0), MACHINE, TemplateOptions())
    loaded = load_served("tiny", models, parallel, *how, kept)
    service = Service(Models({"tiny": lambda: loaded}, most_waiting=4), Limits())
    return TestClient(make_app(service))


@pytest.fixture(scope="module")
def client(tiny: Path, tiny_draft: Path) -> Iterator[TestClient]:
    with served(tiny, parallel=2, draft=[str(tiny_draft)]) as client:
        yield client


def said(client: TestClient, *contents: str, **given: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": content} for content in contents]
    answer = client.post(CHAT, json={"messages": messages, "max_tokens": 30, **given})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_the_text_is_the_runners(client: TestClient, tiny: Path) -> None:
    with Runner.load(target=tiny, options=LoadOptions(n_ctx=512)) as runner:
        for drafter in (None, "none", "lookup", "model", "lookup-then-model", "auto"):
            wanted = {} if drafter is None else {"speculative": {"drafter": drafter}}
            found = said(client, "hello there", **wanted)
            messages = [{"role": "user", "content": "hello there"}]
            expected = runner.complete(messages, max_tokens=30, sampling=GREEDY)
            assert found["choices"][0]["message"]["content"] == expected.text
        asked = {"prompt": "once upon", "max_tokens": 20, "temperature": 0.9, "seed": 3}
        text = client.post("/v1/completions", json=asked).json()["choices"][0]["text"]
        warm = Sampling(temperature=0.9, seed=3)
        assert text == runner.complete("once upon", max_tokens=20, sampling=warm).text


def test_contexts_share_the_weights_and_choose_by_what_they_know(client: TestClient) -> None:
    first = said(client, "the first conversation " * 3)
    other = said(client, "and another one " * 3)
    again = said(client, "the first conversation " * 3, "goes on")
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] < 30
    assert other["usage"]["prompt_tokens_details"]["cached_tokens"] < 30
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 60
    meta = client.get("/v1/models/tiny").json()["meta"]
    assert (meta["parallel"], meta["draft"], meta["drafter"]) == (2, "tiny-draft.gguf", "auto")


def test_a_conversation_that_was_displaced_is_taken_up_again(tiny: Path) -> None:
    one, two = "the first conversation " * 8, "and quite another one " * 8
    with served(tiny) as plain, served(tiny, kept=1 << 30) as keeping:
        for client, cached in ((plain, 0), (keeping, len(one))):
            first, other = said(client, one), said(client, two)
            again = said(client, one, "goes on")
            # A beginning that all conversations share is always there.
            assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= cached
            if client is plain:
                expected = [first, other, again]
                assert again["usage"]["prompt_tokens_details"]["cached_tokens"] < 30
            else:
                texts = [each["choices"][0]["message"]["content"] for each in expected]
                found = [each["choices"][0]["message"]["content"] for each in (first, other, again)]
                assert found == texts


class Cat(BaseModel):
    lives: int


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_schema", "json_schema": {"name": "cat", "schema": Cat.model_json_schema()}},
        {"type": "json_object", "schema": Cat.model_json_schema()},
    ],
)
def test_an_answer_obeys_its_schema(client: TestClient, form: dict[str, Any]) -> None:
    given = {"response_format": form, "logit_bias": {"2": 50}, "max_tokens": 200}
    content = said(client, "hello", **given)["choices"][0]["message"]["content"]
    Cat.model_validate_json(content)


def test_any_object(client: TestClient) -> None:
    given = {"response_format": {"type": "json_object"}, "logit_bias": {"2": 50}}
    found = said(client, "hello", **given, max_tokens=400)["choices"][0]
    if found["finish_reason"] == "stop":
        assert isinstance(json.loads(found["message"]["content"]), dict)
    assert found["message"]["content"].startswith("{")


def test_a_schema_that_cannot_be_obeyed(client: TestClient) -> None:
    asked = {"messages": [{"role": "user", "content": "?"}], "json_schema": {"not": {}}}
    answer = client.post(CHAT, json=asked)
    assert answer.status_code == 400
    assert "schema" in answer.json()["error"]["message"]
    broken = {"messages": asked["messages"], "grammar": "root ::= ("}
    assert client.post(CHAT, json=broken).status_code == 400


def test_scores_of_a_prompt_are_those_of_its_evaluation(client: TestClient, tiny: Path) -> None:
    with Runner.load(target=tiny, drafter="none", options=LoadOptions(n_ctx=512)) as runner:
        done = runner.complete("once upon", max_tokens=50, sampling=GREEDY, logprobs=2)
        prompt = [*runner.tokenize("once upon"), *done.tokens]
    asked = {"prompt": prompt, "logprobs": 2, "echo": True, "max_tokens": 0}
    (choice,) = client.post("/v1/completions", json=asked).json()["choices"]
    scores = choice["logprobs"]["token_logprobs"]
    assert len(scores) == len(prompt)
    written = [found.logprob for found in done.logprobs]
    assert scores[-len(written) :] == pytest.approx(written, abs=1e-3)


def test_an_exact_server_has_one_text(tiny: Path) -> None:
    with served(tiny, parallel=2, exact="certified") as client:
        first = said(client, "hello there")["choices"]
        asked = {"prompt": "score this " * 9, "echo": True, "logprobs": 1, "max_tokens": 1}
        assert client.post("/v1/completions", json=asked).status_code == 200
        assert said(client, "hello there")["choices"] == first
        assert client.get("/v1/models/tiny").json()["meta"]["exact"] == "certified"


@pytest.mark.model("smollm2-135m")
def test_a_real_models_text(model_files: list[Path]) -> None:
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    with Runner.load(target=model_files[0], options=LoadOptions(n_ctx=512)) as runner:
        expected = runner.complete(messages, max_tokens=40, sampling=GREEDY)
    with served(model_files[0]) as client:
        found = said(client, messages[0]["content"], max_tokens=40)
        assert found["choices"][0]["message"]["content"] == expected.text
        assert found["usage"]["completion_tokens"] == len(expected.tokens)
