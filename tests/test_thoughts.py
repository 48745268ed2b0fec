"""What a model thinks is not sent to it again, and its marks are seen whatever tokens they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_local.chat import Chat
from spec_local.llama.messages import Message
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.template import ChatTemplate
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from tests.tiny_gguf import CHATML, write_tiny

pytestmark = pytest.mark.llama

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
    assert chat.begins_thinking == "<think>"
    assert chat.messages[-1]["content"] == "<think>\nhm</think>yes"
    first = prompt_tokens(runner, ("user", "one")) - len("<think>\n")
    list(chat.send("two"))
    assert evaluated(runner).count("hm") == 1
    assert cached(chat) == first


def test_a_thought_is_ended_before_a_form(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "template", ChatTemplate(runner.target.model, OPENING))
    bound, free = Sampling(json_schema='{"const": 1}'), Sampling(grammar='root ::= "1"')
    said = [{"role": "user", "content": "one"}]
    for sampling, ends in ((bound, "<think>\n\n</think>\n\n1"), (free, "<think>\n1")):
        assert runner.complete(said, sampling=sampling, max_tokens=5).text == "1"
        assert evaluated(runner).endswith(ends)
        chat = Chat(runner, sampling=sampling, max_tokens=5)
        list(chat.send("one"))
        assert evaluated(runner).endswith(ends)
    assert evaluated(runner).count("</think>") == 0


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


# ---- as tokens -----------------------------------------------------------------------------------

HARMONY = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>")


@pytest.mark.parametrize(
    ("control", "text", "written"),
    [
        (("[THINK]", "[/THINK]"), "[THINK]hm[/THINK]yes<|im_start|>", "[THINK]hm[/THINK]yes"),
        (HARMONY, "<|channel|>analysis<|message|>hm<|end|><|start|>a", None),
        (("<|channel>", "<channel|>"), "<|channel>thought\nhm<channel|>yes", None),
        (("<|end|>", "<|begin|>"), "hm<|end|><|begin|>yes", "hmyes"),  # of another family
    ],
)
def test_control_tokens_that_mark_thoughts_are_written_out(
    control: tuple[str, ...], text: str, written: str | None, tmp_path: Path
) -> None:
    path = write_tiny(tmp_path / "marks.gguf", control=control)
    with Model(path, vocab_only=True) as model:
        tokens = model.vocab.tokenize(text, add_special=False, parse_special=True)
        assert model.vocab.pieces(tokens).decode().lstrip() == (written or text)


def test_as_ordinary_text_they_write_nothing(tmp_path: Path) -> None:
    """So that grammars and schemas are not satisfied by them."""
    path = write_tiny(tmp_path / "marks.gguf", control=("[THINK]", "[/THINK]"))
    with Model(path, vocab_only=True) as model:
        (mark,) = model.vocab.tokenize("[THINK]", add_special=False, parse_special=True)
        assert (model.vocab.piece(mark), model.vocab.plain_piece(mark)) == (b"[THINK]", b"")


def test_marks_of_another_model_are_not_sent_either(runner: Runner) -> None:
    """After /model a conversation has answers of several families."""
    chat = answering(runner, "yes")
    gemma = {"role": "assistant", "content": "<|channel>thought\nhm<channel|>no"}
    gpt_oss = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>"
    harmony = {"role": "assistant", "content": f"{gpt_oss}maybe"}
    chat.take_up(
        [{"role": "user", "content": "a"}, gemma, {"role": "user", "content": "b"}, harmony]
    )
    list(chat.send("c"))
    assert "hm" not in evaluated(runner)
    assert "channel" not in evaluated(runner)
    assert "no" in evaluated(runner)
    assert "maybe" in evaluated(runner)
    assert chat.messages[1] == gemma
