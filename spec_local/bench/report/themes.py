"""Colours of the plots: told apart by colour-blind readers too, on light and on dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spec_local.bench.record.result import PLAIN, Contender


@dataclass(frozen=True, slots=True)
class Theme:
    """The colors of a plot, as #rrggbb."""

    name: str
    paper: str
    ink: str
    faint: str
    """Color of the grid."""
    neutral: str
    """Color of what is no contender."""
    palette: tuple[str, ...]

    def settings(self) -> dict[Any, Any]:
        """For matplotlib's rc_context; they also make a file reproducible."""
        inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
        return {
            **dict.fromkeys(inked, self.ink),
            **dict.fromkeys(("figure.facecolor", "savefig.facecolor"), self.paper),
            **dict.fromkeys(("axes.facecolor", "legend.facecolor"), self.paper),
            **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
            "grid.color": self.faint,
            "legend.edgecolor": self.faint,
            "legend.fontsize": 9,
            "axes.axisbelow": True,
            "hatch.linewidth": 0.8,
            "font.size": 10,
            "figure.titlesize": 12,
            "svg.fonttype": "none",
            "svg.hashsalt": "spec-local",
        }

    def colors(self, contenders: Sequence[Contender]) -> dict[str, str]:
        """By name; the same in every plot of a result."""
        names = [c.name for c in contenders if c.name != PLAIN]
        return {name: self.palette[i % len(self.palette)] for i, name in enumerate(names)}


# The hues of Okabe and Ito, darker on light paper and lighter on dark so that lines stand out.
THEMES = (
    Theme(
        name="light",
        paper="#ffffff",
        ink="#1f2328",
        faint="#d8dee4",
        neutral="#6e7781",
        palette=("#0072b2", "#d55e00", "#007f5f", "#b0568f", "#a87800", "#4aaee0", "#5b3fa0"),
    ),
    Theme(
        name="dark",
        paper="#0d1117",
        ink="#e6edf3",
        faint="#30363d",
        neutral="#8d96a0",
        palette=("#4da3dc", "#f0803c", "#2dbe96", "#e08bc0", "#e8bd3a", "#a5dcfa", "#a78bfa"),
    ),
)
