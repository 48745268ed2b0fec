"""Text on a terminal: nothing of a model's is obeyed, and no word of ours is cut."""

from __future__ import annotations

import io
import sys
import unicodedata

import pytest
from rich.table import Table

from spec_local.cli.output import say
from spec_local.cli.tables import print_table
from spec_local.util.terminal import visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x1b[2J", "␛[2J"),
        ("\x9b31m", "�31m"),
        ("over\rwritten", "over␍written"),
        ("a line\r\n", "a line\n"),
        ("\x7f\x08\x00", "␡␈␀"),
        ("naïve 日本語 שלום 🙂", "naïve 日本語 שלום 🙂"),
    ],
)
def test_control_characters_become_symbols(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_none_is_left() -> None:
    controls = [chr(code) for code in range(0x100) if unicodedata.category(chr(code)) == "Cc"]
    left = [each for each in visible("".join(controls)) if unicodedata.category(each) == "Cc"]
    assert left == ["\t", "\n"]


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


SENTENCE = (
    "0.91 times as fast as plain decoding (slower): the same 200 tokens, 71% of the 1,214 drafted "
    "ones accepted; nothing[red] :smile: is obeyed in it."
)


@pytest.mark.parametrize("width", [40, 100, 200])
@pytest.mark.parametrize("err", [False, True])
def test_a_sentence_wraps_between_words(
    width: int, err: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    written = Terminal()
    monkeypatch.setattr(sys, "stderr" if err else "stdout", written)
    say(SENTENCE, err=err)
    lines = written.getvalue().splitlines()
    assert " ".join(line.strip() for line in lines) == SENTENCE
    assert max(map(len, lines)) <= width
    assert len(lines) == {40: 4, 100: 2, 200: 1}[width]


def test_a_path_longer_than_a_line_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    written = Terminal()
    monkeypatch.setattr(sys, "stdout", written)
    path = "/a/folder-of-many/" * 4 + "model.gguf"
    say(f"The model was written to {path}; take another one.\nSecond line.")
    lines = written.getvalue().splitlines()
    assert f"{path};" in lines
    assert lines[-1] == "Second line."


def test_through_a_pipe_a_sentence_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(SENTENCE)
    assert capsys.readouterr().out == f"{SENTENCE}\n"


@pytest.mark.parametrize("width", [40, 100])
def test_a_row_is_a_paragraph_where_columns_would_be_a_few_letters_wide(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    written = Terminal()
    monkeypatch.setattr(sys, "stdout", written)
    table = Table("model", "here", "size", "source")
    table.add_row("smollm2-1.7b", "no", "", "Hugging Face bartowski/SmolLM2-1.7B")
    print_table(table)
    shown = written.getvalue()
    if width == 40:
        assert [line.rstrip() for line in shown.splitlines()] == [
            "smollm2-1.7b",
            "  here no, source Hugging Face",
            "  bartowski/SmolLM2-1.7B",
        ]
    else:
        assert any(
            "bartowski/SmolLM2-1.7B" in line and "1.7b" in line for line in shown.splitlines()
        )
