"""Two answers being written side by side, each by its own clock.

The sides take turns, token by token, so both are always at the same place of the text and only
their clocks differ. To see who is ahead, both are shown at one time: that which the faster one has
used. What the slower one has yet to write then is played at the end.
"""

from __future__ import annotations

from bisect import bisect_right
from time import perf_counter, sleep
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from spec_local.cli.tint import tinted

if TYPE_CHECKING:
    from spec_local.bench.run.race import RunningContender
    from spec_local.generation import Chunk

_FRAME_SECONDS = 0.1
_PLAYED_FASTER = 3.0
"""How much faster than it was written the rest of the slower side is played."""
_NARROW = 72
"""Columns below which the sides stand one above the other."""
_MOST_ROWS = 18


class _Lap(NamedTuple):
    """A side after one of its rounds."""

    seconds: float
    tokens: int
    written: Text
    """In this round."""


class RaceView:
    """Draws a duel while it runs; a context manager."""

    def __init__(self, console: Console, titles: dict[str, str]) -> None:
        """titles: by the sides' names, plain decoding first."""
        self._console, self._titles = console, titles
        self._laps: dict[str, list[_Lap]] = {name: [] for name in titles}
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._drawn_at = 0.0

    def watch(self, side: RunningContender, chunk: Chunk) -> None:
        """A side has written something."""
        lap = _Lap(side.answer.seconds, len(side.answer.tokens), tinted(chunk))
        self._laps[side.name].append(lap)
        if perf_counter() - self._drawn_at >= _FRAME_SECONDS:
            self._draw(self._time)

    def play_out(self) -> None:
        """Show the rest of the slower side."""
        last = max(laps[-1].seconds for laps in self._laps.values() if laps)
        time = self._time
        while time < last:
            self._draw(time)
            sleep(_FRAME_SECONDS)
            time += _FRAME_SECONDS * _PLAYED_FASTER
        self._draw(last)

    @property
    def _time(self) -> float:
        """Seconds that the faster side has used."""
        return min(laps[-1].seconds if laps else 0.0 for laps in self._laps.values())

    def _draw(self, time: float) -> None:
        self._live.update(self._frame(time), refresh=True)
        self._drawn_at = perf_counter()

    def _frame(self, time: float) -> RenderableType:
        narrow = self._console.width < _NARROW
        sides = len(self._titles)
        room = self._console.height - 2
        rows = max(1, min(_MOST_ROWS, (room // sides if narrow else room) - 3))
        width = (self._console.width if narrow else self._console.width // sides) - 4
        until = {
            name: laps[: bisect_right(laps, time, key=lambda lap: lap.seconds)]
            for name, laps in self._laps.items()
        }
        rates = [_per_second(laps) for laps in until.values()]
        panels = list[Panel]()
        for (name, laps), rate in zip(until.items(), rates, strict=True):
            speed = f"{rate:.1f} tokens/s" if rate else "reading the prompt"
            if panels and all(rates):
                speed += f"  {rate / rates[0]:.2f}x"
            text = _tail(Text().join(lap.written for lap in laps), self._console, width, rows)
            panels.append(
                Panel(text, title=self._titles[name], subtitle=speed, height=rows + 2, expand=True)
            )
        if narrow:
            return Group(*panels)
        table = Table.grid(expand=True)
        for _panel in panels:
            table.add_column(ratio=1)
        table.add_row(*panels)
        return table

    def __enter__(self) -> RaceView:
        self._live.__enter__()
        self._draw(0.0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)


def _per_second(laps: list[_Lap]) -> float:
    return (laps[-1].tokens - 1) / laps[-1].seconds if laps and laps[-1].seconds else 0.0


def _tail(text: Text, console: Console, width: int, rows: int) -> Text:
    text.expand_tabs(4)
    return Text("\n").join(text.wrap(console, max(1, width))[-rows:])
