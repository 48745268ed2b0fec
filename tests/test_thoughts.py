"""What a model thinks is told from its answer, and is not sent to it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec_local.chat import Chat
from spec_local.llama.messages import Message
from spec_local.llama.options import LoadOptions
from spec_local.llama.template import ChatTemplate
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.thoughts import Part, Thinking, is_opened, without_thoughts
from tests.tiny_gguf import CHATML

pytestmark = pytest.mark.llama

PIECES = [*"<think>/ ax", "<think>", "</think>"]


def told(texts: list[str], begun: bool = False) -> list[Part]:
    """The parts, those of one kind joined."""
    stream = Thinking(begun)
    merged = list[Part]()
    for part in [part for text in texts for part in stream.feed(text)] + stream.finish():
        if merged and merged[-1].thought == part.thought:
            merged[-1] = Part(merged[-1].text + part.text, part.thought)
        else:
            merged.append(part)
    return merged


@given(st.lists(st.sampled_from(PIECES)), st.booleans())
def test_thoughts_are_told_from_text_however_they_are_cut(texts: list[str], begun: bool) -> None:
    assert told(texts, begun) == told(["".join(texts)], begun)


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_an_answer_without_a_thought_is_unchanged(text: str) -> None:
    if not text.lstrip().startswith("<think>"):
        assert without_thoughts(text) == text


@pytest.mark.parametrize(
    ("text", "begun", "parts"),
    [
        ("<think>hm <b></think>\n\nyes <i>", False, [Part("hm <b>", True), Part("yes <i>", False)]),
        ("hm</think>yes", True, [Part("hm", True), Part("yes", False)]),
        ("\n<think>hm", False, [Part("hm", True)]),
        ("<think>a</think> <think>b</think>c", False, [Part("ab", True), Part("c", False)]),
        ("hm</think>yes", False, [Part("hm</think>yes", False)]),
        ("the mark <think> opens", False, [Part("the mark <think> opens", False)]),
        ("<thin", False, [Part("<thin", False)]),
        ("<think>hm</thin", False, [Part("hm</thin", True)]),
        ("<think>\n</think>\n", False, [Part("\n", True)]),
        (" \n", False, [Part(" \n", False)]),
    ],
)
def test_a_thought_stands_before_the_answer(text: str, begun: bool, parts: list[Part]) -> None:
    assert told([text], begun) == parts


def test_a_prompt_may_open_a_thought() -> None:
    assert is_opened("user\nhi\nassistant\n<think>\n")
    assert not is_opened("assistant\n<think>\n\n</think>\n\n")


# ---- in a conversation ---------------------------------------------------------------------------

OPENING = CHATML.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}")


@pytest.fixture(scope="module")
def runner(tiny: Path) -> Iterator[Runner]:
    with Runner.load(target=tiny, drafter="none", options=LoadOptions(n_ctx=512)) as runner:
        yield runner


def answering(runner: Runner, text: str) -> Chat:
    """A conversation in which every answer is that text."""
    return Chat(runner, sampling=Sampling(temperature=0.0, grammar=f'root ::= "{text}"'))


def evaluated(runner: Runner) -> str:
    return runner.vocab.pieces(runner.target.tokens).decode()


def cached(chat: Chat) -> int:
    assert chat.generation is not None
    return chat.generation.stats.cached_tokens


def prompt_tokens(runner: Runner, *said: tuple[str, str]) -> int:
    messages: list[Message] = [{"role": role, "content": text} for role, text in said]
    return len(runner.tokenize(messages))


def test_thoughts_are_kept_but_not_sent_again(runner: Runner) -> None:
    chat = answering(runner, "<think>hm</think>yes")
    first = prompt_tokens(runner, ("user", "one"))
    list(chat.send("one"))
    assert chat.messages[-1]["content"] == "<think>hm</think>yes"
    list(chat.send("two"))
    assert evaluated(runner).count("hm") == 1
    assert evaluated(runner).count("yes") == 2
    assert cached(chat) == first
    second = prompt_tokens(runner, ("user", "one"), ("assistant", "yes"), ("user", "two"))
    list(chat.send("three"))
    assert evaluated(runner).count("hm") == 1
    assert cached(chat) == second
    assert [message["content"].count("hm") for message in chat.messages[1::2]] == [1, 1, 1]


def test_an_answer_without_thoughts_is_read_no_second_time(runner: Runner) -> None:
    chat = answering(runner, "yes")
    for said in ("one", "two", "three"):
        before = len(runner.target.tokens)
        list(chat.send(said))
    assert cached(chat) == before
    assert chat.undo() == "three"
    list(chat.send("four"))
    assert cached(chat) >= before


def test_what_the_template_opens_is_a_thought(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "template", ChatTemplate(runner.target.model, OPENING))
    chat = answering(runner, "hm</think>yes")
    list(chat.send("one"))
    assert chat.begins_thinking
    assert chat.messages[-1]["content"] == "<think>\nhm</think>yes"
    first = prompt_tokens(runner, ("user", "one")) - len("<think>\n")
    list(chat.send("two"))
    assert evaluated(runner).count("hm") == 1
    assert cached(chat) == first


def test_a_thought_that_was_cut_short_is_not_sent(runner: Runner) -> None:
    chat = answering(runner, "<think>hm, hm, hm</think>yes")
    answer, text = chat.send("one"), ""
    for chunk in answer:
        text += chunk.text
        if "hm, " in text:
            break
    answer.close()
    assert chat.messages[-1]["content"] == text
    list(chat.send("two"))
    assert evaluated(runner).count("hm") == 3
