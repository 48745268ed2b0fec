"""Benchmarks of several targets as one table: what `auto` reached or could have, and others did.

    python -m scripts.benchmarks_abreast docs/benchmarks/epyc-Q4_K_M-200.json …

Greedy but for one row; means over workloads are geometric. The schedules in hindsight are replayed
without noise, by the costs that the benchmark learned (`bench/hindsight`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean

from spec_local.bench.record.result import Result

AUTO, PEER = "auto", "llama-server"
SLOWER = 0.98
"""Under this a cell counts as slower than plain decoding."""


def figures(result: Result) -> Mapping[str, str]:
    """The column of one target, by row."""
    mean = {(each.contender, each.temperature): each.speedup for each in result.overall}
    greedy = {name: speedup for (name, temperature), speedup in mean.items() if temperature == 0}
    bounds = [bound for bound in result.bounds if bound.temperature == 0]
    cells = {
        name: {cell.workload: cell.speedup.median for cell in result.cells_of(name, 0.0)}
        for name in greedy
    }
    mine = cells[AUTO]
    first = [
        all(speedup >= each[workload] for each in cells.values())
        for workload, speedup in mine.items()
    ]
    found = {
        "`auto`": greedy[AUTO],
        "`auto` at temperature 0.8": mean.get((AUTO, 0.8)),
        "who knew every token's chance": geometric_mean(each.clairvoyant for each in bounds),
        "the best drafter and k of each answer, known when it is over": geometric_mean(
            each.best_static_speedup for each in bounds
        ),
        "lookup k=3": greedy["lookup k=3"],
        "model k=3": greedy["model k=3"],
        "the best of llama-server's": max(
            speedup for name, speedup in greedy.items() if name.startswith(PEER)
        ),
        "the slowest workload of `auto`": min(mine.values()),
    }
    told = {row: "\N{EN DASH}" if each is None else f"{each:.2f}" for row, each in found.items()}
    slower = sum(speedup < SLOWER for speedup in mine.values())
    return told | {
        f"workloads under {SLOWER}": f"{slower} of {len(mine)}",
        "workloads in which nobody is faster": f"{sum(first)} of {len(first)}",
    }


def table(results: Sequence[Result]) -> str:
    """Markdown: a column for each benchmark, named by the type of its target."""
    columns = [figures(result) for result in results]
    names = [Path(result.target.name).stem.rpartition("-")[2] for result in results]
    lines = [["times plain decoding", *names], ["---"] * (len(names) + 1)]
    lines += [[row, *(column[row] for column in columns)] for row in columns[0]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="+")
    print(table([Result.load(path) for path in parser.parse_args().file]))
