"""A first look at what a draft model costs, before the first answer it may draft for.

Whether it should read a prompt depends on what reading costs, and that cannot be told from anything
else: a token more in the same evaluation takes a tenth of a first one on some machines, and a third
on others. Found out with a prompt of thousands of tokens it would be too late.
"""

from __future__ import annotations

from time import perf_counter

from spec_local.control.costs import CostCurve
from spec_local.engine.types import EvaluationSession

_WIDTHS = (1, 8)
_PASSES = 3


def glance(session: EvaluationSession, curve: CostCurve) -> None:
    """Measure one token and eight at once, a few times; takes as long as 30 tokens at most.

    The session ends up empty. One too small for that is left alone.
    """
    if session.n_ctx < max(_WIDTHS):
        return
    for turn in range(_PASSES):
        for width in _WIDTHS:
            session.truncate(0)
            started = perf_counter()
            session.evaluate([0] * width)
            if turn > 0:  # the first of a width also makes its compute graph
                curve.observe(width, 0, perf_counter() - started)
    session.truncate(0)
