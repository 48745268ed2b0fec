"""Speed on a busy machine: ways to wait, in turn, beside processes that only compute.

    python scripts/busy_machine.py --competitors 0,1,2,4 --rounds 3 --json docs/threads.json
    python scripts/busy_machine.py --show docs/threads.json

Every measurement is a process of its own: it loads the model and writes an answer three times, of
which the median counts. Printed are, for each number of competitors, tokens per second and seconds
to the first token, medians over the rounds, then least and greatest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TypedDict

from spec_local.bench.run.environment import this_machine
from spec_local.llama.options import LoadOptions

SETTINGS = {
    "by the load (ours)": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "libgomp's default": {"GOMP_SPINCOUNT": "300000"},
    "long spinning": {"GOMP_SPINCOUNT": "10000000"},
}
"""Variables of each way to wait."""

_ANSWER = """
import json, sys
from statistics import median
from spec_local import Runner, Sampling
prompt = [{"role": "user", "content": "Why is the sky blue?"}]
with Runner.load(target=sys.argv[1], drafter="none") as runner:
    found = []
    for _ in range(3):
        runner.target.truncate(0)
        done = runner.complete(prompt, max_tokens=40, sampling=Sampling(temperature=0))
        found.append((done.stats.tokens_per_second, done.stats.prompt_seconds))
print(json.dumps([median(each) for each in zip(*found)]))
"""


class Measured(TypedDict):
    """One process."""

    competitors: int
    setting: str
    tokens_per_second: float
    first_token_seconds: float


@contextmanager
def competitors(count: int) -> Iterator[None]:
    """So many processes that only compute."""
    loop = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(loop) for _ in range(count)]
    try:
        yield
    finally:
        for each in running:
            each.kill()
            each.wait()


def measure(model: str, setting: str) -> tuple[float, float]:
    """Tokens per second and seconds to the first token, in a process of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", _ANSWER, model],
        env=clean | SETTINGS[setting],
        check=True,
        capture_output=True,
        text=True,
    )
    speed, first = json.loads(done.stdout)
    return speed, first


def table(found: Sequence[Measured]) -> list[str]:
    """A row for each way to wait: for each number of competitors, speed and first token."""
    counts = sorted({each["competitors"] for each in found})
    rows = []
    for setting in dict.fromkeys(each["setting"] for each in found):
        cells = []
        for count in counts:
            here = [e for e in found if (e["competitors"], e["setting"]) == (count, setting)]
            speeds = [each["tokens_per_second"] for each in here]
            first = median(each["first_token_seconds"] for each in here)
            spread = f"{min(speeds):.0f} to {max(speeds):.0f}"
            cells.append(f"{median(speeds):.0f} ({spread}); {first:.1f} s")
        rows.append(f"| {setting} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--competitors", default="0,1,2,4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=Path)
    how = parser.parse_args()
    if how.show:
        print("\n".join(table(json.loads(how.show.read_text())["found"])))
        return
    found: list[Measured] = []
    for count in map(int, how.competitors.split(",")):
        for turn in range(how.rounds):
            settings = list(SETTINGS)
            for setting in settings if turn % 2 == 0 else settings[::-1]:
                with competitors(count):
                    speed, first = measure(how.model, setting)
                found.append(
                    {
                        "competitors": count,
                        "setting": setting,
                        "tokens_per_second": round(speed, 2),
                        "first_token_seconds": round(first, 3),
                    }
                )
                print(count, setting, f"{speed:.1f} tokens/s, first after {first:.2f} s")
    print("\n".join(table(found)))
    if how.json:
        machine = this_machine(LoadOptions())
        facts = {"cpu": machine.cpu, "cores": machine.cores, "model": how.model}
        how.json.write_text(json.dumps({**facts, "found": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
