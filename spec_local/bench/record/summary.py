"""From runs to cells: ratios pair by pair, medians, and how much of a difference is noise."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, geometric_mean, median

from spec_local.bench.record.result import PLAIN, Cell, Contender, Overall, Run, Spread
from spec_local.control.advice import expected_speedup
from spec_local.control.costs import CostCurve
from spec_local.drafters import parted

_Z = 1.959964
"""Standard deviations within which 95 % of a normal distribution lie."""

_STUDENT = (
    12.7062,
    4.3027,
    3.1824,
    2.7764,
    2.5706,
    2.4469,
    2.3646,
    2.3060,
    2.2622,
    2.2281,
    2.2010,
    2.1788,
    2.1604,
    2.1448,
    2.1314,
    2.1199,
    2.1098,
    2.1009,
    2.0930,
    2.0860,
    2.0796,
    2.0739,
    2.0687,
    2.0639,
    2.0595,
    2.0555,
    2.0518,
    2.0484,
    2.0452,
    2.0423,
)
"""The same of Student's distribution, for 1, 2 … 30 degrees of freedom."""

_UNKNOWN_ERROR = 0.05
"""Taken for the error of a logarithm where nothing was measured twice: what one pass on a shared
machine has been seen to be off by."""

Place = tuple[str, int, float, int, int]
"""Where runs are compared with each other: workload, prompt, temperature, repeat, heat."""


def place(run: Run) -> Place:
    """What a run is compared with plain decoding at."""
    return (run.workload, run.prompt, run.temperature, run.repeat, run.heat)


def cells(
    runs: Sequence[Run],
    contenders: Sequence[Contender],
    target: CostCurve,
    drafts: Sequence[CostCurve],
) -> list[Cell]:
    """Every contender in every workload at every temperature, as far as it ran there."""
    written = [run for run in runs if run.tokens > 0]
    by_contender: dict[str, dict[Place, Run]] = defaultdict(dict)
    for run in written:
        by_contender[run.contender][place(run)] = run
    plain = by_contender[PLAIN]
    errors = _errors(written, plain)
    found = []
    for contender in contenders:
        own = by_contender[f"{contender.drafter} plain"] if contender.is_peer else {}
        groups: dict[tuple[str, float], list[Run]] = defaultdict(list)
        for where, run in by_contender[contender.name].items():
            if where in plain:
                groups[run.workload, run.temperature].append(run)
        for (_workload, temperature), group in groups.items():
            deviation = errors.get((temperature, contender.name))
            found.append(_cell(group, plain, own, deviation, contender, target, drafts))
    return found


def _cell(
    runs: Sequence[Run],
    plain: Mapping[Place, Run],
    own: Mapping[Place, Run],
    deviation: float | None,
    contender: Contender,
    target: CostCurve,
    drafts: Sequence[CostCurve],
) -> Cell:
    first = runs[0]
    ratios = [_ratio(run, plain[place(run)]) for run in runs]
    firsts = [run for run in runs if run.prompt_seconds is not None]
    seconds = sum(run.seconds for run in runs)
    rounds = sum(run.rounds for run in runs)
    joules = [run.joules for run in runs if run.joules is not None]
    tokens = sum(run.tokens for run in runs)
    drafted = sum(run.drafted for run in runs)
    return Cell(
        workload=first.workload,
        temperature=first.temperature,
        contender=contender.name,
        speedup=Spread(
            median=median(ratios),
            low=min(ratios),
            high=max(ratios),
            pairs=len(ratios),
            error=None if deviation is None else deviation / math.sqrt(len(ratios)),
        ),
        tokens_per_second=median(run.tokens_per_second for run in runs),
        first_token_ratio=_first_token_ratio(firsts, plain),
        first_token_seconds=known_median(run.prompt_seconds for run in firsts),
        acceptance_rate=sum(run.accepted for run in runs) / drafted if drafted else None,
        mean_accepted_length=tokens / rounds if rounds else None,
        shares={} if contender.is_peer else _shares(runs, seconds),
        overhead_us=sum(r.overhead_seconds for r in runs) / rounds * 1e6 if rounds else None,
        joules_per_token=sum(joules) / tokens if joules and len(joules) == len(runs) else None,
        predicted=_predicted(runs, contender, target, drafts),
        own_speedup=known_median(_ratio(r, own[place(r)]) for r in runs if place(r) in own),
        usual_overhead_us=known_median(run.overhead_us for run in runs),
    )


