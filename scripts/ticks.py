"""Frames that a window would miss beside a generation.

    python -m scripts.ticks --json docs/embed/ticks.json
    python -m scripts.ticks --show docs/embed/ticks.json

The main thread wakes 60 times a second, as the loop of a window does, in turns without anything
else to do and while another thread lets a model write one answer after the other, each with a
prompt to read. A tick that comes more than a period after it was due is a missed frame, and so are
those that became due meanwhile.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import NamedTuple

from scripts.kept import measure_or_show
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.workloads.workloads import bundled

PERIOD = 1 / 60
"""Seconds from tick to tick."""
STATES = ("idle", "generating")


class Ticks(NamedTuple):
    """What was counted in one turn."""

    state: str
    ticks: int
    missed: int
    latest: float
    """Seconds by which the latest tick came after it was due."""
    tokens: int
    """Written meanwhile."""


def lateness(
    seconds: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> list[float]:
    """Tick for so long; by how many seconds each tick came after it was due."""
    begun, late = clock(), list[float]()
    for number in range(1, round(seconds / PERIOD) + 1):
        due = begun + number * PERIOD
        sleep(max(0.0, due - clock()))
        late.append(clock() - due)
    return late


def counted(state: str, late: Sequence[float], tokens: int) -> Ticks:
    """The sums of a turn."""
    return Ticks(state, len(late), sum(each > PERIOD for each in late), max(late), tokens)


@contextmanager
def writing(
    runner: Runner, prompts: Iterator[list[int]], tokens: int
) -> Iterator[Callable[[], int]]:
    """While the block runs, answers are written in a thread; gives how many tokens so far."""
    end, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        for prompt in prompts:
            for chunk in runner.generate(prompt, max_tokens=tokens, sampling=Sampling()):
                written += len(chunk.tokens)
                if end.is_set():
                    return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: written
    finally:
        end.set()
        thread.join()


def prompts_in_turn(runner: Runner, tokens: int) -> Iterator[list[int]]:
    """The bundled prompts that leave room for so many tokens, short and long ones mixed."""
    asked = [[{"role": "user", "content": prompt.turns[0]}] for prompt in bundled()]
    found = [runner.tokenize(messages) for messages in asked]
    fitting = [prompt for prompt in found if len(prompt) + tokens <= runner.n_ctx]
    random.Random(1).shuffle(fitting)
    return cycle(fitting)


def measure(how: argparse.Namespace) -> Iterator[Ticks]:
    """In turns, so that what else the machine does meets both states alike."""
    with Runner.load(target=how.model) as runner:
        runner.complete("The first evaluations are slow.", max_tokens=8)
        prompts = prompts_in_turn(runner, how.tokens)
        for _turn in range(how.turns):
            yield counted(STATES[0], lateness(how.seconds), 0)
            with writing(runner, prompts, how.tokens) as written:
                yield counted(STATES[1], lateness(how.seconds), written())


def table(found: Sequence[Ticks]) -> list[str]:
    """As docs/embed.md has it."""
    rows = ["| | ticks | missed | share missed | latest |", "|---|---|---|---|---|"]
    for state in STATES:
        here = [each for each in found if each.state == state]
        ticks, missed = sum(each.ticks for each in here), sum(each.missed for each in here)
        latest = max(each.latest for each in here)
        share = f"{missed / ticks:.2%}".replace("%", " %")
        rows.append(f"| {state} | {ticks:,} | {missed} | {share} | {1000 * latest:.1f} ms |")
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20, help="of each state in a turn")
    parser.add_argument("--tokens", type=int, default=100, help="most of an answer")
    measure_or_show(parser, Ticks, measure, table)


if __name__ == "__main__":
    main()
