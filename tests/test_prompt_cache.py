"""`--prompt-cache FILE`: the first run writes it, the next ones begin with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spec_local.cli.app import app
from spec_local.errors import ConfigError
from spec_local.llama.session import Session
from spec_local.sampling.types import Logits
from tests.test_cli import spec_local

pytestmark = pytest.mark.llama

SYSTEM = "the other thing and the thing " * 8
SHORT = ("--no-draft", "--temperature", "0", "-n", "8", "-q")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "prompt.cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens were evaluated at once, each time that it was more than a few."""
    honest, seen = Session.evaluate, list[int]()

    def evaluate(
        self: Session, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        if len(tokens) > 8:
            seen.append(len(tokens))
        return honest(self, tokens, rows, parents)

    monkeypatch.setattr(Session, "evaluate", evaluate)
    return seen


def generated(*words: str | Path, stdin: str | None = None) -> str:
    found = CliRunner().invoke(
        app, ["generate", *SHORT, *map(str, words)], input=stdin, catch_exceptions=False
    )
    assert found.exit_code == 0
    return found.output


def test_what_comes_before_the_question_is_read_by_the_first_run_alone(
    tiny: Path, kept: Path, read: list[int]
) -> None:
    asking = ("-m", tiny, "-s", SYSTEM)
    expected = [generated(*asking, question) for question in ("one thing", "and another")]
    read.clear()
    cached = (*asking, "--prompt-cache", kept)
    assert generated(*cached, "one thing") == expected[0]
    assert [count > 200 for count in read] == [True, False]
    written = kept.read_bytes()
    read.clear()
    for question, text in zip(("and another", "one thing"), reversed(expected), strict=True):
        assert generated(*cached, question) == text
    assert max(read) < 60
    assert kept.read_bytes() == written


def test_without_anything_before_it_the_whole_prompt_is_kept(
    tiny: Path, kept: Path, read: list[int]
) -> None:
    cached = ("-m", tiny, "--prompt-cache", kept)
    text = generated(*cached, SYSTEM)
    read.clear()
    assert generated(*cached, SYSTEM) == text
    assert read == []
    assert generated(*cached, "--raw", SYSTEM)  # another beginning, so it is written anew
    read.clear()
    generated(*cached, "--raw", SYSTEM)
    assert read == []


def test_a_document_is_kept_before_what_is_asked_about_it(
    tiny: Path, kept: Path, read: list[int]
) -> None:
    cached = ("-m", tiny, "--prompt-cache", kept)
    generated(*cached, "one thing", stdin=SYSTEM)
    read.clear()
    generated(*cached, "and another", stdin=SYSTEM)
    assert max(read) < 60


def test_a_file_of_another_run_is_written_anew_and_that_is_said(
    tiny: Path, kept: Path, read: list[int]
) -> None:
    cached = ("-m", tiny, "-s", SYSTEM, "--prompt-cache", kept)
    generated(*cached, "one thing")
    said = generated(*cached, "one thing", "--kv-type", "bf16")
    assert f"note: {kept} was kept with other types of the KV cache (f16,f16); load what" in said
    assert "have it written anew. That is done now.\n" in said
    read.clear()
    assert "note:" not in generated(*cached, "one thing", "--kv-type", "bf16")
    assert max(read) < 60
    kept.write_bytes(kept.read_bytes()[:-5])
    assert f"note: {kept} is damaged" in generated(*cached, "one thing", "--kv-type", "bf16")


def test_a_file_of_something_else_is_left_alone(tiny: Path) -> None:
    before = tiny.read_bytes()
    with pytest.raises(ConfigError, match="holds no prefix; name another file"):
        generated("-m", tiny, "-s", SYSTEM, "--prompt-cache", tiny, "one thing")
    assert tiny.read_bytes() == before


def test_a_chat_keeps_its_system_message(tiny: Path, kept: Path) -> None:
    chat = ("chat", "-m", tiny, *SHORT[1:-1], "--no-draft")
    cached = (*chat, "--prompt-cache", kept)
    plain = spec_local(*chat, "-s", SYSTEM, stdin="one thing\nand another\n")
    for _ in range(2):  # which writes it, which begins with it
        done = spec_local(*cached, "-s", SYSTEM, stdin="one thing\nand another\n")
        assert (done.returncode, done.stdout) == (0, plain.stdout)
    assert kept.stat().st_size > 10_000
    without = spec_local(*cached, stdin="one thing\n")
    assert without.returncode == 1
    assert "--prompt-cache keeps a system message; give one with --system." in without.stderr
