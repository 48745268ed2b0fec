"""What a cost curve means for speculation, in numbers and in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from spec_local.control.costs import CostCurve

K_CHOICES = tuple(range(1, 17))

_CONTEXT = 256


def expected_speedup(
    target: CostCurve, draft: CostCurve | None, k: int, acceptance: float
) -> float:
    """Speed against plain decoding if each of k drafted tokens is accepted with a probability.

    (1 + a + … + a^k) · V(1) / (V(k + 1) + k · D), Leviathan et al., arXiv 2211.17192, with measured
    costs. draft: the draft model's costs, None for a drafter that costs nothing.
    """
    return _speedup(target.row(_CONTEXT), _step(draft), k, acceptance)


def best_k(target: CostCurve, draft: CostCurve | None, acceptance: float) -> tuple[int, float]:
    """The k with the greatest expected speed-up, and that; (0, 1.0) where none is above 1."""
    return best_k_of(target.row(_CONTEXT), _step(draft), acceptance)


def best_k_of(row: Sequence[float], step: float, acceptance: float) -> tuple[int, float]:
    """The same from bare costs: row[w] of evaluating w tokens at once, step of drafting one."""
    found = max((_speedup(row, step, k, acceptance), k) for k in K_CHOICES)
    return (found[1], found[0]) if found[0] > 1.0 else (0, 1.0)


def _speedup(row: Sequence[float], step: float, k: int, acceptance: float) -> float:
    tokens = sum(acceptance**i for i in range(k + 1))
    return tokens * row[1] / (row[k + 1] + k * step)


def _step(draft: CostCurve | None) -> float:
    return 0.0 if draft is None else draft.seconds(1, _CONTEXT)


def break_even(target: CostCurve, draft: CostCurve | None) -> float | None:
    """The least acceptance from which some k pays; None if even a perfect drafter does not."""
    if best_k(target, draft, 1.0)[0] == 0:
        return None
    low, high = 0.0, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if best_k(target, draft, middle)[0] else (middle, high)
    return high


def explain(
    target: CostCurve, draft: CostCurve | None, known: Mapping[str, float | None]
) -> list[str]:
    """Sentences: what verification costs, from which acceptance drafts pay, what to do.

    known: acceptance rate by drafter, as far as there is one; all but lookup ask the draft model.
    """
    row = target.row(_CONTEXT)
    sentences = [
        f"One token takes {row[1] * 1e3:.0f} ms; checking 2, 4, 8 and 16 at once takes "
        f"{row[2] / row[1]:.2f}, {row[4] / row[1]:.2f}, {row[8] / row[1]:.2f} and "
        f"{row[16] / row[1]:.2f} times as long.",
        _when_it_pays("Drafts that cost nothing (lookup)", break_even(target, None)),
    ]
    if draft is not None and draft.is_known:
        step = draft.seconds(1, _CONTEXT)
        sentences += [
            f"The draft model takes {step * 1e3:.1f} ms a token, {step / row[1]:.0%} of the "
            "target's.",
            _when_it_pays("Its drafts", break_even(target, draft)),
        ]
    for name, rate in known.items():
        if rate is None:
            continue
        k, speedup = best_k(target, None if name == "lookup" else draft, rate)
        worth = f"about {speedup:.2f} x plain decoding at k = {k}" if k else "not worth drafting"
        sentences.append(f"So far, {rate:.0%} of the tokens drafted by {name} were right: {worth}.")
    return [*sentences, _recommendation(target, draft, known)]


def _when_it_pays(drafts: str, acceptance: float | None) -> str:
    if acceptance is None:
        return f"{drafts} never pay here: checking costs as much as writing."
    return f"{drafts} pay from {acceptance:.0%} acceptance on."


def _recommendation(
    target: CostCurve, draft: CostCurve | None, known: Mapping[str, float | None]
) -> str:
    if draft is None or not draft.is_known:
        if break_even(target, None) is None:
            return "Recommended: --drafter none, no draft can pay on this machine."
        return "Recommended: --drafter auto, which looks drafts up where that pays."
    needed = break_even(target, draft)
    if needed is None:
        return "Recommended: leave the draft model out, and a smaller or trimmed one might pay."
    rates = [rate for name, rate in known.items() if name != "lookup" and rate is not None]
    if rates and max(rates) < needed:
        return (
            "Recommended: --drafter auto; this draft model rarely pays here, a trimmed one "
            "(spec-local draft trim) costs less."
        )
    return "Recommended: --drafter auto with this draft model."
