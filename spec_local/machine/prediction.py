"""What a draft model would earn on this machine: from its profile, and else from the sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spec_local.control.acceptance import overall
from spec_local.control.advice import best_k, best_k_of
from spec_local.control.costs import MAX_WIDTH
from spec_local.gguf.header import model_bytes
from spec_local.llama.identity import identity
from spec_local.llama.options import LoadOptions
from spec_local.machine.learned import pair_of
from spec_local.machine.profile import ProfileStore

ASSUMED = 0.7
"""Share of drafted tokens taken to be accepted where a pair has not shown it."""

_CHECKING_IS_FREE = [0.0] + [1.0] * MAX_WIDTH
"""Costs by width, in tokens of the target, where nothing was measured: the best there can be."""

_CONTEXT = 256


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a draft is expected to earn if it always drafts as many tokens as is best."""

    speedup: float
    """Over plain decoding; 1.0 if it does not pay."""
    accepted: float | None
    """Share of its tokens that this target has accepted here; None if that is not known."""
    costs: Literal["measured", "draft by size", "by size"]
    """What is known of them. By size: neither model's, and then checking tokens counts as free."""

    def __str__(self) -> str:
        most = "at most " if self.costs == "by size" else ""
        worth = f"{most}{self.speedup:.2f}" if self.speedup > 1.0 else "does not pay"
        if self.accepted is not None:
            return f"{worth}, {self.accepted:.0%} accepted so far"
        guessed = {"measured": "", "draft by size": ", its cost by size", "by size": ", by size"}
        return f"{worth} if {ASSUMED:.0%} are accepted{guessed[self.costs]}"


def predict(target: Path, draft: Path, options: LoadOptions, profiles: ProfileStore) -> Prediction:
    """For models that are here. options: with which costs were measured."""
    share = model_bytes(draft) / model_bytes(target)
    mine, theirs = identity(target, options), identity(draft, options)
    curve = profiles.curve(mine)
    if not curve.is_known:
        return by_size(share)
    drafting = profiles.draft_curve(theirs, mine, curve)
    if not drafting.is_known:
        row = curve.row(_CONTEXT)
        return Prediction(best_k_of(row, share * row[1], ASSUMED)[1], None, "draft by size")
    known = [profiles.acceptance(pair_of(mine, theirs), by, True) for by in ("model", "window")]
    accepted = overall([each for kinds in known for each in kinds.values()])
    speedup = best_k(curve, drafting, ASSUMED if accepted is None else accepted)[1]
    return Prediction(speedup, accepted, "measured")


def by_size(share: float) -> Prediction:
    """For a draft with that share of the target's bytes, of which nothing else is known."""
    return Prediction(best_k_of(_CHECKING_IS_FREE, share, ASSUMED)[1], None, "by size")
