"""What a draft model would earn on this machine: from its profile, and else from the sizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from spec_local.control.acceptance import overall
from spec_local.control.advice import best_k, best_k_of
from spec_local.control.costs import MAX_WIDTH, CostCurve
from spec_local.errors import ModelFileError
from spec_local.gguf.experts import Experts, experts_of
from spec_local.gguf.header import check_model_file, model_bytes
from spec_local.llama.identity import identity
from spec_local.llama.options import LoadOptions
from spec_local.machine.learned import pairs_of
from spec_local.machine.profile import ProfileStore

ASSUMED = 0.7
"""Share of drafted tokens taken to be accepted where a pair has not shown it."""

CONTEXT = 256
"""Tokens of context that costs are told of."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a draft is expected to earn if it always drafts as many tokens as is best."""

    speedup: float
    """Over plain decoding; 1.0 if it does not pay."""
    accepted: float | None
    """Share of its tokens that this target has accepted here; None if that is not known."""
    costs: Literal["measured", "draft by size", "by size"]
    """What is known of them. By size: neither model's, and then checking tokens costs no more than
    the experts that have to be read for them, and in a dense model nothing."""

    def __str__(self) -> str:
        most = "at most " if self.costs == "by size" else ""
        worth = f"{most}{self.speedup:.2f}" if self.speedup > 1.0 else "does not pay"
        if self.accepted is not None:
            return f"{worth}, {self.accepted:.0%} accepted so far"
        guessed = {"measured": "", "draft by size": ", its cost by size", "by size": ", by size"}
        return f"{worth} if {ASSUMED:.0%} are accepted{guessed[self.costs]}"


class Seen(NamedTuple):
    """What this machine has shown of a pair."""

    target: CostCurve
    draft: CostCurve
    accepted: float | None


def seen(
    target: Path,
    draft: Path,
    options: LoadOptions,
    profiles: ProfileStore,
    first: Path | None = None,
) -> Seen:
    """For models that are here; arguments as of `predict`."""
    drafts = [draft] if first is None else [first, draft]
    mine, *others = [identity(target, options), *(identity(d, options.for_draft()) for d in drafts)]
    theirs, pair = others[-1], pairs_of(mine, others)[-1]
    curve = profiles.curve(mine)
    known = [profiles.acceptance(pair, by, True) for by in ("model", "window")]
    accepted = overall([each for kinds in known for each in kinds.values()])
    return Seen(curve, profiles.draft_curve(theirs, mine, curve), accepted)


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
    found = seen(target, draft, options, profiles, first)
    if not found.target.is_known:
        return by_size(model_bytes(draft), model_bytes(target), experts_in(target))
    if not found.draft.is_known:
        row = found.target.row(CONTEXT)
        step = share(model_bytes(draft), model_bytes(target), experts_in(target)) * row[1]
        return Prediction(best_k_of(row, step, ASSUMED)[1], None, "draft by size")
    likely = ASSUMED if found.accepted is None else found.accepted
    return Prediction(best_k(found.target, found.draft, likely)[1], found.accepted, "measured")


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
    found = seen(target, draft, options, profiles, first)
    if not (found.target.is_known and found.draft.is_known):
        return None
    return best_k(found.target, found.draft, 1.0 if found.accepted is None else found.accepted)[1]


def by_size(draft: int, target: int, experts: Experts | None = None) -> Prediction:
    """For models of so many bytes, of which nothing else is known; experts: the target's."""
    step = share(draft, target, experts)
    return Prediction(best_k_of(reading(experts), step, ASSUMED)[1], None, "by size")


def share(draft: int, target: int, experts: Experts | None) -> float:
    """What drafting a token costs in tokens of the target, by their bytes, of which one token of a
    mixture of experts reads only some."""
    return draft / (target if experts is None else experts.bytes)


def reading(experts: Experts | None) -> list[float]:
    """Costs by width, from 0 to MAX_WIDTH, in tokens of the target, if only reading its weights
    takes time: the best there can be where nothing was measured."""
    widths = range(1, MAX_WIDTH + 1)
    return [0.0, *(1.0 if experts is None else experts.weights_read(width) for width in widths)]


def experts_in(target: Path) -> Experts | None:
    """Those of a model that is here; None if it is dense, or cannot be read."""
    return _experts_in(target, model_bytes(target))


@cache  # reading a large vocabulary takes a fifth of a second
def _experts_in(target: Path, _bytes: int) -> Experts | None:
    try:
        return experts_of(check_model_file(target))
    except ModelFileError:
        return None
