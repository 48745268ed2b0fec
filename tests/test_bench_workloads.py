"""The prompts of the benchmark: the project's own and the user's."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from spec_local.errors import ConfigError
from spec_local.workloads.workloads import bundled, choose, read_prompts


def test_nine_workloads_with_four_prompts_each() -> None:
    prompts = bundled()
    assert Counter(prompt.workload for prompt in prompts) == dict.fromkeys(
        (
            "code edit",
            "code generation",
            "chat",
            "reasoning",
            "summary with quotes",
            "question answering",
            "JSON extraction",
            "translation",
            "multi-turn",
        ),
        4,
    )
    assert len({prompt.turns for prompt in prompts}) == len(prompts)
    assert all(len(p.turns) > 1 for p in prompts if p.workload == "multi-turn")


def test_spec_bench_questions(tmp_path: Path) -> None:
    file = tmp_path / "question.jsonl"
    file.write_text(
        '{"question_id": 1, "category": "writing", "turns": ["Write.", "Go on."]}\n\n'
        '{"question_id": 2, "category": "math", "turns": ["2 + 2?"], "reference": ["4"]}\n'
        '{"turns": ["Hello"]}\n'
        '{"question_id": 3, "category": "math", "turns": ["3 + 3?"]}\n'
    )
    found = [(prompt.workload, prompt.number, prompt.turns) for prompt in read_prompts(file)]
    assert found == [
        ("writing", 0, ("Write.", "Go on.")),
        ("math", 0, ("2 + 2?",)),
        ("prompts", 0, ("Hello",)),
        ("math", 1, ("3 + 3?",)),
    ]


def test_plain_text_is_one_prompt(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Translate:\n\nBonjour.\n")
    (prompt,) = read_prompts(file)
    assert (prompt.workload, prompt.turns) == ("letter", ("Translate:\n\nBonjour.\n",))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty; write a prompt into it"),
        ("no json", "line 1: this is not JSON"),
        ("[]", "line 1 must be an object with category and turns"),
        ('{"turns": ["a"]}\n{"category": "x"}', r"line 2.turns is missing"),
        ('{"turns": []}', "a prompt needs a turn"),
        ('{"turns": ["a", "  "]}', "a turn is empty"),
        ('{"turns": [1]}', r"turns\[0\] must be a string"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "question.jsonl"
    file.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        read_prompts(file)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_prompts(tmp_path / "none.jsonl")


def test_choosing() -> None:
    chosen = choose(bundled(), ["chat", "translation"], 2)
    assert [(p.workload, p.number) for p in chosen] == [
        ("chat", 0),
        ("chat", 1),
        ("translation", 0),
        ("translation", 1),
    ]
    assert choose(bundled(), [], None) == bundled()
    with pytest.raises(ConfigError, match="did you mean translation"):
        choose(bundled(), ["translations"], 1)
