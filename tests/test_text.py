"""Text that is shown never has to be taken back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spec_local.text import TextStream


def stream(pieces: list[bytes], stop: list[str] | None = None) -> tuple[list[str], bool]:
    text = TextStream(stop or [])
    shown = [text.feed(piece) for piece in pieces]
    return [*shown, text.finish()], text.stopped


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(st.text(), st.lists(st.integers(0, 5)))
def test_any_cut_gives_the_same_text(text: str, sizes: list[int]) -> None:
    shown, stopped = stream(cut(text.encode(errors="ignore"), sizes))
    assert "".join(shown) == text.encode(errors="ignore").decode()
    assert not stopped


def test_half_a_character_waits() -> None:
    shown, _ = stream([b"a\xf0\x9f", b"\x98", b"\x80b"])
    assert shown == ["a", "", "😀b", ""]


def test_broken_bytes_become_replacement_characters() -> None:
    shown, _ = stream([b"a\xff", b"b\xe2\x82"])
    assert "".join(shown) == "a\ufffdb\ufffd"


@given(st.text(alphabet="abAB", max_size=30), st.lists(st.integers(0, 3)))
def test_the_text_ends_before_the_first_stop_string(text: str, sizes: list[int]) -> None:
    stops = ["ab", "BAB"]
    shown, stopped = stream(cut(text.encode(), sizes), stops)
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    assert stopped == bool(found)
    assert "".join(shown) == (text[: min(found)] if found else text)


def test_what_may_begin_a_stop_string_is_held_back_and_no_more() -> None:
    text = TextStream(["\nuser:"])
    assert text.feed(b"hello\nus") == "hello"
    assert text.feed(b"ing\n") == "\nusing"
    assert text.finish() == "\n"


def test_nothing_comes_after_a_stop_string() -> None:
    text = TextStream(["."])
    assert text.feed(b"one. two") == "one"
    assert text.stopped
    assert text.feed(b" three") == ""
    assert text.finish() == ""


def test_empty_stop_strings_are_ignored() -> None:
    assert stream([b"abc"], [""]) == (["abc", ""], False)
