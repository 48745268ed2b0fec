"""An answer on the terminal while it is written: Markdown, or every token by who wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from time import perf_counter
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from spec_local.cli.talk.markdown_stream import finished
from spec_local.cli.tint import DRAFTED, tinted
from spec_local.thoughts import Thinking
from spec_local.util.terminal import visible

if TYPE_CHECKING:
    from spec_local.generation import Chunk

_FRAME_SECONDS = 0.08
_FRAME_SHARE = 0.05
"""Most of the time that drawing may take: a long block of code takes long, and the model waits."""
_THOUGHT = "dim italic"


class Screen:
    """Shows answers; what it shows is safe, whatever a model writes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.tints = False
        """Whether drafted tokens are coloured, or underlined where colour is not wanted; then an
        answer is shown as it is written."""
        self.folds = False
        """Whether one line stands for what a model thinks."""
        self._reading: Live | None = None

    def progress(self, _stage: str, share: float) -> None:
        """So much of the prompt has been read."""
        if self._reading is not None and 0 < share < 1:
            self._reading.update(Text(f"reading, {share:.0%}", style="dim"), refresh=True)

    def show(self, answer: Iterator[Chunk], begins_thinking: str) -> None:
        """Show an answer as its chunks come.

        begins_thinking: the mark by which the template has begun it with a thought, if it has.
        """
        chunks = chain(self._first(answer), answer)
        if self.tints:
            style = "underline" if self.console.no_color else DRAFTED
            self._show_written(tinted(chunk, style) for chunk in chunks)
        elif self.console.is_dumb_terminal:  # nothing can be drawn again there
            texts = self.plain(chunks, begins_thinking)
            self._show_written(Text(visible(text)) for text in texts)
        else:
            self._show_markdown(chunks, Thinking(begins_thinking))

    def plain(self, chunks: Iterable[Chunk], begins_thinking: str) -> Iterator[str]:
        """The text alone, without thoughts if they are folded."""
        if not self.folds:
            yield from (chunk.text for chunk in chunks)
            return
        thinking = Thinking(begins_thinking)
        for chunk in chunks:
            yield "".join(part.text for part in thinking.feed(chunk.text) if not part.thought)
        yield "".join(part.text for part in thinking.finish() if not part.thought)

    def _show_written(self, texts: Iterable[Text]) -> None:
        for text in texts:
            self.console.print(text, end="", soft_wrap=True)
        self.console.print()

    def _first(self, answer: Iterator[Chunk]) -> list[Chunk]:
        """The first chunk, for which the prompt has to be read."""
        # Nothing moves by itself: the processors are needed.
        wait = Live(Text("…"), console=self.console, auto_refresh=False, transient=True)
        with wait as self._reading:
            try:
                return list(islice(answer, 1))
            finally:
                self._reading = None

    def note(self, text: str) -> None:
        """A quiet line of the program's own."""
        self.console.print(Text(text, style="dim"))

    def table(self, rows: Iterable[tuple[str, str]]) -> None:
        """Quiet lines of two columns; where it is narrow, the second is wrapped in its place."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        for row in rows:
            grid.add_row(*(Text(cell, style="dim") for cell in row))
        self.console.print(grid)

    def _show_markdown(self, chunks: Iterable[Chunk], thinking: Thinking) -> None:
        tokens, is_blank = 0, True
        with _Blocks(self.console) as written:
            for chunk in chunks:
                was_thinking, parts = thinking.is_thinking, thinking.feed(visible(chunk.text))
                thoughts = [part.text for part in parts if part.thought]
                is_blank = is_blank and not "".join(thoughts).strip()
                if was_thinking or thoughts:
                    tokens += len(chunk.tokens)  # all of a round, though an answer may begin in it
                    if self.folds and not is_blank:
                        written.fold(tokens)
                for part in parts:
                    if not (part.thought and self.folds):
                        written.add(part.text, part.thought)
            for part in thinking.finish():
                if not (part.thought and self.folds):
                    written.add(part.text, part.thought)


class _Blocks:
    """Draws a text block by block; a context manager, at whose end the last one is finished."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._text, self._thought = "", False
        self._next_frame, self._any = 0.0, False

    def add(self, text: str, thought: bool) -> None:
        """More text, thought or said."""
        if thought != self._thought:
            self._settle(len(self._text))
            self._thought = thought
        self._text += text
        self._settle(finished(self._text))
        self._draw()

    def fold(self, tokens: int) -> None:
        """A thought of so many tokens until now, of which no more is shown."""
        self._thought = True
        self._text = "thought for 1 token" if tokens == 1 else f"thought for {tokens:,} tokens"
        self._draw()

    def _draw(self) -> None:
        begun = perf_counter()
        if begun >= self._next_frame:
            self._live.update(self._tail(), refresh=True)
            drawn = perf_counter()
            self._next_frame = drawn + max(_FRAME_SECONDS, (drawn - begun) / _FRAME_SHARE)

    def _settle(self, length: int) -> None:
        """So much of the text is finished."""
        done, self._text = self._text[:length], self._text[length:]
        if not done.strip():
            return
        block = Group(*([Text()] if self._any else []), self._drawn(done))
        self._any = True
        self._live.update(self._tail(), refresh=True)  # below the block, no longer with it
        self._console.print(block)

    def _drawn(self, text: str) -> Markdown | Text:
        return Text(text.strip(), style=_THOUGHT) if self._thought else Markdown(text)

    def _tail(self) -> Text:
        """The last lines of what is being written, as many as there is room for."""
        lines = self._console.render_lines(self._drawn(self._text), pad=False)
        shown = Text()
        rows = lines[-max(1, self._console.height - 2) :] if self._text.strip() else []
        for number, line in enumerate(rows):
            shown.append("\n" if number or self._any else "")
            for segment in line:
                shown.append(segment.text, style=segment.style)
        return shown

    def __enter__(self) -> _Blocks:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.update(Text())
        self._live.__exit__(None, None, None)
        self._settle(len(self._text))
