"""What a mixture of experts does to the length of drafts, in one sentence."""

from __future__ import annotations

from pathlib import Path

from spec_local.control.advice import best_k_of
from spec_local.control.costs import CostCurve
from spec_local.gguf.experts import Experts
from spec_local.gguf.header import model_bytes
from spec_local.llama.identity import identity
from spec_local.llama.options import LoadOptions
from spec_local.machine.prediction import ASSUMED, CONTEXT, experts_in, reading, seen, share
from spec_local.machine.profile import ProfileStore

_SHOWN = 4
"""The width that is told of."""


def experts_advice(
    target: Path, draft: Path | None, options: LoadOptions, profiles: ProfileStore
) -> str | None:
    """For a target that is here, and what drafts for it; None if it is dense.

    options: with which costs were measured. draft: None is lookup, which costs nothing.
    """
    experts = experts_in(target)
    if experts is None:
        return None
    if draft is None:
        return advice(experts, profiles.curve(identity(target, options)), 0.0)
    found = seen(target, draft, options, profiles)
    step = share(model_bytes(draft), model_bytes(target), experts)
    if found.target.is_known and found.draft.is_known:
        step = found.draft.seconds(1, CONTEXT) / found.target.seconds(1, CONTEXT)
    return advice(experts, found.target, step, found.accepted)


def advice(experts: Experts, curve: CostCurve, step: float, accepted: float | None = None) -> str:
    """By the curve, or where that knows nothing by the formula, which is said.

    step: what drafting a token costs, in tokens of the target. accepted: share of drafted tokens.
    """
    rate = ASSUMED if accepted is None else accepted
    why = (
        f"Each token uses {experts.used} of {experts.count} experts, so {_SHOWN} at once read "
        f"about {experts.weights_read(_SHOWN):.1f} times the weights of one"
    )
    if not curve.is_known:
        mixed, dense = (best_k_of(reading(each), step, rate)[0] for each in (experts, None))
        return (
            f"{why}. Predicted from that alone, as nothing was measured yet: if {rate:.0%} are "
            f"accepted, {_drafts(mixed)} best; for a dense model {_drafts(dense)}."
        )
    cost = [seconds / curve.seconds(1, CONTEXT) for seconds in curve.row(CONTEXT)]
    return (
        f"{why}, and take {cost[_SHOWN]:.2f} times as long here: if {rate:.0%} are accepted, "
        f"{_drafts(best_k_of(cost, step, rate)[0])} best."
    )


def _drafts(k: int) -> str:
    if k == 0:
        return "no drafts are"
    return "drafts of one token are" if k == 1 else f"drafts of {k} tokens are"
