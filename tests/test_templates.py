"""Chat templates: variables, templates of one's own, and system messages that they do not take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_local import ChatTemplate
from spec_local.chat import Chat
from spec_local.errors import ConfigError
from spec_local.llama.messages import Message
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.template_variables import variables_read
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from tests.tiny_gguf import CHATML

pytestmark = pytest.mark.llama

HI: list[Message] = [{"role": "user", "content": "hi"}]
BRIEF: list[Message] = [{"role": "system", "content": "be brief"}, *HI]
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
)
DROPPING = CHATML.replace("messages %}", "messages if message['role'] != 'system' %}")
SWITCH = "{% if enable_thinking is defined and not enable_thinking %}at once {% endif %}" + CHATML


@pytest.fixture(scope="module")
def model(tiny: Path) -> Iterator[Model]:
    with Model(tiny) as model:
        yield model


# ---- variables -----------------------------------------------------------------------------------


def test_a_template_reads_variables_that_may_change(model: Model) -> None:
    template = ChatTemplate(model, "{{ name | default('nobody') }}", {"name": "somebody"})
    assert template.render(HI) == "somebody"
    template.variables["name"] = 3
    assert template.render(HI) == "3"
    template.variables.clear()
    assert template.render(HI) == "nobody"


def test_what_every_template_is_given_cannot_be_set(model: Model) -> None:
    with pytest.raises(ConfigError, match="gets messages from spec-local"):
        ChatTemplate(model, variables={"messages": []})
    template = ChatTemplate(model)
    template.variables["bos_token"] = "x"
    with pytest.raises(ConfigError, match="gets bos_token"):
        template.render(HI)


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("{% if not thinking is defined %}{% set thinking = false %}{% endif %}", {"thinking"}),
        ("{% set ns = namespace(x=1) %}{{ messages[0].thinking }} thinking", {"messages"}),
        ("{% generation %}{{ a }}{% endgeneration %}{% for x in b %}{% break %}{% endfor %}", "ab"),
    ],
)
def test_it_is_known_what_a_template_reads(source: str, read: set[str] | str) -> None:
    assert variables_read(source) == set(read)


def test_thinking_is_switched_where_the_template_has_a_switch(model: Model) -> None:
    template = ChatTemplate(model, SWITCH)
    plain = ChatTemplate(model)
    assert template.render(HI) == plain.render(HI)
    assert template.think(False)
    assert template.render(HI) == "at once " + plain.render(HI)
    assert template.think(True)
    assert template.render(HI) == plain.render(HI)
    assert not plain.think(False)
    assert plain.variables == {}


def test_a_template_of_ones_own_that_is_broken(model: Model) -> None:
    with pytest.raises(ConfigError, match="chat template given is broken"):
        ChatTemplate(model, "{% for %}")


def test_a_runner_writes_messages_by_the_template_it_is_given(tiny: Path) -> None:
    with Runner.load(target=tiny, options=LoadOptions(n_ctx=256)) as runner:
        runner.template = ChatTemplate(runner.target.model, "{{ x }}", {"x": "abc"})
        assert runner.vocab.pieces(runner.tokenize(HI)) == b"abc"


# ---- system messages -----------------------------------------------------------------------------


@pytest.mark.parametrize("source", [REFUSING, DROPPING], ids=["refusing", "dropping"])
def test_a_system_message_goes_before_the_first_message(model: Model, source: str) -> None:
    template, plain = ChatTemplate(model, source), ChatTemplate(model)
    assert not template.takes_system
    turns: list[Message] = [*HI, {"role": "assistant", "content": "ho"}, *HI]
    folded: list[Message] = [{"role": "user", "content": "be brief\n\nhi"}, *turns[1:]]
    assert template.render([BRIEF[0], *turns]) == plain.render(folded)
    assert template.render(turns) == plain.render(turns)
    assert template.render([{**BRIEF[0], "content": ""}, *turns]) == plain.render(turns)


def test_a_system_message_alone_or_before_an_answer_is_the_users(model: Model) -> None:
    template, plain = ChatTemplate(model, REFUSING), ChatTemplate(model)
    said: Message = {"role": "user", "content": "be brief"}
    answer: Message = {"role": "assistant", "content": "ho"}
    assert template.render(BRIEF[:1]) == plain.render([said])
    assert template.render([BRIEF[0], answer, *HI]) == plain.render([said, answer, *HI])


@pytest.mark.parametrize("source", [None, CHATML])
def test_a_system_message_stays_where_the_template_takes_it(
    model: Model, source: str | None
) -> None:
    template = ChatTemplate(model, source)
    assert template.takes_system
    assert "<|im_start|>system\nbe brief" in template.render(BRIEF)


def test_a_conversation_with_such_a_template_reuses_its_cache(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Runner.load(target=tiny, options=LoadOptions(n_ctx=512)) as runner:
        monkeypatch.setattr(runner, "template", ChatTemplate(runner.target.model, REFUSING))
        chat = Chat(runner, "be brief", max_tokens=5, sampling=Sampling(temperature=0.0))
        list(chat.send("one"))
        first = len(runner.target.tokens)
        list(chat.send("two"))
        assert chat.generation is not None
        assert chat.generation.stats.cached_tokens >= first - 1
        assert chat.messages[0] == {"role": "system", "content": "be brief"}
