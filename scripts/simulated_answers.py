"""Short answers on machines that are only numbers: how near the controller is to what can be had.

    python -m scripts.simulated_answers --seed "" --seed 1 --seed 2 \\
        --json docs/controller/simulated.json
    python -m scripts.simulated_answers --show docs/controller/simulated.json

Costs are measured ones (Qwen2.5-Coder 1.5B in three quantizations with its 0.5B draft on two cores
of a Xeon, and one of them on an EPYC) and those of a fast device. Prompts have 150 or 1,000 tokens,
answers 64 and 200, of five kinds. A controller writes thirty answers; the first ten only teach it.
Shares are geometric means of its speed over that of

    the clairvoyant, who knows every token's acceptance rate (`control/simulation.py`)
    the best static choice, which is chosen anew for each answer, when it is over

`told` is the first of them for a controller that is told, before each answer, how sure the draft
model will be in it: the most that any look at the prompt could tell. The slowest
answer is against plain decoding.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from statistics import geometric_mean
from typing import NamedTuple

import numpy as np

from scripts.kept import measure_or_show
from spec_local.control.controller import Controller
from spec_local.control.costs import MAX_WIDTH
from spec_local.control.simulation import MODEL, SimulatedMachine, Text, clairvoyant, run, static
from tests.machines import TEXTS, controller, text


class Costs(NamedTuple):
    """Milliseconds of a machine."""

    verify: Mapping[int, float]
    """By width."""
    draft: float
    """Of a token on the draft model."""
    catch_up: float
    """Of every further one in the same evaluation."""
    prompt: int = 150
    """Tokens of every prompt."""


MACHINES = {
    "Q4_K_M": Costs({1: 57, 2: 90, 4: 103, 8: 185, 16: 219, 33: 440}, 24, 2.5),
    "Q8_0": Costs({1: 101, 2: 105, 4: 138, 8: 205, 16: 340, 33: 680}, 24, 2.5),
    "F16": Costs({1: 147, 2: 166, 4: 194, 8: 257, 16: 375, 33: 750}, 24, 2.5),
    "Q8_0, EPYC": Costs(
        {1: 44, 2: 124, 3: 134, 4: 154, 6: 238, 8: 160, 12: 200, 16: 249, 24: 338, 33: 450},
        8.4,
        1.9,
    ),
    "GPU 3ms": Costs({1: 3.0, 2: 3.05, 4: 3.1, 8: 3.3, 16: 3.6, 33: 4.2}, 0.8, 0.01),
}
MACHINES |= {f"{name}, long prompt": MACHINES[name]._replace(prompt=1000) for name in [*MACHINES]}
LENGTHS = (64, 200)
KS = (1, 2, 3, 4, 6, 8, 12, 16)
TEACHING, JUDGED = 10, 20
SAMPLE = 24
"""How many of an answer's confidences are told; more are forgotten (`Tuning.text_memory`)."""


class Found(NamedTuple):
    """What one machine and seed showed."""

    machine: str
    seed: str
    of_clairvoyant: float
    told: float
    of_best_static: float
    slowest: float
    """Speed of the slowest answer against plain decoding, those that teach left out."""
    first: float
    """Speed of the slowest first answer."""


class Speeds(NamedTuple):
    """Of one answer, against plain decoding."""

    learned: float
    told: float
    clairvoyant: float
    best_static: float


class Told(Controller):
    """One that is told how sure its draft model will be."""

    coming: Sequence[float] = ()
    """Confidences from all over the answer that begins next."""

    def begin(self, max_tokens: int, kind: str = "") -> None:
        """As every controller does, and then be told."""
        super().begin(max_tokens, kind)
        for confidence in self.coming:
            self.drafters[MODEL].acceptance.drafted(confidence)


def machine_of(costs: Costs) -> SimulatedMachine:
    """Widths between those measured lie on a line."""
    widths = sorted(costs.verify)
    known = [costs.verify[width] for width in widths]
    verify = [float(np.interp(width, widths, known)) / 1e3 for width in range(1, MAX_WIDTH + 1)]
    return SimulatedMachine([0.0, *verify], costs.draft / 1e3, costs.catch_up / 1e3, costs.prompt)


def best_static(machine: SimulatedMachine, answer: Text, length: int) -> float:
    """Speed of the best drafter and k for this answer, or of none."""
    choices = (static(drafter, k, machine, answer, length) for drafter in answer for k in KS)
    return max(1.0, *(choice.speedup for choice in choices))


def measure(name: str, seed: str) -> Found:
    """All kinds of text in all lengths on one machine, each with a controller of its own."""
    machine = machine_of(MACHINES[name])
    judged, firsts = list[Speeds](), list[float]()
    for length in LENGTHS:
        for kind in TEXTS:
            rng = random.Random(f"{seed}{name}{length}{kind}")
            learned, new = controller(machine), controller(machine)
            told = Told(new.target, new.drafters)
            for number in range(TEACHING + JUDGED):
                answer = text(rng, kind, length)
                speed = run(learned, machine, answer, length).speedup
                told.coming = answer[MODEL].confidences(0, length)[:: length // SAMPLE]
                speed_told = run(told, machine, answer, length).speedup
                if number == 0:
                    firsts.append(speed)
                if number >= TEACHING:
                    bound = clairvoyant(machine, answer, length, windowed=True).speedup
                    fixed = best_static(machine, answer, length)
                    judged.append(Speeds(speed, speed_told, bound, fixed))
    return Found(
        name,
        seed,
        geometric_mean(each.learned / each.clairvoyant for each in judged),
        geometric_mean(each.told / each.clairvoyant for each in judged),
        geometric_mean(each.learned / each.best_static for each in judged),
        min(each.learned for each in judged),
        min(firsts),
    )


def measure_all(how: argparse.Namespace) -> list[Found]:
    """Every machine with every seed."""
    return [measure(name, seed) for seed in how.seed or ["0"] for name in MACHINES]


def table(found: Sequence[Found]) -> list[str]:
    """A row for each machine: geometric means over the seeds, and of all seeds the slowest."""
    rows = [
        "| machine | of the clairvoyant's speed | told | of the best static choice's | "
        "slowest answer | slowest first answer |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(each.machine for each in found):
        here = [each for each in found if each.machine == name]
        bound = geometric_mean(each.of_clairvoyant for each in here)
        fixed = geometric_mean(each.of_best_static for each in here)
        slowest, first = min(each.slowest for each in here), min(each.first for each in here)
        told = geometric_mean(each.told for each in here)
        rows.append(
            f"| {name} | {bound:.2f} | {told:.2f} | {fixed:.2f} | {slowest:.2f} | {first:.2f} |"
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", action="append", help="may be given several times")
    measure_or_show(parser, Found, measure_all, table)


if __name__ == "__main__":
    main()
