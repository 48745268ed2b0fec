"""Calls of tools: the form that a template shows, telling them from text, demanding them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from spec_local.errors import ConfigError
from spec_local.sampling.schema import read_schema
from spec_local.serve.failures import Refused
from spec_local.serve.tool_calls import ToolCall
from spec_local.serve.tool_choice import NamedFunction, NamedTool, calling
from spec_local.serve.tool_format import NamedCalls, ObjectCalls, ToolFormat
from tests.templates import HERMES, PYTHONIC, JinjaTemplate

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["rome", "oslo"]}},
            "required": ["city"],
        },
    },
}
CALL = ToolCall("weather", '{"city": "rome"}')
HERMES_FORM = ObjectCalls("<tool_call>\n", "name", "arguments")
BARE_FORM = ObjectCalls("", "name", "parameters")
NEMO = ObjectCalls("[TOOL_CALLS][", "name", "arguments")
SMALL = NamedCalls("[TOOL_CALLS]", "[CALL_ID]123456789[ARGS]", "123456789")
MINISTRAL = NamedCalls("[TOOL_CALLS]", "[ARGS]", "123456789")


def read(form: ToolFormat, text: str, begun: str | None = None) -> tuple[str, list[ToolCall]]:
    """The same whether it comes at once or letter by letter."""
    results = []
    for parts in ([text], list(text)):
        reader = form.reader(["weather"], begun)
        said = [*map(reader.feed, parts), reader.finish()]
        results.append(
            ("".join(each.text for each in said), [call for each in said for call in each.calls])
        )
    assert results[0] == results[1]
    return results[0]


WRITTEN = '<tool_call>\n{"name": "weather", "arguments": {"city": "rome"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        (HERMES_FORM, WRITTEN, ("", [CALL])),
        (HERMES_FORM, f"Let me see.\n{WRITTEN}\n{WRITTEN}", ("Let me see.", [CALL, CALL])),
        (HERMES_FORM, "It is < 3 and {x} <tool_", ("It is < 3 and {x} <tool_", [])),
        (
            HERMES_FORM,
            '<tool_call>\n{"name": "luck", "arguments": {}}',
            ('<tool_call>\n{"name": "luck", "arguments": {}}', []),
        ),
        (BARE_FORM, '{"name": "weather", "parameters": {"city": "rome"}}', ("", [CALL])),
        (NEMO, '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "rome"}}]', ("", [CALL])),
        (
            NEMO,
            'Well.[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "rome"}, "id": "1"}, '
            '{"name": "weather", "arguments": {"city": "rome"}}]',
            ("Well.", [CALL, CALL]),
        ),
        (NEMO, "[TOOL_CALLS] none", ("[TOOL_CALLS] none", [])),
        (NEMO, "[1, 2][TOOL", ("[1, 2][TOOL", [])),
        (MINISTRAL, 'Well. [TOOL_CALLS]weather[ARGS]{"city": "rome"}', ("Well.", [CALL])),
        (
            MINISTRAL,
            '[TOOL_CALLS]weather[ARGS]{"city": "rome"}[TOOL_CALLS]weather[ARGS] {"city": "rome"}',
            ("", [CALL, CALL]),
        ),
        (MINISTRAL, '[TOOL_CALLS]luck[ARGS]{"a": 1}', ('[TOOL_CALLS]luck[ARGS]{"a": 1}', [])),
        (MINISTRAL, 'weather[ARGS]{"city": "rome"}', ('weather[ARGS]{"city": "rome"}', [])),
        (
            SMALL,
            '[TOOL_CALLS]weather[CALL_ID]aB3_-9[ARGS]{"city": "rome"}',
            ("", [CALL]),
        ),
        (
            BARE_FORM,
            '{"name": "weather", "parameters": {"city": "\\ud83d"}}',
            ("", [ToolCall("weather", '{"city": "?"}')]),
        ),
        (BARE_FORM, " plain { text", (" plain { text", [])),
        (BARE_FORM, '{"other": 1}', ('{"other": 1}', [])),
    ],
)
def test_calls_are_told_from_text(
    form: ToolFormat, text: str, expected: tuple[str, list[ToolCall]]
) -> None:
    assert read(form, text) == expected


def test_a_call_that_was_begun_for_the_model() -> None:
    rest = '{"name": "weather", "arguments": "{\\"city\\": \\"rome\\"}"}'
    assert read(HERMES_FORM, rest, begun="") == ("", [ToolCall("weather", '{"city": "rome"}')])
    for form in (SMALL, MINISTRAL):
        demand = form.demand([TOOL])
        assert demand.opening == f"[TOOL_CALLS]weather{form.between}"
        assert demand.schema == TOOL["function"]["parameters"]  # type: ignore[index]
        assert read(form, '{"city": "rome"}', begun=demand.begun) == ("", [CALL])
        with pytest.raises(ConfigError, match="name it in tool_choice"):
            form.demand([TOOL, TOOL])


def test_what_a_request_says_of_tools() -> None:
    template = JinjaTemplate(HERMES)
    assert calling([TOOL], "none", template, 1000).tools == ()
    free = calling([TOOL], None, template, 1000)
    assert free.demand is None
    assert free.reader() is not None
    must = calling([TOOL], "required", template, 1000)
    assert must.demand is not None
    assert must.demand.opening == "<tool_call>\n"
    assert must.demand.schema["properties"]["name"] == {"const": "weather"}
    named = NamedTool(type="function", function=NamedFunction(name="luck"))
    with pytest.raises(ConfigError, match="'luck', which is not in tools"):
        calling([TOOL], named, template, 1000)
    with pytest.raises(ConfigError, match="needs tools"):
        calling(None, "required", template, 1000)
    with pytest.raises(ConfigError, match="none can be demanded"):
        calling([TOOL], "required", JinjaTemplate(PYTHONIC), 1000)
    with pytest.raises(Refused, match="shorten them"):
        calling([TOOL], None, template, 10)
    for name in ("", "a" * 65, "get weather", "x[TOOL_CALLS]", "<|im_end|>", "wetter_für", "a\n"):
        with pytest.raises(ConfigError, match="cannot be the name of a tool"):
            calling([{"type": "function", "function": {"name": name}}], None, template, 1000)
    assert calling([{"type": "function", "function": {"name": "a.B-3_"}}], None, template, 1000)
    assert calling([TOOL], None, JinjaTemplate(PYTHONIC), 1000).reader() is None


@pytest.mark.llama
def test_a_real_runner_calls_what_it_must(tmp_path: Path) -> None:
    from tests.test_serve_runner import served
    from tests.tiny_gguf import write_tiny

    path = write_tiny(tmp_path / "tools.gguf", template=HERMES)
    messages: list[dict[str, Any]] = [{"role": "user", "content": "how is the weather"}]
    asked = {"messages": messages, "tools": [TOOL], "max_tokens": 300, "logit_bias": {"2": 50}}
    with served(path) as client:
        chats = "/v1/chat/completions"
        whole = client.post(chats, json=asked | {"tool_choice": "required"}).json()
        (choice,) = whole["choices"]
        assert choice["finish_reason"] == "tool_calls"
        (call,) = choice["message"]["tool_calls"]
        assert call["function"]["name"] == "weather"
        assert json.loads(call["function"]["arguments"])["city"] in ("rome", "oslo")
        assert choice["message"]["content"] is None
        named = {"type": "function", "function": {"name": "weather"}}
        streamed = client.post(chats, json=asked | {"tool_choice": named, "stream": True}).text
        deltas = [
            json.loads(event.removeprefix("data: "))["choices"][0]["delta"]
            for event in streamed.split("\n\n")[:-2]
        ]
        (called,) = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        assert called["function"] == call["function"]
        assert called["index"] == 0
        result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
        messages += [choice["message"], result]
        answer = client.post(chats, json=asked | {"messages": messages, "max_tokens": 9})
        assert answer.status_code == 200, answer.text


@pytest.mark.llama
def test_a_response_calls_what_it_must(tmp_path: Path) -> None:
    from tests.test_serve_runner import served
    from tests.tiny_gguf import write_tiny

    path = write_tiny(tmp_path / "tools.gguf", template=HERMES)
    flat = {"type": "function", **TOOL["function"]}  # type: ignore[dict-item]
    asked: dict[str, Any] = {"tools": [flat], "tool_choice": "required", "logit_bias": {"2": 50}}
    with served(path) as client:
        found = client.post("/v1/responses", json=asked | {"input": "weather?"}).json()
        assert found["status"] == "completed"
        (call,) = found["output"]
        assert (call["type"], call["name"]) == ("function_call", "weather")
        streamed = client.post(
            "/v1/responses", json=asked | {"input": "weather?", "stream": True}
        ).text
        events = [
            json.loads(event.split("\ndata: ")[1]) for event in streamed.strip().split("\n\n")
        ]
        kinds = [event["type"].removeprefix("response.") for event in events]
        assert kinds == [
            "created",
            "in_progress",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
        assert events[4]["arguments"] == call["arguments"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        items = [{"role": "user", "content": "weather?"}, call, output]
        answer = client.post("/v1/responses", json={"input": items, "max_output_tokens": 9})
        assert answer.status_code == 200, answer.text
        assert answer.json()["output"][0]["type"] == "message"


def test_arguments_that_are_no_object_are_no_call() -> None:
    for given in ('"rome"', "[1]", '"[1]"', "3", '{"a": NaN}', '{"a": [1e999]}'):
        text = f'<tool_call>{{"name": "weather", "arguments": {given}}}</tool_call>'
        said, calls = read(HERMES_FORM, text)
        assert calls == []
        assert given in said
    written = '<tool_call>{"name": "weather", "arguments": "{\\"city\\": \\"rome\\"}"}</tool_call>'
    assert read(HERMES_FORM, written)[1] == [CALL]


def test_what_a_tools_schema_shares_is_found_and_each_has_its_own() -> None:
    def tool(name: str, shared: Any) -> dict[str, Any]:
        place = {"$ref": "#/$defs/Place"}
        parameters = {
            "type": "object",
            "properties": {"place": place},
            "required": ["place"],
            "$defs": {"Place": shared},
        }
        return {"type": "function", "function": {"name": name, "parameters": parameters}}

    schema = HERMES_FORM.schema([tool("go", {"enum": ["rome"]}), tool("stay", {"const": "oslo"})])
    validator = jsonschema.Draft202012Validator(schema)
    for name, place, right in [
        ("go", "rome", True),
        ("stay", "oslo", True),
        ("go", "oslo", False),
        ("stay", "rome", False),
    ]:
        assert validator.is_valid({"name": name, "arguments": {"place": place}}) == right
    assert read_schema(schema, closed=True)  # what binds an answer understands it as well
