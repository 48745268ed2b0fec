"""How calls of tools are written, read off templates; control tokens that they are told by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spec_local.errors import ConfigError
from spec_local.sampling.settings import Sampling
from spec_local.serve.harmony import HarmonyCalls
from spec_local.serve.limits import Limits
from spec_local.serve.prompts import conversation
from spec_local.serve.said import Telling, begun
from spec_local.serve.tool_calls import Said, ToolCall
from spec_local.serve.tool_choice import NamedFunction, NamedTool, calling
from spec_local.serve.tool_format import ObjectCalls
from spec_local.serve.tool_template import tool_format
from spec_local.thoughts import Thinking, closed, without_thoughts
from tests.templates import HERMES, JSON_ONLY, MISTRAL, PYTHONIC, JinjaTemplate
from tests.test_serve_thoughts import chunks
from tests.test_serve_tools import HERMES_FORM, MINISTRAL, NEMO, SMALL, TOOL


def test_the_form_is_read_off_the_template() -> None:
    hermes = tool_format(JinjaTemplate(HERMES))
    assert hermes == ObjectCalls("<tool_call>\n", "name", "arguments")
    assert tool_format(JinjaTemplate(JSON_ONLY)) == ObjectCalls("", "name", "parameters")
    assert tool_format(JinjaTemplate(PYTHONIC)) is None


def test_mistrals_forms() -> None:
    nemo, small, ministral = (
        JinjaTemplate(MISTRAL % call)
        for call in (
            "[TOOL_CALLS][{{ call | tojson }}]",
            "[TOOL_CALLS]{{ call.name }}[CALL_ID]{{ each.id }}[ARGS]{{ call.arguments | tojson }}",
            "[TOOL_CALLS]{{ call.name }}[ARGS]{{ call.arguments | tojson }}",
        )
    )
    assert tool_format(nemo) == NEMO
    assert tool_format(small) == SMALL
    assert tool_format(ministral) == MINISTRAL


@pytest.mark.parametrize("begun", ["<think>\n", "<think>\n\n</think>\n\n"])
@pytest.mark.parametrize("written", ["", "<think>\n\n</think>\n\n"])
def test_a_thought_before_the_answer_is_no_part_of_the_form(begun: str, written: str) -> None:
    """Qwen 3 writes an empty one before a call, and QwQ after the question."""
    source = HERMES.replace("'<tool_call>", f"{json.dumps(written)} + '<tool_call>")
    source = source.replace("assistant\\n' }}", f"assistant\\n' + {json.dumps(begun)} }}}}")
    assert source.count("think") > 0
    assert tool_format(JinjaTemplate(source)) == HERMES_FORM


# ---- gpt-oss -------------------------------------------------------------------------------------

HARMONY = JinjaTemplate(
    MISTRAL
    % (
        "<|start|>assistant to=functions.{{ call.name }}<|channel|>commentary json<|message|>"
        "{{ call.arguments | tojson }}"
    )
)
THOUGHT = "<|channel|>analysis<|message|>Rome?<|end|><|start|>assistant"
ROME = '{"city": "rome"}'
TO_ROME = ToolCall("weather", ROME)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("written", "text", "calls"),
    [
        # As the model writes it, and as its template does.
        (f"<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{ROME}", "", 1),
        (f" to=functions.weather<|channel|>commentary json<|message|> {ROME}", "", 1),
        (
            "<|channel|>commentary<|message|>Let me look.<|end|><|start|>assistant<|channel|>"
            f"commentary to=functions.weather json<|message|>{ROME}",
            "Let me look.",
            1,
        ),
        (
            f"<|channel|>commentary to=functions.weather<|message|>{ROME}<|start|>assistant"
            f"<|channel|>commentary to=functions.weather<|message|>{ROME}",
            "",
            2,
        ),
        ("<|channel|>final<|message|>It is {sunny} in <|>.", "It is {sunny} in <|>.", 0),
        (
            "<|channel|>commentary<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>No.",
            "Hm.\n\nNo.",
            0,
        ),
        ("to be, or not", "to be, or not", 0),
        # Marks that begin no message are text, and a header that nothing follows is nothing.
        (
            "<|channel|>final<|message|>`<|channel|>final<|message|>`, or <|end|>, <|start|>u <|",
            "`<|channel|>final<|message|>`, or <|end|>, <|start|>u <|",
            0,
        ),
        (f"<|channel|>{'x' * 300}", f"<|channel|>{'x' * 300}", 0),
        ("<|channel|>commentary<|message|>Hm.<|end|>", "Hm.", 0),
        ("<|channel|>commentary<|message|>Hm.<|end|><|start|>assistant<|channel|>com", "Hm.", 0),
        # A call of no JSON is text, and the one after it a call.
        (
            '<|channel|>commentary to=functions.weather<|message|>{"city": nowhere}<|end|>'
            f"<|start|>assistant<|channel|>commentary to=functions.weather<|message|>{ROME}",
            '<|channel|>commentary to=functions.weather<|message|>{"city": nowhere}<|end|>',
            1,
        ),
        ("<|channel|>commentary to=functions.weather", None, 0),
        ('<|channel|>commentary to=functions.weather<|message|>{"city": "ro', None, 0),
        ("<|channel|>commentary to=functions.weather<|message|>rome", None, 0),
        ("<|channel|>commentary to=functions.other<|message|>{} and so on", None, 0),
        ("<|channel|>commentary to=python<|message|>print(1)", None, 0),
    ],
)
def test_gpt_oss_writes_calls_to_a_recipient(
    written: str, text: str | None, calls: int, size: int
) -> None:
    """text: None where what is written is no call, and so text as it is."""
    form = tool_format(HARMONY)
    assert isinstance(form, HarmonyCalls)
    telling = Telling(form.reader(["weather"]), Thinking())
    told = [telling.feed(chunk) for chunk in chunks(THOUGHT + written, size)]
    assert "".join(each.thought for each in told) == "Rome?"
    assert "".join(each.text for each in told) == (written if text is None else text)
    assert [call for each in told for call in each.calls] == [TO_ROME] * calls


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("apart", [True, False])
def test_gpt_oss_thinks_also_between_messages(apart: bool, size: int) -> None:
    """Where thoughts are not told apart, all marks stay, so that somebody else can tell them."""
    rest = "<|end|><|start|>assistant<|channel|>final<|message|>No."
    between = "<|end|><|start|>assistant<|channel|>analysis<|message|>Or oslo?"
    written = f"<|channel|>commentary<|message|>Hm.{between}{rest}"
    telling = Telling(
        HarmonyCalls().reader(["weather"], thinks=apart), Thinking() if apart else None
    )
    told = [telling.feed(chunk) for chunk in chunks(THOUGHT + written, size)]
    text = "".join(each.text for each in told)
    if apart:
        assert "".join(each.thought for each in told) == "Rome?Or oslo?"
        assert text == "Hm.\n\nNo."
    else:
        assert text == THOUGHT + written
        assert (
            without_thoughts(f"{THOUGHT}{rest.removeprefix('<|end|><|start|>assistant')}") == "No."
        )


def test_a_call_of_gpt_oss_can_be_demanded() -> None:
    named = NamedTool(type="function", function=NamedFunction(name="weather"))
    asked = calling([TOOL], named, HARMONY, 1000)
    assert asked.demand is not None
    opening = "<|channel|>commentary to=functions.weather <|constrain|>json<|message|>"
    assert asked.demand.opening == opening
    assert asked.demand.schema["properties"] == {"city": {"enum": ["rome", "oslo"]}}
    reader = asked.reader()
    assert reader is not None
    assert reader.feed(ROME) == Said("", [TO_ROME])
    with pytest.raises(ConfigError, match="name it in tool_choice"):
        calling([TOOL, TOOL], "required", HARMONY, 1000)


class Letters:
    """A runner and its vocabulary, in which every letter is a token."""

    def __init__(self, prompt: str) -> None:
        self.prompt, self.vocab = prompt, self

    def tokenize(self, text: object, *, thinks: bool = True, **_how: object) -> list[int]:
        prompt = self.prompt if thinks else closed(self.prompt)
        return [*map(ord, text if isinstance(text, str) else prompt)]

    def piece(self, token: int) -> bytes:
        return chr(token).encode()


@pytest.mark.parametrize("prompt", ["Q: ", "Q: <think>\n"])
def test_a_demanded_call_stands_behind_a_thought_that_the_template_opens(prompt: str) -> None:
    asked = calling([TOOL], "required", JinjaTemplate(HERMES), 1000)
    runner: Any = Letters(prompt)
    tokens = conversation([], asked, runner, Limits(), Sampling(json_schema="{}"))
    closes = "\n</think>\n\n" if "think" in prompt else ""
    assert "".join(map(chr, tokens)) == f"{prompt}{closes}<tool_call>\n"
    assert begun(tokens, runner) == ""


MINISTRALS = MISTRAL % "[TOOL_CALLS]{{ call.name }}[ARGS]{{ call.arguments | tojson }}"
MARKS = ("[TOOL_CALLS]", "[ARGS]")


@pytest.mark.llama
def test_calls_are_told_by_control_tokens(tmp_path: Path) -> None:
    from spec_local.llama.model import Model
    from tests.tiny_gguf import write_tiny

    path = write_tiny(tmp_path / "calling.gguf", control=(*MARKS, "[INST]"))
    with Model(path, vocab_only=True) as model:
        text = '[TOOL_CALLS]weather[ARGS]{"city": "rome"}'
        tokens = model.vocab.tokenize(text, add_special=False, parse_special=True)
        assert len(tokens) == len(text) - sum(map(len, MARKS)) + len(MARKS)
        assert model.vocab.pieces(tokens).decode() == text
        assert model.vocab.plain_piece(tokens[0]) == b""
        (other,) = model.vocab.tokenize("[INST]", add_special=False, parse_special=True)
        assert model.vocab.piece(other) == b""


@pytest.mark.llama
def test_a_named_tool_is_called_as_mistrals_models_do(tmp_path: Path) -> None:
    from tests.test_serve_runner import served
    from tests.tiny_gguf import write_tiny

    path = write_tiny(tmp_path / "calling.gguf", template=MINISTRALS, control=MARKS)
    messages: list[dict[str, Any]] = [{"role": "user", "content": "how is the weather"}]
    asked = {"messages": messages, "tools": [TOOL], "max_tokens": 200, "logit_bias": {"2": 50}}
    with served(path) as client:
        for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
            answer = client.post("/v1/chat/completions", json={**asked, "tool_choice": choice})
            assert answer.status_code == 200, answer.text
            (found,) = answer.json()["choices"]
            assert found["finish_reason"] == "tool_calls"
            (call,) = found["message"]["tool_calls"]
            assert call["function"]["name"] == "weather"
            assert json.loads(call["function"]["arguments"])["city"] in ("rome", "oslo")
            assert len(call["id"]) == 9
            assert call["id"].isalnum()
        result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
        messages += [found["message"], result]
        assert client.post("/v1/chat/completions", json=asked).status_code == 200
        several = {**asked, "tools": [TOOL, TOOL], "tool_choice": "required"}
        error = client.post("/v1/chat/completions", json=several).json()["error"]
        assert "name it in tool_choice" in error["message"]
