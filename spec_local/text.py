"""Bytes to text as they come: incremental UTF-8 and stop strings."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


def as_stops(stop: str | Sequence[str]) -> tuple[str, ...]:
    """Stop strings, of which there may be one alone."""
    return (stop,) if isinstance(stop, str) else tuple(stop)


class TextStream:
    """Turns token bytes into text that can be shown at once and never has to be taken back.

    A character split over tokens waits for its last byte, and text that could be the beginning of
    a stop string waits until it is or is not one.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(filter(None, stop))
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False
        """Whether a stop string came; nothing is let through any more."""

    def feed(self, data: bytes) -> str:
        """Text that is certain now, up to the first stop string."""
        return self._release(self._decoder.decode(data))

    def finish(self) -> str:
        """What was held back, at the end of the generation."""
        rest = self._release(self._decoder.decode(b"", final=True))
        if not self.stopped:
            rest, self._held = rest + self._held, ""
        return rest

    def _release(self, text: str) -> str:
        if self.stopped:
            return ""
        if not self._stop:
            return text
        text = self._held + text
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
