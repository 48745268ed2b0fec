"""README's pictures: what a terminal showed is what the SVG shows."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

from scripts.record import Recording, record
from scripts.terminal_svg import Frame, Span, animated

SVG = "{http://www.w3.org/2000/svg}"


def line(text: str) -> tuple[Span, ...]:
    return (Span(0, len(text), text, "default", "default", bold=False),)


def test_runs_of_one_colour_and_wide_characters() -> None:
    recording = Recording(20, 2)
    recording.feed(b"ab\x1b[32mcd\x1b[0m\r\n\x1b[2m\xe6\xbc\xa2\x1b[0m!", 0.5)
    (frame,) = recording.frames
    first, second = frame.lines
    assert [(s.x, s.text, s.fg) for s in first] == [(0, "ab", "default"), (2, "cd", "green")]
    assert [(s.x, s.width, s.text, s.fg) for s in second] == [
        (0, 2, "漢", "brightblack"),
        (2, 1, "!", "default"),
    ]


def test_a_program_is_told_where_the_cursor_stands() -> None:
    told: list[bytes] = []
    Recording(20, 2, told.append).feed(b"ab\x1b[6n", 0.0)
    assert told == [b"\x1b[1;3R"]


def test_a_program_is_typed_to_when_it_waits() -> None:
    program = (
        "import sys; print('name?', flush=True); "
        "print('hello', sys.stdin.readline(), flush=True); sys.stdin.read()"
    )
    shown = record([sys.executable, "-c", program], 40, 5, ["Ada"]).frames[-1]
    assert ["".join(span.text for span in each) for each in shown.lines[:3]] == [
        "name?",
        "Ada",
        "hello Ada",
    ]


def test_every_distinct_line_is_written_once_and_pauses_are_cut() -> None:
    frames = [
        Frame(0.0, (line("one"), ())),
        Frame(1.0, (line("one"), line("two"))),
        Frame(1.01, (line("gone at once"), ())),
        Frame(1.02, (line("two"), line("one"))),
        Frame(31.0, (line("<end>"), ())),
    ]
    svg = animated(frames, 20, 2, "a & b", longest_pause=2.0)
    root = ET.fromstring(svg)
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert texts == ["$ a & b (pauses cut to 2 s)", "one", "two", "<end>"]
    assert len(list(root.iter(f"{SVG}use"))) == 4
    assert "7.02s step-end" in svg  # 1.02, 2 and 4 seconds of rest
