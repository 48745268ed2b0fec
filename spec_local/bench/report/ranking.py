"""Draft models ranked for a target: what each is expected to earn, and how the winner did."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from spec_local.bench.report.tables import Table, number, percent, row, size
from spec_local.drafters import AUTO
from spec_local.util.files import write_text

SCHEMA = 1
"""Version of the ranking's JSON form."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A draft model and what it is expected to earn; speed-ups are over plain decoding."""

    name: str
    bytes: int
    relative_cost: float
    """Seconds of a drafted token / seconds of a token of the target."""
    agreement: float
    """Share of the target's tokens that it would have drafted."""
    by_k: dict[int, float]
    """Predicted for a fixed number of drafted tokens, geometric mean over all answers."""
    auto: float
    """Predicted where the controller decides, also about lookup."""
    measured: dict[str, float] | None = None
    """Speed-ups of the winner as it ran: `auto`, and the best k as `k=3`; None for the others."""

    @property
    def best_k(self) -> int:
        """The k with the greatest predicted speed-up."""
        return max(self.by_k, key=lambda k: self.by_k[k])


def save(target: str, ranking: Sequence[Candidate], path: Path) -> None:
    """Write the ranking as JSON; raises ConfigError if that cannot be."""
    candidates = [{**asdict(each), "best_k": each.best_k} for each in ranking]
    document = {"schema": SCHEMA, "target": target, "candidates": candidates}
    write_text(path, json.dumps(document, indent=1) + "\n")


def ranking_tables(ranking: Sequence[Candidate]) -> list[Table]:
    """The candidates, the best first, and how well the winner was predicted."""
    tables = [
        Table(
            title="Draft models, the best first",
            columns=(
                "draft",
                "size",
                "cost of a token",
                "agrees",
                "best k",
                "predicted with it",
                "predicted for auto",
            ),
            rows=tuple(
                row(
                    each.name,
                    size(each.bytes),
                    number(each.relative_cost),
                    percent(each.agreement),
                    str(each.best_k),
                    number(each.by_k[each.best_k]),
                    number(each.auto),
                )
                for each in ranking
            ),
            note="Cost: against a token of the target. Agrees: with the target's next token. "
            "Predicted: speed-up over plain decoding, on these prompts.",
        ),
        Table(
            title="Predicted speed-up by tokens drafted per round",
            columns=("draft", *(f"k={k}" for k in ranking[0].by_k)),
            rows=tuple(row(each.name, *map(number, each.by_k.values())) for each in ranking),
        ),
    ]
    tables += [_check(each, each.measured) for each in ranking if each.measured is not None]
    return tables


def _check(winner: Candidate, measured: Mapping[str, float]) -> Table:
    predicted = {f"k={winner.best_k}": winner.by_k[winner.best_k], AUTO: winner.auto}
    return Table(
        title=f"{winner.name}, run",
        columns=("", "predicted", "measured", "measured / predicted"),
        rows=tuple(
            row(name, number(expected), number(measured[name]), number(measured[name] / expected))
            for name, expected in predicted.items()
        ),
    )
