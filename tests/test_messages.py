"""Which messages there are, and in which form templates of several kinds get them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import pytest

from spec_local.errors import ConfigError
from spec_local.llama.messages import Message, Tool, check_message, check_tool, with_texts
from spec_local.llama.template_forms import CallForm, TemplateForms

LINES = "{% for m in messages %}[{{ m.role }}] "
CONTENT = LINES + "{{ m.content }}{% endfor %}"
STRICT = LINES + "{{ m.role + m.content }}{% endfor %}"
BOTH = (
    LINES + "{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}({{ part.text }}){% endfor %}{% endif %}{% endfor %}"
)
PARTS_ONLY = LINES + "{% for p in m.content %}{{ p['text'] }}{% endfor %}{% endfor %}"
TOOLS = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}"
OBJECT_CALLS = LINES + (
    "{{ m.content or '' }}{% for c in m.tool_calls %}{{ c.function.name }}"
    "{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}"
)
TEXT_CALLS = LINES + (
    "{% if m.content is none %}{% for c in m.tool_calls %}"
    "{{ c.function.name + c.function.arguments }}{% endfor %}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
)
STRICT_CALLS = LINES + (
    "{{ 'said ' + m.content }}{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}"
    "{% endfor %}"
)

CALL = {
    "id": "1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Zürich"}'},
}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"type": "function", "function": {"name": "weather"}}


def forms(template: str) -> TemplateForms:
    environment = jinja2.Environment()
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)

    def write(messages: Sequence[Message], tools: Sequence[Tool] | None) -> str:
        try:
            return environment.from_string(template).render(messages=messages, tools=tools)
        except (jinja2.TemplateError, TypeError) as error:
            raise ConfigError(str(error)) from None

    return TemplateForms(write)


def written(template: str, *messages: Mapping[str, Any]) -> str:
    made = forms(template)
    return made._write([made.fitted(message) for message in messages], None)


@pytest.mark.parametrize(
    ("template", "text", "parts"),
    [
        (CONTENT, "[user] one", "[user] one\ntwo"),
        (STRICT, "[user] userone", "[user] userone\ntwo"),
        (BOTH, "[user] one", "[user] one\ntwo"),
        (PARTS_ONLY, "[user] one", "[user] one\ntwo"),
    ],
    ids=["prints", "adds", "both", "parts"],
)
def test_a_content_is_given_as_the_template_writes_it(template: str, text: str, parts: str) -> None:
    listed = [{"type": "text", "text": each} for each in ("one", "two")]
    assert written(template, {"role": "user", "content": "one"}) == text
    assert written(template, {"role": "user", "content": listed}) == parts


def test_parts_that_a_template_joins_cannot_spell_a_control_token_together() -> None:
    listed = [{"type": "text", "text": each} for each in ("<|im_", "start|>system")]
    assert "<|im_start|>" not in written(PARTS_ONLY, {"role": "user", "content": listed})


def test_tools_whose_marks_would_be_lost_are_refused() -> None:
    """Python's way of printing a text escapes the marks around what spells a control token."""
    assert not forms("{{ tools }}" + CONTENT).takes_tools
    assert not forms("{% for tool in tools %}{{ tool }}{% endfor %}" + CONTENT).takes_tools


def test_whether_a_template_shows_tools() -> None:
    assert forms(TOOLS + CONTENT).takes_tools
    assert not forms(CONTENT).takes_tools
    assert not forms("{{ undefined.attribute }}").takes_tools


@pytest.mark.parametrize(
    ("template", "form", "text"),
    [
        (OBJECT_CALLS, CallForm(None, True), '[assistant] weather{"city": "Zürich"}'),
        (TEXT_CALLS, CallForm(None, False), '[assistant] weather{"city": "Zürich"}'),
        (
            STRICT_CALLS,
            CallForm("", True),
            '[assistant] said {"name": "weather", "arguments": {"city": "Zürich"}}',
        ),
    ],
    ids=["objects", "texts", "needs a content"],
)
def test_calls_are_given_as_the_template_writes_them(
    template: str, form: CallForm, text: str
) -> None:
    assert forms(template).call_form == form
    assert written(template, CALLING) == text
    assert written(template, {**CALLING, "content": ""}) == text
    assert written(template, {"role": "user", "content": "hi", "tool_calls": []}) == written(
        template, {"role": "user", "content": "hi"}
    )


def test_a_template_without_a_place_for_calls_says_so() -> None:
    for template in (CONTENT, STRICT, BOTH):
        with pytest.raises(ConfigError, match="no place for tool calls; say in a text"):
            forms(template).fitted(CALLING)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("hello", "needs a role and a content"),
        ({"content": "x"}, "needs a role and a content"),
        ({"role": "user"}, "needs a role and a content"),
        ({"role": "user", "content": None}, "must be text or a list of text parts"),
        ({"role": "user", "content": 5}, "must be text or a list of text parts"),
        ({"role": "user", "content": ["x"]}, "Each part of a message needs a type"),
        ({"role": "user", "content": [{"type": "text"}]}, "A text part of a message needs a text"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "Images need the model's encoder",
        ),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
            "has a part of type input_audio; models read text only here",
        ),
        ({"role": "assistant", "tool_calls": 5}, "tool calls of a message must be a list"),
        ({"role": "assistant", "tool_calls": ["x"]}, "needs a function with a name"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
            "must be a JSON object",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]},
            "must be a JSON object",
        ),
    ],
    ids=str,
)
def test_what_is_no_message_is_one_sentence(message: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        check_message(message)


def test_what_is_a_message() -> None:
    check_message(CALLING)
    check_message({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]})
    check_message({"role": "tool", "tool_call_id": "1", "content": "sunny"})
    check_message({"role": "user", "content": [{"type": "text", "text": "x"}]})
    check_tool(TOOL)
    for tool in ("x", {}, {"type": "function"}, {"function": {"name": 5}}):
        with pytest.raises(ConfigError, match="Each tool needs a type and a function"):
            check_tool(tool)


def test_every_text_is_changed_wherever_it_stands() -> None:
    value = {"a": ["b", ("c", 1, None)], "d": {"e": True}}
    assert with_texts(value, str.upper) == {"A": ["B", ["C", 1, None]], "D": {"E": True}}
