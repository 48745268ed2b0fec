"""Progress bars: on a terminal, gone when the work is done, and never in a pipe."""

from __future__ import annotations

import os
import pty
import re
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spec_local.cli.progress import on_terminal


@contextmanager
def stderr_into(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with os.fdopen(descriptor, "w") as stderr, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stderr)
        patch.setenv("TERM", "xterm")
        patch.setenv("COLUMNS", "80")
        yield


def drawn(descriptor: int) -> str:
    """What has been written there, which a terminal gives away in parts."""
    parts = []
    while select.select([descriptor], [], [], 0.2)[0] and (part := os.read(descriptor, 1 << 16)):
        parts.append(part)
    return b"".join(parts).decode()


@pytest.mark.parametrize("time_left", [False, True])
def test_a_terminal_shows_one_bar(time_left: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, stderr = pty.openpty()
    with stderr_into(stderr, monkeypatch):
        with on_terminal(time_left) as show:
            show("pull a-model", 0.25)
            show("pull a-model", 0.5)
            show("load a-model", 0.125)  # another stage: the bar begins again
        seen = drawn(terminal)
    os.close(terminal)
    assert "load a-model" in seen
    assert "━" in seen
    assert "12%" in seen
    assert bool(re.search(r"[-\d]:[-\d]{2}:[-\d]{2}", seen)) is time_left
    assert seen.endswith("\x1b[2K")  # the line it stood on is empty again


def test_a_trial_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, stderr = pty.openpty()
    with stderr_into(stderr, monkeypatch):
        with on_terminal() as show:
            show("try a-model", 0.0)
        seen = drawn(terminal)
    os.close(terminal)
    assert "try a-model in a process of its own" in seen


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ("pull a-model", ""),
        ("certify a-model", "note: certify a-model: this takes minutes.\n"),
        ("ask a-model", "note: ask a-model: this takes minutes.\n"),
    ],
)
def test_a_pipe_is_told_once_of_what_takes_minutes_and_else_nothing(
    stage: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, stderr = os.pipe()
    with stderr_into(stderr, monkeypatch), on_terminal() as show:
        show(stage, 0.1)
        show(stage, 1.0)
    assert drawn(pipe) == told
    os.close(pipe)
