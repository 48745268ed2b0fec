"""The plots with lines: costs by width, speed-up by draft length, acceptance by position."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from statistics import geometric_mean
from typing import TYPE_CHECKING, Any

from spec_local.bench.record.result import Contender, Result
from spec_local.bench.report.sections import main_temperature
from spec_local.bench.report.tables import temperature_name
from spec_local.bench.report.themes import Theme
from spec_local.control.costs import MAX_WIDTH
from spec_local.drafters import AUTO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEWEST = 20
"""Drafts that must have reached a position before its acceptance is drawn."""

_SIZE = (7.2, 4.2)
"""Inches."""


def draw_costs(figure: Figure, result: Result, theme: Theme) -> bool:
    """V(w) / V(1), between the ideal, where further tokens are free, and no gain at all."""
    known = {model: _by_number(curve) for model, curve in result.curves.items() if "1" in curve}
    if not known:
        return False
    axes = _axes(figure)
    widest = max(max(curve) for curve in known.values())
    for (model, curve), color in zip(known.items(), theme.palette, strict=False):
        ratios = [seconds / curve[1] for seconds in curve.values()]
        label = f"{model} ({curve[1] * 1e3:.0f} ms for one)"
        axes.plot(list(curve), ratios, color=color, marker="o", markersize=4, label=label)
    top = max(seconds / curve[1] for curve in known.values() for seconds in curve.values())
    axes.plot([1, widest], [1, widest], color=theme.neutral, linestyle="--", label="as one by one")
    axes.axhline(1, color=theme.neutral, linestyle=":", label="ideal: further tokens are free")
    axes.set_ylim(0, top * 1.08)
    axes.set_xlabel("width (tokens evaluated at once)")
    axes.set_ylabel("time of an evaluation / time of one token")
    axes.legend()
    return True


def draw_lengths(figure: Figure, result: Result, theme: Theme) -> bool:
    """Speed-up against a fixed k: measured, by formula and replayed; the level of `auto`."""
    temperature = main_temperature(result)
    means = {o.contender: o.speedup for o in result.overall if o.temperature == temperature}
    fixed = [c for c in result.contenders if c.k is not None and c.name in means]
    lines = _replayed(result, temperature)
    if not fixed and not lines:
        return False
    axes = _axes(figure)
    colors = theme.colors(result.contenders)
    drafters = dict.fromkeys([*lines, *(contender.drafter for contender in fixed)])
    for drafter, style in zip(drafters, ("-", "--", "-.", ":"), strict=False):
        same = [c.name for c in fixed if c.drafter == drafter and c.name in colors]
        color = colors[same[0]] if same else theme.neutral
        measured = {c.k: means[c.name] for c in fixed if c.drafter == drafter}
        predicted = {c.k: _predicted(result, c, temperature) for c in fixed if c.drafter == drafter}
        series: dict[str, tuple[Mapping[Any, float], str, str]] = {
            f"{drafter}, replayed with any k": (lines.get(drafter, {}), style, ""),
            f"{drafter}, measured": (measured, "", "o"),
            f"{drafter}, by formula": ({k: p for k, p in predicted.items() if p}, "", "x"),
        }
        for label, (points, line, marker) in series.items():
            if points:
                axes.plot(
                    list(points),
                    list(points.values()),
                    color=color,
                    linestyle=line,
                    marker=marker,
                    markersize=8,
                    label=label,
                )
    if AUTO in means:
        axes.axhline(means[AUTO], color=colors[AUTO], linewidth=2, label=AUTO)
    axes.axhline(1, color=theme.ink, linewidth=1)
    axes.set_xlabel("k (tokens drafted per round)")
    axes.set_ylabel("speed-up over plain decoding (times)")
    axes.set_title(f"{temperature_name(temperature)}, geometric mean over workloads", fontsize=10)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return True


def _predicted(result: Result, contender: Contender, temperature: float) -> float | None:
    """The formula's speed-up, over all workloads."""
    cells = result.cells_of(contender.name, temperature)
    found = [cell.predicted for cell in cells if cell.predicted]
    return geometric_mean(found) if found else None


def draw_acceptance(figure: Figure, result: Result, theme: Theme) -> bool:
    """How often a draft's first, second, third token is accepted, over all workloads."""
    temperature = main_temperature(result)
    runs = [r for r in result.runs if r.temperature == temperature]
    colors = theme.colors(result.contenders)
    lines = {}
    for name in colors:
        offered = _sums(r.offered_at for r in runs if r.contender == name)
        accepted = _sums(r.accepted_at for r in runs if r.contender == name)
        pairs = zip_longest(accepted, offered, fillvalue=0)
        lines[name] = {i: a / o for i, (a, o) in enumerate(pairs, 1) if o >= _FEWEST}
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        return False
    axes = _axes(figure)
    for (name, line), marker in zip(lines.items(), "osD^vPX*" * len(lines), strict=False):
        axes.plot(
            list(line),
            list(line.values()),
            color=colors[name],
            marker=marker,
            markersize=5,
            label=name,
        )
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("position in the draft (tokens)")
    axes.set_ylabel("accepted / offered")
    axes.set_title(f"{temperature_name(temperature)}, all workloads", fontsize=10)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return True


def _axes(figure: Figure) -> Axes:
    from matplotlib.ticker import MaxNLocator

    figure.set_size_inches(*_SIZE)
    axes = figure.subplots()
    axes.grid(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes


def _replayed(result: Result, temperature: float) -> dict[str, dict[int, float]]:
    """Speed-up by drafter and k: geometric means over the workloads of `Bound.statics`."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for bound in result.bounds:
        if bound.temperature == temperature:
            for name, speedup in bound.statics.items():
                drafter, _space, k = name.rpartition(" ")
                if k.isdecimal() and speedup > 0:
                    found[drafter][int(k)].append(speedup)
    return {
        drafter: {0: 1.0} | {k: geometric_mean(values) for k, values in sorted(line.items())}
        for drafter, line in found.items()
    }


def _by_number(curve: Mapping[str, float]) -> dict[int, float]:
    """Without the wide evaluations that read a prompt."""
    widths = ((int(width), seconds) for width, seconds in curve.items())
    return dict(sorted(pair for pair in widths if pair[0] <= MAX_WIDTH))


def _sums(rows: Iterable[tuple[int, ...]]) -> list[int]:
    """Position by position; a shorter row has nothing at the end."""
    return [sum(column) for column in zip_longest(*rows, fillvalue=0)]
