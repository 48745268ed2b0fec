"""Benchmarks of several targets as one table: what `auto` reached or could have, and others did.

    python -m scripts.benchmarks_abreast docs/benchmarks/epyc-Q4_K_M-200.json …

At the least temperature that was measured, but for one row; means over workloads are geometric. The
schedules in hindsight are replayed without noise, by the costs that the benchmark learned
(`bench/hindsight`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean

from spec_local.bench.record.result import Result

AUTO, PEER, SIMPLE = "auto", "llama-server", ("lookup k=3", "model k=3")
SLOWER = 0.98
"""Under this a cell counts as slower than plain decoding."""


def figures(result: Result) -> Mapping[str, str]:
    """The column of one target, by row."""
    at, *hotter = sorted({each.temperature for each in result.overall})
    mean = {each.contender: each.speedup for each in result.overall if each.temperature == at}
    bounds = [bound for bound in result.bounds if bound.temperature == at]
    cells = {
        name: {cell.workload: cell.speedup.median for cell in result.cells_of(name, at)}
        for name in mean
    }
    mine = cells[AUTO]
    first = [
        all(speedup >= each[workload] for each in cells.values())
        for workload, speedup in mine.items()
    ]
    peers = [speedup for name, speedup in mean.items() if name.startswith(PEER)]
    hot = {
        f"`auto` at temperature {each.temperature:g}": each.speedup
        for each in result.overall
        if each.contender == AUTO and each.temperature in hotter
    }
    found = {
        "`auto`": mean[AUTO],
        **hot,
        "who knew every token's chance": geometric_mean(each.clairvoyant for each in bounds),
        "the best drafter and k of each answer, known when it is over": geometric_mean(
            each.best_static_speedup for each in bounds
        ),
        **{name: mean[name] for name in SIMPLE if name in mean},
        **({"the best of llama-server's": max(peers)} if peers else {}),
        "the slowest workload of `auto`": min(mine.values()),
    }
    slower = sum(speedup < SLOWER for speedup in mine.values())
    return {row: f"{each:.2f}" for row, each in found.items()} | {
        f"workloads under {SLOWER}": f"{slower} of {len(mine)}",
        "workloads in which nobody is faster": f"{sum(first)} of {len(first)}",
    }


def table(results: Sequence[Result]) -> str:
    """Markdown: a column for each benchmark of the same kind, named by the type of its target."""
    columns = [figures(result) for result in results]
    names = [Path(result.target.name).stem.rpartition("-")[2] for result in results]
    lines = [["times plain decoding", *names], ["---"] * (len(names) + 1)]
    lines += [[row, *(column[row] for column in columns)] for row in columns[0]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="+")
    print(table([Result.load(path) for path in parser.parse_args().file]))
