"""Screens of a terminal as one animated SVG, without a script in it, so that any page shows it.

All screens stand side by side on a strip, which steps along behind a window (CSS keyframes). Most
lines stay from one screen to the next, so every distinct line is written once and used many times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

_WIDTH, _HEIGHT = 8.4, 18.0
"""Of a character, in pixels, at a font size of 14."""

_EDGE, _HEAD = 14.0, 34.0

_BACKGROUND, _TEXT = "#16181d", "#d7dae0"
_NAMED = {
    "black": "#3b3f4a",
    "red": "#ef6b73",
    "green": "#8cc265",
    "brown": "#e5c07b",
    "blue": "#6cb0f5",
    "magenta": "#c98ae8",
    "cyan": "#56c2cf",
    "white": "#d7dae0",
    "brightblack": "#828997",
    "brightred": "#ff8a92",
    "brightgreen": "#a5e075",
    "brightbrown": "#f5d08b",
    "brightblue": "#8cc8ff",
    "brightmagenta": "#dfa8ff",
    "brightcyan": "#76dfec",
    "brightwhite": "#ffffff",
}
"""The colours that terminals have names for; brown is what pyte calls yellow."""


@dataclass(frozen=True, slots=True)
class Span:
    """A run of characters of one look, `width` columns from x on; colours are names or digits."""

    x: int
    width: int
    text: str
    fg: str
    bg: str
    bold: bool


Line = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What the screen showed from `seconds` on."""

    seconds: float
    lines: tuple[Line, ...]


def animated(
    frames: Sequence[Frame],
    columns: int,
    rows: int,
    title: str,
    longest_pause: float,
    shortest: float = 0.1,
    rest: float = 4.0,
) -> str:
    """The document; it begins anew after `rest` seconds on the last screen.

    Screens shown for less than `shortest` seconds are left out; a pause is at most `longest_pause`.
    """
    shown = [
        frame
        for frame, after in zip(frames, [*frames[1:], None], strict=True)
        if after is None or after.seconds - frame.seconds >= shortest or frame is frames[0]
    ]
    starts, cut = [0.0], False
    for before, frame in pairwise(shown):
        pause = frame.seconds - before.seconds
        cut = cut or pause > longest_pause
        starts.append(starts[-1] + min(pause, longest_pause))
    whole = starts[-1] + rest
    width, height = columns * _WIDTH + 2 * _EDGE, rows * _HEIGHT + _HEAD + _EDGE
    lines = {line: n for n, line in enumerate(dict.fromkeys(li for f in shown for li in f.lines))}
    note = f" (pauses cut to {longest_pause:g} s)" if cut else ""
    steps = "".join(
        f"{100 * start / whole:.3f}%{{transform:translateX({-n * width:g}px)}}"
        for n, start in enumerate(starts)
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" xml:space="preserve">',
            f"<title>{escape(title)}</title>",
            "<style>text{white-space:pre;font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"
            f"'DejaVu Sans Mono',monospace;fill:{_TEXT}}}"
            f"@keyframes run{{{steps}}}"
            f".strip{{animation:run {whole:.2f}s step-end infinite}}</style>",
            f'<rect width="100%" height="100%" rx="8" fill="{_BACKGROUND}"/>',
            f'<text x="{_EDGE}" y="22" opacity=".7">$ {escape(title)}{note}</text>',
            "<defs>",
            *(f'<g id="l{n}">{"".join(map(_span, line))}</g>' for line, n in lines.items() if line),
            "</defs>",
            f'<svg x="{_EDGE}" y="{_HEAD}" width="{width - 2 * _EDGE:g}" '
            f'height="{height - _HEAD:g}"><g class="strip">',
            *(_screen(frame, n * width, lines) for n, frame in enumerate(shown)),
            "</g></svg>",
            "</svg>",
        ]
    )


def _screen(frame: Frame, left: float, lines: dict[Line, int]) -> str:
    placed = (
        f'<use href="#l{lines[line]}" y="{y * _HEIGHT:g}"/>'
        for y, line in enumerate(frame.lines)
        if line
    )
    return f'<g transform="translate({left:g})">{"".join(placed)}</g>'


def _span(span: Span) -> str:
    x, width = span.x * _WIDTH, span.width * _WIDTH
    behind = ""
    if span.bg != "default":
        behind = (
            f'<rect x="{x:g}" width="{width:g}" height="{_HEIGHT:g}" fill="{_colour(span.bg)}"/>'
        )
    look = "" if span.fg == "default" else f' style="fill:{_colour(span.fg)}"'
    bold = ' font-weight="bold"' if span.bold else ""
    return (
        f'{behind}<text x="{x:g}" y="14" textLength="{width:g}"{look}{bold}>'
        f"{escape(span.text)}</text>"
    )


def _colour(name: str) -> str:
    return _NAMED.get(name, f"#{name}")
