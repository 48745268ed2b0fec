"""What exact modes cost: each against free decoding, token by token in turn.

    python scripts/exact_speed.py TARGET [DRAFT] [--modes certified,guard] [--tokens 64] [--json F]

Free and exact contexts of the same file are opened side by side; for every prompt all of them
write an answer in lockstep, once forwards and once backwards. Medians over prompts of the ratio of
seconds per token, free plain decoding being 1.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from spec_local.bench.run.energy import EnergyMeter
from spec_local.bench.run.race import Entrant, race
from spec_local.exact.modes import Exactness, exact_options
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.machine.profile import ProfileStore
from spec_local.models.loading import load_models, no_progress
from spec_local.models.registry import load_registry
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.workloads.workloads import bundled, choose

_PLAIN = "free plain"


def entrants(
    names: list[str], modes: list[str], repack: bool | None, stack: ExitStack
) -> dict[str, Entrant]:
    """Plain decoding and `auto`, free and in every mode."""
    registry, store, found = load_registry(), ProfileStore.of_user(), {}
    for mode in ("free", *modes):
        options = LoadOptions(repack=repack)
        if mode != "free":
            options = exact_options(mode, options)
        models = load_models(names, registry, options, no_progress, stack)
        for drafter in ("none", "auto"):
            target, *drafts = (stack.enter_context(Session(model)) for model in models)
            exact = None
            if mode != "free":
                exact = Exactness.of(mode, target, store, no_progress)
            draft = drafts[0] if drafts and drafter == "auto" else None
            runner = Runner(target, drafter, draft=draft, profiles=store, exact=exact)
            stack.enter_context(runner)
            name = f"{mode} {'plain' if drafter == 'none' else drafter}"
            found[name] = Entrant(name, runner, EnergyMeter())
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--modes", default="certified")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--per-workload", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--no-repack", action="store_true")
    parser.add_argument("--json", type=Path)
    how = parser.parse_args()
    sampling = Sampling(temperature=how.temperature, seed=1)
    answers: list[dict[str, object]] = []
    with ExitStack() as stack:
        repack = False if how.no_repack else None
        running = entrants(how.models, how.modes.split(","), repack, stack)
        for prompt in choose(bundled(), [], how.per_workload):
            messages = [{"role": "user", "content": prompt.turns[0]}]
            context = running[_PLAIN].runner.tokenize(messages)
            seconds = dict.fromkeys(running, 0.0)
            tokens = dict.fromkeys(running, 0)
            for turned in (False, True):
                for entrant in running.values():
                    entrant.forget(0, 0)
                race(list(running.values()), context, how.tokens, sampling, turned)
                for name, entrant in running.items():
                    seconds[name] += entrant.answer.seconds
                    tokens[name] += len(entrant.answer.tokens) - 1
            if 0 in tokens.values():
                continue
            plain = seconds[_PLAIN] / tokens[_PLAIN]
            speeds = {name: plain / (seconds[name] / tokens[name]) for name in running}
            rechecked = {n: e.answer.stats.rechecked / tokens[n] * 2 for n, e in running.items()}
            answers.append({"workload": prompt.workload, "speed": speeds, "rechecked": rechecked})
            print(prompt.workload, {name: round(speed, 3) for name, speed in speeds.items()})
    medians = {n: median(a["speed"][n] for a in answers) for n in running}  # type: ignore[index]
    for name, speed in medians.items():
        spread = sorted(a["speed"][name] for a in answers)  # type: ignore[index]
        print(f"{name:18} {speed:.3f}  ({spread[0]:.2f} to {spread[-1]:.2f})")
    if how.json:
        found = {"models": how.models, "medians": medians, "answers": answers}
        how.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
