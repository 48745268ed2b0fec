"""An answer on the terminal while it is written: Markdown, or every token by who wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from time import perf_counter
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.markdown import Markdown
from rich.text import Text

from spec_local.cli.talk.markdown_stream import finished
from spec_local.cli.talk.thinking import Thinking
from spec_local.cli.tint import tinted
from spec_local.util.terminal import visible

if TYPE_CHECKING:
    from spec_local.generation import Chunk
    from spec_local.llama.vocab import Vocabulary

_FRAME_SECONDS = 0.08
_FRAME_SHARE = 0.05
"""Most of the time that drawing may take: a long block of code takes long, and the model waits."""
_THOUGHT = "dim italic"


class Screen:
    """Shows answers; what it shows is safe, whatever a model writes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.tints = False
        """Whether drafted tokens are coloured; then Markdown is shown as it is written."""
        self._reading: Live | None = None

    def progress(self, _stage: str, share: float) -> None:
        """So much of the prompt has been read."""
        if self._reading is not None and 0 < share < 1:
            self._reading.update(Text(f"reading, {share:.0%}", style="dim"), refresh=True)

    def show(self, answer: Iterator[Chunk], vocab: Vocabulary) -> None:
        """Show an answer as its chunks come."""
        chunks = chain(self._first(answer), answer)
        if self.tints:
            for chunk in chunks:
                self.console.print(tinted(chunk, vocab), end="", soft_wrap=True)
            self.console.print()
        else:
            self._show_markdown(chunks)

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

    def _show_markdown(self, chunks: Iterable[Chunk]) -> None:
        thinking, written = Thinking(), _Blocks(self.console)
        with written:
            for chunk in chunks:
                for part in thinking.feed(visible(chunk.text)):
                    written.add(part.text, part.thought)
            for part in thinking.finish():
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
