"""Thousands of generations in one process: what stays behind, and whether a text ever changes.

    python -m scripts.soak                                # tiny random models, some minutes
    python -m scripts.soak --target smollm2-135m --generations 1000
    python -m scripts.soak --json docs/soak.json

Draws a drafter, a sampling, a seed and a prompt for each one; some are cancelled, dropped in the
middle, or turns of a chat; every now and then a runner is closed, or only forgotten, and loaded
anew. In exact mode every text that was written to its end must be what its prompt and seed gave the
first time, whoever drafted. Memory is looked at after the first 200 and at the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import sys
import tempfile
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from spec_local import LoadOptions, Runner, Sampling
from spec_local.machine.profile import ProfileStore
from tests.zoo.recipes import recipes, write

DRAFTERS = ("none", "lookup", "model", "lookup-then-model", "staged", "auto")
PROMPTS = (
    "hello hello hello, there",
    "the letter: dear sir, dear madam. and again the letter:",
    [{"role": "user", "content": "tell me, tell me all of it"}],
)
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0},
    {"temperature": 0.8},
    {"temperature": 1.3, "top_k": 20, "repeat_penalty": 1.1},
    {"temperature": 0.7, "min_p": 0.05, "xtc_probability": 0.3},
)
SETTLED, RELOADED = 200, 250
"""Generations until memory has settled; and between two new runners."""
_CANCELLED, _DROPPED, _CHATTED = 0.15, 0.05, 0.15
"""Shares of the generations."""
_SEEDS = 3


class Left(NamedTuple):
    """What a process holds."""

    megabytes: float
    threads: int
    descriptors: int
    runners: int


class Soak:
    """The runners, and what they have written so far."""

    def __init__(self, target: str, draft: str | None, profiles: ProfileStore) -> None:
        self.target, self.draft, self._profiles = target, draft, profiles
        self.texts: dict[tuple[object, ...], str] = {}
        self.did: Counter[str] = Counter()
        self._alive = weakref.WeakSet[Runner]()
        self._runners: dict[str, Runner] = {}

    def runner(self, drafter: str) -> Runner:
        """The one with this drafter."""
        if drafter not in self._runners:
            self._runners[drafter] = Runner.load(
                target=self.target,
                draft=self.draft,
                drafter=drafter,
                options=LoadOptions(n_ctx=256, n_threads=1, trial=False),
                profiles=self._profiles,
                exact="fixed",
            )
            self._alive.add(self._runners[drafter])
        return self._runners[drafter]

    def step(self, rng: random.Random) -> None:
        """One generation."""
        runner = self.runner(rng.choice(DRAFTERS))
        prompt, setting, seed = rng.choice(PROMPTS), rng.choice(SAMPLINGS), rng.randrange(_SEEDS)
        sampling, chance = Sampling(**setting, seed=seed), rng.random()
        if chance < _CHATTED:
            self._chat(runner, sampling, rng)
            return
        generation = runner.generate(prompt, sampling=sampling, max_tokens=48)
        if chance < _CHATTED + _CANCELLED:
            for number, _chunk in enumerate(generation):
                if number == rng.randrange(6):
                    generation.cancel()
            self.did["cancelled"] += 1
        elif chance < _CHATTED + _CANCELLED + _DROPPED:
            next(iter(generation))
            self.did["dropped"] += 1
        else:
            asked = (str(prompt), str(setting), seed)
            text = generation.complete().text
            same = self.texts.setdefault(asked, text) == text
            self.did["written" if same else "CHANGED"] += 1

    def _chat(self, runner: Runner, sampling: Sampling, rng: random.Random) -> None:
        chat = runner.chat(sampling=sampling, max_tokens=16)
        for turn in ("hello", "and then?", "and then?")[: rng.randrange(1, 4)]:
            generation = chat.send(turn)
            if rng.random() < _CANCELLED:
                next(iter(generation))
                generation.cancel()
            generation.complete()
        self.did["chats"] += 1

    def renew(self, rng: random.Random) -> None:
        """Close one of the runners, or only forget it."""
        if self._runners:
            runner = self._runners.pop(rng.choice(sorted(self._runners)))
            if rng.random() < 0.5:
                runner.close()
            self.did["runners renewed"] += 1

    def left(self) -> Left:
        """What the process holds now."""
        gc.collect()
        process = psutil.Process()
        return Left(
            round(process.memory_info().rss / 1e6, 1),
            threading.active_count(),
            process.num_fds() if os.name == "posix" else 0,
            len(self._alive),
        )

    def close(self) -> None:
        """All runners."""
        for runner in self._runners.values():
            runner.close()
        self._runners.clear()


@contextmanager
def models(target: str | None, draft: str | None) -> Iterator[tuple[str, str | None]]:
    """Those that are named, or tiny random ones."""
    if target is not None:
        yield target, draft
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [write(recipes()["llama"], Path(folder, f"{i}.gguf"), seed=i) for i in range(2)]
        yield str(files[0]), str(files[1])


def soak(how: argparse.Namespace) -> dict[str, object]:
    """Generate so often, and look at what is left every now and then."""
    rng, started, curve = random.Random(how.seed), time.monotonic(), dict[int, Left]()
    with (
        models(how.target, how.draft) as (target, draft),
        tempfile.TemporaryDirectory() as folder,
    ):
        run = Soak(target, draft, ProfileStore(Path(folder)))
        for drafter in DRAFTERS:
            run.runner(drafter)
        for number in range(1, how.generations + 1):
            run.step(rng)
            if number % RELOADED == 0:
                run.renew(rng)
            if number == SETTLED or number % max(1, how.generations // 10) == 0:
                curve[number] = run.left()
                print(number, *run.left(), file=sys.stderr, flush=True)
        run.close()
        at_the_end = run.left()
    return {
        "generations": how.generations,
        "seconds": round(time.monotonic() - started, 1),
        "did": dict(run.did),
        "texts": len(run.texts),
        "curve": {str(number): left._asdict() for number, left in curve.items()},
        "after closing": at_the_end._asdict(),
    }


def main() -> int:
    """Soak, print, and fail where a text changed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", help="a name or a file; a tiny random model without")
    parser.add_argument("--draft", help="a name or a file")
    parser.add_argument("--generations", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--json", type=Path, help="write what was found there")
    how = parser.parse_args()
    found = soak(how)
    print(json.dumps(found, indent=1))
    if how.json:
        how.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if "CHANGED" in found["did"] else 0  # type: ignore[operator]


if __name__ == "__main__":
    sys.exit(main())
