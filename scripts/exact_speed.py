"""What exact modes cost: each against free decoding, token by token in turn.

    python scripts/exact_speed.py TARGET [DRAFT] [--modes certified,guard] [--tokens 64] [--json F]

Free and exact contexts of the same file are opened side by side; for every prompt all of them
write an answer in lockstep, once forwards and once backwards. Printed are, over prompts, median,
geometric mean, least and greatest of the speed in tokens per second, free plain decoding being 1.

    python scripts/exact_speed.py --show F [F …]       # the same of files written before
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import geometric_mean, median
from typing import TypedDict

from spec_local.bench.run.energy import EnergyMeter
from spec_local.bench.run.race import RunningContender, race
from spec_local.llama.options import LoadOptions
from spec_local.models.registry import PairSpec
from spec_local.pair import open_pair
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.workloads.workloads import bundled, choose

_PLAIN = "free plain"


class Answer(TypedDict):
    """One prompt's figures; speeds by contender."""

    workload: str
    speed: dict[str, float]
    rechecked: dict[str, float]


def start(
    spec: PairSpec, modes: list[str], repack: bool | None, stack: ExitStack
) -> dict[str, RunningContender]:
    """Plain decoding and `auto`, free and in every mode."""
    options, found = LoadOptions(repack=repack), {}
    for mode in (None, *modes):
        pair = stack.enter_context(open_pair(spec, options=options, exact=mode))
        for drafter in ("none", "auto"):
            target, draft = pair.sessions(stack)
            exact = pair.exactness(target)
            runner = Runner(target, drafter, draft=draft, profiles=pair.profiles, exact=exact)
            stack.enter_context(runner)
            name = f"{mode or 'free'} {'plain' if drafter == 'none' else drafter}"
            found[name] = RunningContender(name, runner, EnergyMeter())
    return found


def summary(answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """Median, geometric mean, least and greatest speed of each contender over the answers."""
    speeds = {name: [each["speed"][name] for each in answers] for name in answers[0]["speed"]}
    return {
        name: {
            "median": median(found),
            "geometric mean": geometric_mean(found),
            "least": min(found),
            "greatest": max(found),
        }
        for name, found in speeds.items()
    }


def show(answers: Sequence[Answer]) -> None:
    """Print the summary, a line for each contender."""
    for name, figures in summary(answers).items():
        print(f"{name:18}", ", ".join(f"{what} {value:.2f}" for what, value in figures.items()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--show", type=Path, nargs="+")
    parser.add_argument("--modes", default="certified")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--per-workload", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--no-repack", action="store_true")
    parser.add_argument("--json", type=Path)
    how = parser.parse_args()
    for file in how.show or ():
        print(file)
        show(json.loads(file.read_text())["answers"])
    if how.show:
        return
    if not how.models:
        parser.error("name a target, or files to --show")
    sampling = Sampling(temperature=how.temperature, seed=1)
    answers: list[Answer] = []
    with ExitStack() as stack:
        repack = False if how.no_repack else None
        running = start(PairSpec(*how.models), how.modes.split(","), repack, stack)
        for prompt in choose(bundled(), [], how.per_workload):
            messages = [{"role": "user", "content": prompt.turns[0]}]
            context = running[_PLAIN].runner.tokenize(messages)
            seconds = dict.fromkeys(running, 0.0)
            tokens = dict.fromkeys(running, 0)
            for turned in (False, True):
                for contender in running.values():
                    contender.forget(0, 0)
                race(list(running.values()), context, how.tokens, sampling, turned)
                for name, contender in running.items():
                    seconds[name] += contender.answer.seconds
                    tokens[name] += len(contender.answer.tokens) - 1
            if 0 in tokens.values():
                continue
            plain = seconds[_PLAIN] / tokens[_PLAIN]
            speeds = {name: plain / (seconds[name] / tokens[name]) for name in running}
            rechecked = {n: e.answer.stats.rechecked / tokens[n] * 2 for n, e in running.items()}
            answers.append({"workload": prompt.workload, "speed": speeds, "rechecked": rechecked})
            print(prompt.workload, {name: round(speed, 3) for name, speed in speeds.items()})
    show(answers)
    if how.json:
        found = {"models": how.models, "summary": summary(answers), "answers": answers}
        how.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
