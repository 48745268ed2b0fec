"""Text from a model on a terminal: nothing in it is obeyed."""

from __future__ import annotations

import unicodedata

import pytest

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
