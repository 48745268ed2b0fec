"""A terminal session as an animated SVG: what README shows is what a person saw.

python scripts/record.py OUT.svg [--columns N] [--rows N] [--type TEXT]… -- spec-local race …

The command runs in a terminal of its own; what it draws is read by a terminal emulator (pyte) with
the times at which it appeared. Every --type is a line that is typed when the program has been quiet
for a second and a half; after the last one Ctrl-D is pressed. Nothing is sped up; pauses of more
than --longest-pause seconds are shown as that long, and the head of the picture says so.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pyte

from scripts.terminal_svg import Frame, Span, animated

_QUIET = 1.5
"""Seconds without output after which a program waits for its user."""

_KEY = 0.04
"""Seconds between two keys."""

_DIM = re.compile(rb"\x1b\[2m")
"""pyte knows no dim text; it is shown in grey."""


@dataclass
class Recording:
    """Screens of a terminal, each with the time at which it appeared."""

    columns: int
    rows: int
    answer: Callable[[bytes], object] = bytes
    """Takes what the terminal itself says, asked where its cursor stands."""
    frames: list[Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._screen = pyte.Screen(self.columns, self.rows)
        self._screen.write_process_input = lambda text: self.answer(text.encode())
        self._stream = pyte.ByteStream(self._screen)

    def feed(self, output: bytes, seconds: float) -> None:
        """The program has written so much by then."""
        self._stream.feed(_DIM.sub(b"\x1b[90m", output))
        lines = tuple(tuple(self._spans(y)) for y in range(self.rows))
        if not self.frames or self.frames[-1].lines != lines:
            self.frames.append(Frame(seconds, lines))

    def _spans(self, y: int) -> Iterator[Span]:
        """Runs of characters of one colour; blanks at the end of the line are left out."""
        row = self._screen.buffer[y]
        cells = [row[x] for x in range(self.columns)]
        while cells and not cells[-1].data.strip() and cells[-1].bg == "default":
            cells.pop()
        start = 0
        for x in range(1, len(cells) + 1):
            if x == len(cells) or _look(cells[x]) != _look(cells[start]):
                text = "".join(cell.data for cell in cells[start:x])
                fg, bg, bold = _look(cells[start])
                yield Span(start, x - start, text, fg, bg, bold)
                start = x


def _look(cell: pyte.screens.Char) -> tuple[str, str, bool]:
    fg, bg = (cell.bg, cell.fg) if cell.reverse else (cell.fg, cell.bg)
    return fg, bg, cell.bold


def record(command: Sequence[str], columns: int, rows: int, typed: Sequence[str]) -> Recording:
    """Run a command in a terminal of its own until it ends."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
        os.execvp(command[0], list(command))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    recording = Recording(columns, rows, lambda answer: os.write(terminal, answer))
    begun = monotonic()
    keys = list(_keys(typed))
    last = begun
    while True:
        waits = _QUIET if keys and keys[0][0] else _KEY if keys else 60.0
        ready, _, _ = select.select([terminal], [], [], waits)
        if ready:
            try:
                output = os.read(terminal, 65536)
            except OSError:  # Linux says so when the program has ended
                output = b""
            if not output:
                break
            recording.feed(output, monotonic() - begun)
            last = monotonic()
        elif keys and monotonic() - last >= waits:
            os.write(terminal, keys.pop(0)[1])
    os.waitpid(child, 0)
    return recording


def _keys(typed: Sequence[str]) -> Iterator[tuple[bool, bytes]]:
    """Every key, and whether the program is waited for before it."""
    for line in typed:
        for n, character in enumerate(line):
            yield n == 0, character.encode()
        yield False, b"\r"
    if typed:
        yield True, b"\x04"


def main() -> None:
    """Record what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--type", action="append", default=[], dest="typed")
    parser.add_argument("--title", default="")
    parser.add_argument("--longest-pause", type=float, default=2.0)
    options, command = parser.parse_known_args()
    command = command[1:] if command[:1] == ["--"] else command
    if not command:
        sys.exit("Give the command after --.")
    recording = record(command, options.columns, options.rows, options.typed)
    title = options.title or " ".join(command)
    svg = animated(
        recording.frames, recording.columns, recording.rows, title, options.longest_pause
    )
    options.out.write_text(svg, "utf-8")
    print(f"{options.out}: {len(recording.frames)} screens, {len(svg) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
