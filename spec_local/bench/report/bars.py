"""The plot of speed-ups: a group of bars for each workload, a bar for each contender."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spec_local.bench.record.result import PLAIN, Result
from spec_local.bench.report.tables import ALL, temperature_name
from spec_local.bench.report.themes import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_HATCHES = ("", "////", "xxxx")
"""Tell bars apart when the colours come round again."""

_BAR = 0.19
"""Inches."""


def draw_speedups(figure: Figure, result: Result, theme: Theme) -> bool:
    """One panel for each temperature; error bars where there are errors."""
    shown = {o.contender for o in result.overall if o.contender != PLAIN}
    contenders = [c.name for c in result.contenders if c.name in shown]
    temperatures = [
        t for t in result.settings.temperatures if any(o.temperature == t for o in result.overall)
    ]
    if not contenders or not temperatures:
        return False
    groups = [*result.settings.workloads, ALL]
    figure.set_size_inches(9, 1.4 + _BAR * len(groups) * (len(contenders) + 1))
    panels = figure.subplots(1, len(temperatures), sharey=True, squeeze=False)[0]
    for axes, temperature in zip(panels, temperatures, strict=True):
        _panel(axes, result, theme, groups, contenders, temperature)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    return True


def _panel(
    axes: Axes,
    result: Result,
    theme: Theme,
    groups: list[str],
    contenders: list[str],
    temperature: float,
) -> None:
    found = {
        (c.workload, c.contender): (c.speedup.median, c.speedup.error)
        for c in result.cells
        if c.temperature == temperature
    } | {
        (ALL, o.contender): (o.speedup, o.error)
        for o in result.overall
        if o.temperature == temperature
    }
    colors = theme.colors(result.contenders)
    height = 1 / (len(contenders) + 1)
    for i, name in enumerate(contenders):
        places = [g for g, group in enumerate(groups) if (group, name) in found]
        values = [found[groups[g], name] for g in places]
        speeds = [speed for speed, _error in values]
        errors = [error or 0.0 for _speed, error in values]
        axes.barh(
            [g + (i - (len(contenders) - 1) / 2) * height for g in places],
            speeds,
            height * 0.9,
            label=name,
            color=colors[name],
            edgecolor=theme.paper,
            linewidth=0,
            hatch=_HATCHES[i // len(theme.palette) % len(_HATCHES)],
            xerr=[
                [s * -math.expm1(-e) for s, e in zip(speeds, errors, strict=True)],
                [s * math.expm1(e) for s, e in zip(speeds, errors, strict=True)],
            ],
            error_kw={"ecolor": theme.ink, "elinewidth": 0.9},
        )
    axes.axvline(1, color=theme.ink, linewidth=1)
    axes.axhline(len(groups) - 1.5, color=theme.faint, linewidth=1)
    axes.set_yticks(range(len(groups)), groups)
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_title(temperature_name(temperature), fontsize=10)
    axes.set_xlabel("speed-up over plain decoding (times)")
