"""Telling how far a prompt has been read, while it is read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol

from spec_local.engine.rounds import Round
from spec_local.errors import Interrupted
from spec_local.util.progress import Progress

PROMPT, DRAFT_PROMPT = "prompt", "draft prompt"
"""Stages: the target reads the prompt, and then perhaps the draft models."""


class Reading(Protocol):
    """A session, which tells (tokens done, tokens in all) between the batches of an evaluation."""

    on_progress: Callable[[int, int], None] | None


@contextmanager
def batches_told(
    target: Reading, drafts: Iterable[Reading], progress: Progress, cancel: threading.Event
) -> Iterator[None]:
    """While the block runs: told after every batch but the last, and ended between two if set."""

    def between(stage: str, done: int, total: int) -> None:
        progress(stage, done / total)
        if cancel.is_set():
            raise Interrupted("The generation was cancelled.")

    told = [(target, PROMPT), *((draft, DRAFT_PROMPT) for draft in drafts)]
    for session, stage in told:
        session.on_progress = partial(between, stage)
    try:
        yield
    finally:
        for session, _stage in told:
            session.on_progress = None


def ends_told(rounds: Iterator[Round], progress: Progress) -> Iterator[Round]:
    """The rounds, the first of which reads the prompt; told when that begins and when it ends."""
    progress(PROMPT, 0.0)
    for number, round_ in enumerate(rounds):
        if number == 0:
            progress(PROMPT, 1.0)
        yield round_
