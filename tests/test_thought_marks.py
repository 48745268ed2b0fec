"""Marks of thoughts, of every family, however the text that has them is cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec_local.thoughts import MARKS, Marks, Part, Thinking, closed, opened, without_thoughts

PIECES = [*"<think>/ ax", "<think>", "</think>"]
OF_ALL = [*PIECES, *(piece for marks in MARKS for piece in (*marks[:2], *marks.leads))]
BEGINNINGS = [beginning for marks in MARKS for beginning in (marks.opens, *marks.leads)]


def told(texts: list[str], begun: str = "") -> list[Part]:
    """The parts, those of one kind joined."""
    stream = Thinking(begun)
    merged = list[Part]()
    for part in [part for text in texts for part in stream.feed(text)] + stream.finish():
        if merged and merged[-1].thought == part.thought:
            merged[-1] = Part(merged[-1].text + part.text, part.thought)
        else:
            merged.append(part)
    return merged


@given(st.lists(st.sampled_from(OF_ALL)), st.sampled_from(["", *(each.opens for each in MARKS)]))
def test_thoughts_are_told_from_text_however_they_are_cut(texts: list[str], begun: str) -> None:
    assert told(texts, begun) == told(["".join(texts)], begun)


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_an_answer_without_a_thought_is_unchanged(text: str) -> None:
    if not text.lstrip().startswith("<think>"):
        assert without_thoughts(text) == text


@pytest.mark.parametrize(
    ("text", "begun", "parts"),
    [
        ("<think>hm <b></think>\n\nyes <i>", "", [Part("hm <b>", True), Part("yes <i>", False)]),
        ("hm</think>yes", "<think>", [Part("hm", True), Part("yes", False)]),
        ("\n<think>hm", "", [Part("hm", True)]),
        ("<think>a</think> <think>b</think>c", "", [Part("ab", True), Part("c", False)]),
        ("hm</think>yes", "", [Part("hm</think>yes", False)]),
        ("the mark <think> opens", "", [Part("the mark <think> opens", False)]),
        ("<thin", "", [Part("<thin", False)]),
        ("<think>hm</thin", "", [Part("hm</thin", True)]),
        ("<think>\n</think>\n", "", [Part("\n", True)]),
        (" \n", "", [Part(" \n", False)]),
        ("<think>", "", []),
        ("hm</think>[/THINK]yes", "[THINK]", [Part("hm</think>", True), Part("yes", False)]),
        ("<|channel|>final<|message|>yes", "", [Part("yes", False)]),
        ("<|content|>yes", "", [Part("yes", False)]),
        ("<|channel|>commentary", "", [Part("<|channel|>commentary", False)]),
    ],
)
def test_a_thought_stands_before_the_answer(text: str, begun: str, parts: list[Part]) -> None:
    assert told([text], begun) == parts


@pytest.mark.parametrize("marks", MARKS, ids=lambda marks: marks.opens)
def test_every_family_is_understood_wherever_its_text_is_cut(marks: Marks) -> None:
    text = f"{marks.opens}\nhm{marks.closes}{''.join(marks.leads)}\nyes"
    parts = [Part("\nhm", True), Part("yes", False)]
    assert without_thoughts(text) == "yes"
    assert told(list(text)) == parts
    for first, second in itertools.combinations(range(len(text) + 1), 2):
        assert told([text[:first], text[first:second], text[second:]]) == parts


@pytest.mark.parametrize("marks", MARKS, ids=lambda marks: marks.opens)
def test_a_prompt_may_open_a_thought(marks: Marks) -> None:
    assert opened(f"user\nhi\nassistant\n{marks.opens}\n") == marks.opens
    assert opened(f"assistant\n{marks.opens}\n\n{marks.closes}\n\n") == ""
    assert told(["h", f"m{marks.closes}", "yes"], marks.opens)[0] == Part("hm", True)
    prompt = f"user\nhi\nassistant\n{marks.opens}"
    assert closed(f"{prompt}\n") == f"{prompt}\n\n{marks.closes}\n\n"
    assert closed(closed(prompt)) == closed(prompt)
    assert closed("assistant\n") == "assistant\n"


def test_no_beginning_is_the_beginning_of_another() -> None:
    for one, other in itertools.permutations(BEGINNINGS, 2):
        assert not other.startswith(one)
