"""Progress of pulling, loading and reading the prompt: on a terminal's stderr, and only there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spec_local.cli.output import say


@contextmanager
def on_terminal(time_left: bool = False) -> Iterator[Callable[[str, float], None]]:
    """A callback taking (stage, fraction) that draws one bar, gone when the block ends.

    time_left: also guess how long the stages will take, for those that take minutes.
    """
    if not sys.stderr.isatty():
        yield _announce_minutes()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeftColumn

    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn()]
    columns += [TaskProgressColumn(), *([TimeLeftColumn()] if time_left else [])]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, visible=False)

        done = 0.0

        def show(stage: str, fraction: float) -> None:
            nonlocal done
            if fraction < done:  # another stage, at a speed of its own
                bar.reset(task)
            done = fraction
            bar.update(task, description=_words(stage), completed=fraction, visible=True)

        yield show


def _words(stage: str) -> str:
    """A stage as people read it."""
    if stage.startswith("try "):
        return f"{stage} in a process of its own"
    return stage


def _announce_minutes() -> Callable[[str, float], None]:
    """Without a terminal only what takes minutes is said, once."""
    said: set[str] = set()

    def announce(stage: str, _fraction: float) -> None:
        if stage.startswith(("certify ", "ask ", "search ")) and stage not in said:
            said.add(stage)
            say(f"note: {stage}: this takes minutes.", err=True)

    return announce
