"""The near-tie guard: what a wide evaluation cannot decide is decided one token wide.

A certificate (`certify.py`) says how far the logits of w tokens evaluated at once were from those
of single tokens. Where no change of that size to each logit would change the draw, plain decoding
would have drawn the same token. Where it might, the position is evaluated again at width 1, as
plain decoding does it, and drawn from that; the rest of the draft is dropped, for it was evaluated
after what is now gone from the cache.

This prevents some differences, not all: the largest difference is the largest one *seen*, and what
stays in the cache was evaluated wide, so a tie nearer than what *that* changes can still fall the
other way. Measured, it does (docs/exactness.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

from spec_local.engine.draft import Draft, Verdict
from spec_local.engine.types import EvaluationSession
from spec_local.engine.verify import keyed
from spec_local.sampling.types import Logits, Sampler


class Guard:
    """Keyed verification (`engine/verify.py`) of the target's evaluations, which it may repeat."""

    def __init__(self, target: EvaluationSession, differences: Mapping[int, float]) -> None:
        """differences: by width, the largest of a logit from that of a single token."""
        self._target, self._differences = target, differences

    def __call__(self, rows: Logits, draft: Draft, sampler: Sampler) -> Verdict:
        """Rows as in `keyed`; one evaluated again is replaced, those after it are void."""
        difference = self._differences.get(len(rows), 0.0)
        if len(rows) == 1 or difference == 0:
            return keyed(rows, draft, sampler)
        seconds = 0.0
        for accepted, token in enumerate([*draft.tokens, None]):
            started = perf_counter()
            certain = sampler.is_certain(rows[accepted], difference)
            if not certain:
                self._evaluate_again(rows, draft, accepted)
            seconds += perf_counter() - started
            drawn = sampler.draw(rows[accepted])
            if drawn != token or not certain:
                break
        return Verdict(accepted, drawn, rechecked=not certain, guard_seconds=seconds)

    def _evaluate_again(self, rows: Logits, draft: Draft, accepted: int) -> None:
        """Replace the row after so many accepted tokens by that of its token evaluated alone."""
        target = self._target
        place = len(target.tokens) - len(draft.tokens) - 1 + accepted
        token = target.tokens[place]
        target.truncate(place)
        before = rows[:accepted].copy()  # rows are a view of what the next evaluation writes
        alone = target.evaluate([token])[0].copy()
        rows[:accepted], rows[accepted] = before, alone
