"""What a forked child may do with what it inherited: nothing, and nothing is freed there."""

from __future__ import annotations

import gc
import os

import pytest

from spec_local.errors import EngineError
from spec_local.util.process import OwnStack, Process, closed_when_dropped
from tests.forked import in_child

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


class Owner:
    pass


def test_a_child_is_another_process() -> None:
    process = Process()
    process.require_this()
    assert process.is_this
    assert in_child(lambda: process.is_this) == "False"
    assert in_child(process.require_this) == (
        "EngineError: llama.cpp cannot go on in a forked process; start the process by the method "
        '"spawn" of multiprocessing, and load the model there.'
    )


def test_a_child_frees_nothing_whether_it_closes_drops_or_fails() -> None:
    freed = list[str]()

    def stacked() -> OwnStack:
        stack = OwnStack()
        stack.callback(freed.append, "freed")
        return stack

    stack, owner = stacked(), Owner()
    owned = stacked()
    close = closed_when_dropped(owner, owned)

    def child() -> list[str]:
        nonlocal owner
        stack.close()
        del owner
        gc.collect()
        assert not close.alive
        return freed

    assert in_child(child) == "[]"
    assert freed == []

    def leave_a_block() -> None:
        with stacked():
            assert in_child(lambda: 1) == "1"
            raise EngineError("in the block")

    with pytest.raises(EngineError, match="in the block"):
        leave_a_block()
    assert freed == ["freed"]
    stack.close()
    del owner
    gc.collect()
    assert freed == ["freed"] * 3