def _ratio(run: Run, plain: Run) -> float:
    return run.tokens_per_second / plain.tokens_per_second


def known_median(values: Iterable[float | None]) -> float | None:
    """The median of the values that are known; None without any."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _first_token_ratio(runs: Sequence[Run], plain: Mapping[Place, Run]) -> float | None:
    return known_median(
        run.prompt_seconds / other
        for run in runs
        if run.prompt_seconds is not None and (other := plain[place(run)].prompt_seconds)
    )


def _shares(runs: Sequence[Run], seconds: float) -> dict[str, float]:
    parts = {
        "draft": sum(run.draft_seconds for run in runs) / seconds,
        "verify": sum(run.verify_seconds for run in runs) / seconds,
        "sampling": sum(run.sample_seconds for run in runs) / seconds,
    }
    return parts | {"other": 1.0 - sum(parts.values())}


def _predicted(
    runs: Sequence[Run], contender: Contender, target: CostCurve, drafts: Sequence[CostCurve]
) -> float | None:
    """By acceptance and costs alone, for a draft model that drafts k tokens in every round."""
    name, number = parted(contender.drafter)
    if name != "model" or contender.k is None or number > len(drafts):
        return None
    rate = token_acceptance(runs)
    return None if rate is None else expected_speedup(target, drafts[number - 1], contender.k, rate)


def token_acceptance(runs: Sequence[Run]) -> float | None:
    """Probability that a drafted token is accepted if those before it were."""
    reached = accepted = 0
    for run in runs:
        before = run.offered_at[:1]
        for offered, right in zip(run.offered_at, run.accepted_at, strict=True):
            reached += min(offered, *before)
            accepted += right
            before = (right,)
    return accepted / reached if reached else None


def _errors(runs: Sequence[Run], plain: Mapping[Place, Run]) -> dict[tuple[float, str], float]:
    """By temperature and contender, what one pair's logarithm may be off by, at 95 %.

    The same prompt run again differs by noise alone; that is pooled over all prompts.
    """
    again: dict[tuple[float, str], dict[tuple[str, int], list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for run in runs:
        if place(run) in plain:
            ratio = math.log(_ratio(run, plain[place(run)]))
            again[run.temperature, run.contender][run.workload, run.prompt].append(ratio)
    found = {}
    for key, prompts in again.items():
        degrees = sum(len(ratios) - 1 for ratios in prompts.values())
        if degrees > 0:
            squares = sum(
                (ratio - fmean(ratios)) ** 2 for ratios in prompts.values() for ratio in ratios
            )
            found[key] = student(degrees) * math.sqrt(squares / degrees)
    return found


def student(degrees: int) -> float:
    """Student's t of 95 %, two-sided; exact to four places for every number of degrees."""
    if degrees <= len(_STUDENT):
        return _STUDENT[degrees - 1]
    z = _Z  # Cornish-Fisher expansion in 1 / degrees (Abramowitz and Stegun 26.7.5)
    first = (z**3 + z) / (4 * degrees)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    return z + first + second + third


def overall(found: Sequence[Cell]) -> list[Overall]:
    """Every contender over all workloads, at every temperature."""
    groups: dict[tuple[float, str], list[Cell]] = defaultdict(list)
    for cell in found:
        groups[cell.temperature, cell.contender].append(cell)
    return [_overall(group) for group in groups.values()]


def _overall(group: Sequence[Cell]) -> Overall:
    worst = min(group, key=lambda cell: cell.speedup.median)
    speedup = geometric_mean(cell.speedup.median for cell in group)
    errors = [cell.speedup.error for cell in group if cell.speedup.error is not None]
    error = math.sqrt(sum(e * e for e in errors)) / len(group) if errors else None
    own = [cell.own_speedup for cell in group if cell.own_speedup is not None]
    return Overall(
        temperature=worst.temperature,
        contender=worst.contender,
        speedup=speedup,
        worst=worst.speedup.median,
        worst_workload=worst.workload,
        error=error,
        verdict=verdict(speedup, error),
        own_speedup=geometric_mean(own) if own else None,
    )


def verdict(speedup: float, error: float | None) -> str:
    """faster or slower than what it is compared with, or the same within what noise does."""
    beyond = abs(math.log(speedup)) - (_UNKNOWN_ERROR if error is None else error)
    if beyond <= 0:
        return "same"
    return "faster" if speedup > 1 else "slower"
