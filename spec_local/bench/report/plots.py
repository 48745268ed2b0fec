"""A benchmark as SVG plots, each for light and for dark screens; needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from spec_local.bench.record.result import Result
from spec_local.bench.report import curves
from spec_local.bench.report.bars import draw_speedups
from spec_local.bench.report.themes import THEMES, Theme
from spec_local.errors import ConfigError, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {
    "speedup": "Speed-up by workload and contender",
    "cost": "What checking several tokens at once costs",
    "length": "Speed-up by tokens drafted per round",
    "acceptance": "Acceptance by drafted position",
}
"""What every plot shows, by the beginning of its file's name."""

_PLOTS: dict[str, Callable[[Figure, Result, Theme], bool]] = {
    "speedup": draw_speedups,
    "cost": curves.draw_costs,
    "length": curves.draw_lengths,
    "acceptance": curves.draw_acceptance,
}
"""Each draws into a figure and tells whether there was anything to draw."""


def require_matplotlib() -> None:
    """Raise ConfigError where it is missing."""
    require(
        find_spec("matplotlib") is not None,
        "Plots need matplotlib; install it with pip install 'spec-local[plot]'.",
    )


def draw(result: Result, directory: Path) -> list[Path]:
    """Write the plots there is data for, the same bytes for the same result; their paths.

    Raises ConfigError if matplotlib is missing or a file cannot be written.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    written = []
    for name, plot in _PLOTS.items():
        for theme in THEMES:
            with rc_context(theme.settings()):
                figure = Figure(layout="constrained")
                FigureCanvasAgg(figure)
                if not plot(figure, result, theme):
                    continue
                figure.suptitle(TITLES[name])
                path = directory / f"{name}-{theme.name}.svg"
                try:
                    directory.mkdir(parents=True, exist_ok=True)
                    figure.savefig(path, metadata={"Date": None, "Creator": None})
                except OSError as error:
                    raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
                written.append(path)
    return written
