"""`spec-local bench` as a person meets it, on tiny models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spec_local.bench.record.result import Result, Run
from spec_local.bench.run.conversation import Conversation
from spec_local.cli.app import app
from spec_local.errors import ConfigError
from tests.test_cli import Argument, fails_with, spec_local
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

QUESTIONS = (
    '{"category": "short", "turns": ["the thing and the other thing and the thing"]}\n'
    '{"category": "talk", "turns": ["one and the other", "and on"]}\n'
)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    file = tmp_path / "question.jsonl"
    file.write_text(QUESTIONS)
    return file


def test_a_whole_benchmark(tiny: Path, tiny_draft: Path, questions: Path, tmp_path: Path) -> None:
    outputs = {
        "--json": tmp_path / "a.json",
        "--markdown": tmp_path / "a.md",
        "--plots": tmp_path / "plots",
    }
    options = [str(part) for pair in outputs.items() for part in pair]
    command: list[Argument] = ["bench", "-m", tiny, "-d", tiny_draft, "--quick"]
    done = spec_local(*command, "--prompts", questions, *options)
    assert done.returncode == 0
    assert "Speed-up over plain decoding, greedy" in done.stdout
    assert "geometric mean" in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    assert "\x1b" not in done.stdout
    result = Result.load(tmp_path / "a.json")
    assert result.settings.workloads == ("short", "talk")
    assert result.settings.temperatures == (0.0,)
    assert [each.name for each in result.contenders] == ["none", "lookup k=3", "model k=3", "auto"]
    assert (tmp_path / "plots" / "speedup-light.svg").exists()
    assert "plots/speedup-light.svg" in (tmp_path / "a.md").read_text()

    shown = spec_local("bench", "show", tmp_path / "a.json")
    assert shown.stdout == done.stdout

    compared = spec_local("bench", "compare", tmp_path / "a.json", tmp_path / "a.json")
    assert compared.returncode == 0
    assert "The same was measured both times." in compared.stdout


def test_the_largest_candidate_has_its_room_and_a_winner_its_contexts(
    tiny: Path, tiny_draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = dict[str, Any]()

    def refusing(_spec: object, **how: Any) -> None:
        asked.update(how)
        raise ConfigError("That is enough.")

    monkeypatch.setattr("spec_local.pair.open_pair", refusing)
    larger = write_tiny(tmp_path / "larger.gguf", extra_tokens=64)
    drafts = ["-d", str(tiny_draft), "-d", str(larger)]
    CliRunner().invoke(app, ["bench", "drafts", "-m", str(tiny), *drafts])
    assert asked["later"] == [str(larger)]
    assert asked["options"].contexts == 3


def test_drafts_are_ranked(tiny: Path, tiny_draft: Path, questions: Path, tmp_path: Path) -> None:
    command: list[Argument] = ["bench", "drafts", "-m", tiny, "-d", tiny, "-d", tiny_draft]
    done = spec_local(
        *command, "--prompts", questions, "-n", "24", "--json", tmp_path / "ranking.json"
    )
    assert done.returncode == 0
    assert "Draft models, the best first" in done.stdout
    assert ".gguf, run" in done.stdout
    ranking = json.loads((tmp_path / "ranking.json").read_text())
    assert (ranking["schema"], ranking["target"]) == (1, "tiny.gguf")
    assert {each["name"]: each["agreement"] == 1.0 for each in ranking["candidates"]} == {
        "tiny.gguf": True,
        "tiny-draft.gguf": False,
    }


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--workload", "chta"], "There is no workload 'chta'; did you mean chat?"),
        (["--contender", "model"], "The drafter model needs a draft model"),
        (["--contender", "fast"], "There is no contender 'fast'; choose from: auto, "),
        (["--sweep-k", "1,two"], "--sweep-k 1,two: give whole numbers, as in 1,2,4,8."),
        (["--json", "nowhere/a.json"], "There is no directory nowhere; make it first."),
        (["--prompts", "missing.jsonl"], "missing.jsonl cannot be read"),
        (["--peer", "vllm"], "'vllm' cannot be measured"),
        (["--peer", "llama-server=missing"], "missing is not a program that can be run"),
        (["some-pair"], "Give the model once: some-pair or "),
    ],
)
def test_wrong_inputs_are_one_sentence(tiny: Path, options: list[str], sentence: str) -> None:
    assert fails_with(spec_local("bench", "-m", tiny, *options), sentence)


def test_a_file_that_is_no_result(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("{}")
    for done in (spec_local("bench", "show", file), spec_local("bench", "compare", file, file)):
        assert fails_with(done, "is not a benchmark of schema 1")


def test_a_peer_that_fails_is_reported(tiny: Path, questions: Path, tmp_path: Path) -> None:
    peer = tmp_path / "server"
    peer.write_text("#!/bin/sh\necho no such flag >&2\nexit 3\n")
    peer.chmod(0o755)
    done = spec_local(
        "bench", "-m", tiny, "--quick", "--prompts", questions, "--peer", f"llama-server={peer}"
    )
    assert done.returncode == 0
    assert "no such flag" in done.stdout
    assert "geometric mean" in done.stdout


def test_ctrl_c_keeps_what_was_measured(
    tiny: Path, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, done = Conversation.run, list[str]()

    def interrupted(conversation: Conversation) -> list[Run]:
        if done:
            raise KeyboardInterrupt
        done.append(conversation.prompt.workload)
        return run(conversation)

    monkeypatch.setattr(Conversation, "run", interrupted)
    file = tmp_path / "a.json"
    command = ["bench", "-m", tiny, "--quick", "--prompts", questions, "--json", file]
    result = CliRunner().invoke(app, [str(part) for part in command])
    assert result.exit_code == 130
    assert "geometric mean" in result.stdout
    assert "interrupted; this is what was measured until then" in result.stderr
    assert {each.workload for each in Result.load(file).runs} == {"short"}
