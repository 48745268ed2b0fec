"""What a draft model would earn on this machine: from its profile, and else from the sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from spec_local.control.acceptance import overall
from spec_local.control.advice import best_k, best_k_of
from spec_local.control.costs import MAX_WIDTH, CostCurve
from spec_local.gguf.header import model_bytes
from spec_local.llama.identity import identity
from spec_local.llama.options import LoadOptions
from spec_local.machine.learned import pairs_of
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


class _Seen(NamedTuple):
    """What this machine has shown of a pair."""

    target: CostCurve
    draft: CostCurve
    accepted: float | None


def _seen(
    target: Path, draft: Path, options: LoadOptions, profiles: ProfileStore, first: Path | None
) -> _Seen:
    drafts = [draft] if first is None else [first, draft]
    mine, *others = [identity(target, options), *(identity(d, options.for_draft()) for d in drafts)]
    theirs, pair = others[-1], pairs_of(mine, others)[-1]
    curve = profiles.curve(mine)
    known = [profiles.acceptance(pair, by, True) for by in ("model", "window")]
    accepted = overall([each for kinds in known for each in kinds.values()])
    return _Seen(curve, profiles.draft_curve(theirs, mine, curve), accepted)


def predict(
    target: Path,
    draft: Path,
    options: LoadOptions,
    profiles: ProfileStore,
    first: Path | None = None,
) -> Prediction:
    """For models that are here.

    options: with which costs were measured, and of layers what is decided. first: the first of the
    target's drafts, if this one is a further one, which earns what it does beside that.
    """
    share = model_bytes(draft) / model_bytes(target)
    seen = _seen(target, draft, options, profiles, first)
    if not seen.target.is_known:
        return by_size(share)
    if not seen.draft.is_known:
        row = seen.target.row(_CONTEXT)
        return Prediction(best_k_of(row, share * row[1], ASSUMED)[1], None, "draft by size")
    likely = ASSUMED if seen.accepted is None else seen.accepted
    return Prediction(best_k(seen.target, seen.draft, likely)[1], seen.accepted, "measured")


def most_speedup(
    target: Path,
    draft: Path,
    options: LoadOptions,
    profiles: ProfileStore,
    first: Path | None = None,
) -> float | None:
    """The same at the acceptance that was seen, or else if all its tokens were accepted.

    So what is 1.0 has never paid, or never could. None where costs were not measured.
    """
    seen = _seen(target, draft, options, profiles, first)
    if not (seen.target.is_known and seen.draft.is_known):
        return None
    return best_k(seen.target, seen.draft, 1.0 if seen.accepted is None else seen.accepted)[1]


def by_size(share: float) -> Prediction:
    """For a draft with that share of the target's bytes, of which nothing else is known."""
    return Prediction(best_k_of(_CHECKING_IS_FREE, share, ASSUMED)[1], None, "by size")
