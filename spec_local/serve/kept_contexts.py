"""What contexts held before another request took their place, until somebody comes back for it.

A front end asks for a title between two turns of a chat, two people talk in turns: with one context
each would have the other read again. A token's keys and values are some ten kilobytes:
copying them takes microseconds, evaluating it again a millisecond at least on most machines.
llama-server has the same (`--cache-ram`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import psutil

from spec_local.errors import EngineError
from spec_local.llama.state import Held
from spec_local.util.prefix import common_prefix

WORTH = 8
"""Tokens that a copy has to save, at least."""
_SMALL_PART = 4
"""Less than one of so many parts of what stays is not worth a copy of all."""
_LEFT = 1 << 30
"""Bytes of the machine's memory that are left free."""


class Keeping(Protocol):
    """A session whose memory can be kept."""

    @property
    def tokens(self) -> Sequence[int]:
        """What it holds."""

    @property
    def state_bytes(self) -> int:
        """How large that is."""

    def saved(self) -> Held:
        """What it holds, to be taken back."""

    def adopt(self, held: Held) -> None:
        """Hold that instead."""


class KeptContexts:
    """Of one model's contexts, the latest ones; for any threads."""

    def __init__(self, most_bytes: int) -> None:
        """most_bytes: of all together; 0 keeps none."""
        self._most_bytes = most_bytes
        self._kept: list[Held] = []
        """The latest one last."""
        self._lock = threading.Lock()

    def recall(self, session: Keeping, prompt: Sequence[int]) -> None:
        """Before that is read: keep what the session would lose, and hold what saves most of it."""
        if self._most_bytes == 0:
            return
        common = common_prefix(session.tokens, prompt)
        better = self._taken(prompt, common + WORTH)
        lost = len(session.tokens) - common
        # A long chat whose last turn is repeated loses an answer, which nobody comes back for.
        with suppress(EngineError, MemoryError):  # of a memory that cannot be copied nothing is
            if lost >= max(WORTH, common // _SMALL_PART):
                self._keep(session)
            if better is not None:
                session.adopt(better)

    def _taken(self, prompt: Sequence[int], least: int) -> Held | None:
        """The one that begins most like the prompt, for so many tokens at least; no longer kept."""
        with self._lock:
            found = [(common_prefix(held.tokens, prompt), held) for held in self._kept]
            common, best = max(found, key=lambda each: each[0], default=(0, None))
            if best is None or common < least:
                return None
            self._kept = [held for held in self._kept if held is not best]
            return best

    def _keep(self, session: Keeping) -> None:
        size = session.state_bytes
        if size > self._most_bytes or size > psutil.virtual_memory().available - _LEFT:
            return
        new = session.saved()
        with self._lock:
            self._kept = [each for each in self._kept if not _begins(new.tokens, each.tokens)]
            self._kept.append(new)
            while sum(len(each.state) for each in self._kept) > self._most_bytes:
                self._kept.pop(0)


def _begins(tokens: Sequence[int], with_those: Sequence[int]) -> bool:
    return common_prefix(tokens, with_those) == len(with_those)
