"""A benchmark of many drafters as one table: what each accepts, how far a round gets, how fast.

    spec-local bench … --contender model=4 --contender tree=8 … --json FILE
    python -m scripts.drafter_table FILE

Geometric means over workloads; acceptance is the mean of the workloads where anything was drafted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean, geometric_mean

from spec_local.bench.record.result import PLAIN, Result


def table(result: Result) -> str:
    """Markdown: a row for each contender and temperature, the fastest first."""
    temperatures = sorted({cell.temperature for cell in result.cells})
    lines = [
        "| drafter | temperature | accepted | tokens a round | times plain | best | worst |",
        "|---|---|---|---|---|---|---|",
    ]
    for temperature in temperatures:
        rows = []
        for name in dict.fromkeys(cell.contender for cell in result.cells):
            cells = result.cells_of(name, temperature)
            if name == PLAIN or not cells:
                continue
            rates = [c.acceptance_rate for c in cells if c.acceptance_rate is not None]
            lengths = [c.mean_accepted_length for c in cells if c.mean_accepted_length]
            speedups = {cell.workload: cell.speedup.median for cell in cells}
            best, worst = (pick(speedups, key=lambda w: speedups[w]) for pick in (max, min))
            speed = geometric_mean(speedups.values())
            accepted = f"{fmean(rates):.0%}" if rates else "-"
            rows.append(
                (
                    speed,
                    f"| {name} | {temperature:g} | {accepted} | {geometric_mean(lengths):.2f} "
                    f"| {speed:.2f} | {speedups[best]:.2f}, {best} "
                    f"| {speedups[worst]:.2f}, {worst} |",
                )
            )
        lines += [row for _speed, row in sorted(rows, reverse=True)]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    print(table(Result.load(parser.parse_args().file)))
