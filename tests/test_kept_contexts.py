"""What contexts held is kept until somebody comes back for it."""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from spec_local.errors import EngineError
from spec_local.llama.state import Held
from spec_local.serve.kept_contexts import WORTH, KeptContexts

pytestmark = pytest.mark.llama

TOKEN = 10
"""Bytes of one."""


class Memory:
    """A session of which only the tokens are there."""

    def __init__(self) -> None:
        self.tokens: Sequence[int] = []
        self.copied = 0
        self.refuses = False

    @property
    def state_bytes(self) -> int:
        return TOKEN * len(self.tokens)

    def saved(self) -> Held:
        if self.refuses:
            raise EngineError("no")
        self.copied += 1
        return Held(tuple(self.tokens), ctypes.create_string_buffer(self.state_bytes))

    def adopt(self, held: Held) -> None:
        assert len(held.state) == TOKEN * len(held.tokens)
        self.tokens = list(held.tokens)


def text(first: int, length: int) -> list[int]:
    """Texts with other beginnings have nothing in common."""
    return [first * 1000 + number for number in range(length)]


def read(kept: KeptContexts, memory: Memory, prompt: list[int]) -> int:
    """How many of its tokens are there already."""
    kept.recall(memory, prompt)
    there = len([1 for held, wanted in zip(memory.tokens, prompt, strict=False) if held == wanted])
    memory.tokens = prompt
    return there


ONE, TWO, THREE = (text(first, 200) for first in (1, 2, 3))


def test_who_comes_back_finds_what_he_left() -> None:
    kept, memory = KeptContexts(10_000), Memory()
    assert [read(kept, memory, each) for each in (ONE, TWO, ONE, TWO)] == [0, 0, 200, 200]
    assert read(kept, memory, [*TWO, 7, 8]) == 200
    assert memory.copied == 3  # of those that were displaced
    assert read(kept, memory, [*ONE[:150], *THREE]) == 150


def test_the_latest_are_kept_as_far_as_there_is_room() -> None:
    kept, memory = KeptContexts(2 * TOKEN * 200), Memory()
    for each in (ONE, TWO, THREE, text(4, 200)):
        read(kept, memory, each)
    assert [read(kept, memory, each) for each in (ONE, THREE)] == [0, 200]
    small = KeptContexts(TOKEN * 199)
    assert [read(small, memory, each) for each in (ONE, TWO, ONE)] == [0, 0, 0]


def test_what_begins_a_longer_one_is_kept_once() -> None:
    kept, memory = KeptContexts(3 * TOKEN * 200), Memory()
    for each in (ONE[:100], TWO, ONE, THREE, text(4, 200)):
        read(kept, memory, each)
    # Of ONE[:100] nothing was left to keep beside ONE.
    assert [read(kept, memory, each) for each in (TWO, ONE, THREE)] == [200, 200, 200]


def test_little_is_not_worth_a_copy() -> None:
    kept, memory = KeptContexts(10_000), Memory()
    for each in (text(1, WORTH - 1), TWO, [*TWO[:170], 7], [*TWO[:170], 8]):
        read(kept, memory, each)
    assert memory.copied == 0  # too short, or an answer that is written again
    none = KeptContexts(0)
    assert [read(none, memory, each) for each in (ONE, TWO, ONE)] == [0, 0, 0]
    assert memory.copied == 0


def test_a_memory_that_cannot_be_copied_is_no_error() -> None:
    kept, memory = KeptContexts(10_000), Memory()
    memory.refuses = True
    assert [read(kept, memory, each) for each in (ONE, TWO, ONE)] == [0, 0, 0]


def test_nothing_is_kept_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(available=1 << 30)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    kept, memory = KeptContexts(10_000), Memory()
    assert [read(kept, memory, each) for each in (ONE, TWO, ONE)] == [0, 0, 0]
    assert memory.copied == 0


def test_a_copy_that_is_dropped_is_free_at_once(tiny: Path) -> None:
    from spec_local.llama.model import Model
    from spec_local.llama.options import LoadOptions
    from spec_local.llama.session import Session

    with Model(tiny, LoadOptions(n_ctx=128)) as model, Session(model) as session:
        session.evaluate([1, *range(262, 282)])
        held = session.saved()
        session.adopt(held)
        dropped = weakref.ref(held.state)
        gc.disable()
        try:
            del held
            assert dropped() is None
        finally:
            gc.enable()
