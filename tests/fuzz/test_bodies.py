"""Bodies of requests: whatever they are, the server says what is wrong with them and lives on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from spec_local.serve.app import make_app
from spec_local.serve.chat_request import ChatRequest
from spec_local.serve.completion_request import CompletionRequest
from spec_local.serve.response_request import ResponseRequest
from tests.stub_runner import StubRunner, stub_service

ENDPOINTS: dict[str, tuple[type[BaseModel] | None, dict[str, Any]]] = {
    "/v1/chat/completions": (ChatRequest, {"messages": [{"role": "user", "content": "hi"}]}),
    "/v1/completions": (CompletionRequest, {"prompt": "hi"}),
    "/v1/responses": (ResponseRequest, {"input": "hi"}),
    "/tokenize": (None, {"content": "hi"}),
    "/detokenize": (None, {"tokens": [1]}),
    "/apply-template": (None, {"messages": [{"role": "user", "content": "hi"}]}),
}
WORDS = st.sampled_from(
    [
        "type",
        "role",
        "user",
        "content",
        "text",
        "function",
        "name",
        "parameters",
        "schema",
        "object",
    ]
)
LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),  # NaN and Infinity, which Python's JSON has and others have not
    WORDS,
    st.text(st.characters(), max_size=6),  # halves of characters too
)
ANYTHING = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner), max_leaves=6
)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = make_app(stub_service(StubRunner()))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def ask(client: TestClient, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400, 404, 413), (body, answer.text)
    if answer.status_code != 200:
        assert answer.json()["error"]["message"].endswith((".", "?")), body


@pytest.mark.parametrize("path", ENDPOINTS)
@settings(max_examples=150)
@given(data=st.data())
def test_a_parameter_that_may_be_anything(
    client: TestClient, path: str, data: st.DataObject
) -> None:
    shape, good = ENDPOINTS[path]
    names = sorted(good if shape is None else shape.model_fields)
    changed = data.draw(st.dictionaries(st.sampled_from(names), ANYTHING, min_size=1, max_size=2))
    short: dict[str, Any] = {} if shape is None else {_most(path): 8}
    ask(client, path, json.dumps({**good, **short, **changed}).encode())


def _most(path: str) -> str:
    return "max_output_tokens" if path == "/v1/responses" else "max_tokens"


@pytest.mark.parametrize("path", ENDPOINTS)
@settings(max_examples=60)
@given(body=st.one_of(st.binary(max_size=60), ANYTHING.map(lambda each: json.dumps(each).encode())))
def test_a_body_that_may_be_anything(client: TestClient, path: str, body: bytes) -> None:
    ask(client, path, body)
