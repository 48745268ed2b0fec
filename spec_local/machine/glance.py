"""A first look at what evaluations cost, before the first answer on a machine.

Whether anything should be drafted depends on what checking several tokens costs, and whether a
draft model should read a prompt on what reading costs. Neither can be told from anything else:
eight tokens at once take 1.3 times as long as one on some machines, and six times on others. Found
out in an answer, it would be paid for by that answer. The tokens are those of a text, as what they
cost may depend on them (`running_text.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter

from spec_local.control.costs import CostCurve
from spec_local.control.widths import Widths
from spec_local.engine.types import EvaluationSession
from spec_local.machine.running_text import taken

_CHECKED = (1, 2, 4, 8)
"""Widths of a target that are looked at; all others are learned in use."""
_READ = (1, 8)
"""Of a draft model, which checks nothing but reads, or drafts a block."""
_PASSES = 3


def glance_at_target(
    session: EvaluationSession, curve: CostCurve, widths: Widths, text: Iterator[int]
) -> None:
    """Measure one token and some at once where that is not known; takes as long as 30 or 40 tokens.

    text: tokens to evaluate; only what is evaluated is taken.
    What the session holds is kept where its memory can go back. One too full is left alone.
    """
    wanted = {widths.at_least(width) for width in _CHECKED if width <= widths.widest}
    wanted = {width for width in wanted if width <= session.max_rows}
    if not all(curve.is_known and curve.has(width, len(session.tokens)) for width in wanted):
        _measure(session, curve, sorted(wanted), text, rows=True)


def glance_at_draft(
    session: EvaluationSession, curve: CostCurve, text: Iterator[int], *, blocks: bool = False
) -> None:
    """Measure one token and eight at once, a few times; takes as long as 30 tokens at most.

    text: as for a target. blocks: whether it drafts blocks, and so is asked for logits at every
    token. What the session holds is kept where its memory can go back. One too full is left alone.
    """
    _measure(session, curve, _READ, text, rows=blocks)


def _measure(
    session: EvaluationSession,
    curve: CostCurve,
    widths: Sequence[int],
    text: Iterator[int],
    *,
    rows: bool,
) -> None:
    """rows: whether logits are asked for at every token, as in checking, or at the last alone; a
    block has no more than the session gives.
    """
    begun = len(session.tokens)
    if session.n_ctx < begun + max(widths):
        return
    for turn in range(_PASSES):
        for width in widths:
            context = len(session.tokens)  # fewer than begun where a memory could not go back there
            tokens = taken(text, width)
            started = perf_counter()
            session.evaluate(tokens, rows=min(width, session.max_rows) if rows else 1)
            if turn > 0:  # the first of a width also makes its compute graph
                curve.observe(width, context, perf_counter() - started)
            session.truncate(begun)
