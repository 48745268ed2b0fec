"""Measuring what evaluations cost on this machine, properly and in under a minute per model.

Prompt evaluation and every width are measured at one or more context lengths, with the tokens of a
text, never the same ones in a row. The widths are gone through again and again, so that what else
the machine does meanwhile falls on all of them.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from time import perf_counter

from spec_local.control.costs import CostCurve
from spec_local.llama.session import Session
from spec_local.machine.profile import ProfileStore
from spec_local.machine.running_text import running_text, taken
from spec_local.util.progress import Share, no_share

TUNED_WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32)
TUNED_CONTEXTS = (256, 1024, 4096)
"""Context lengths, as far as they fit into the context and the time."""

_LEAST_PASSES = 3
_MOST_PASSES = 12


@dataclass(frozen=True, slots=True)
class Measurement:
    """One width at one context length; seconds of one evaluation."""

    context: int
    width: int
    median: float
    fastest: float
    slowest: float
    passes: int


def tune(
    session: Session, seconds: float = 40.0, progress: Share = no_share
) -> tuple[CostCurve, list[Measurement]]:
    """Measure a session's cost curve in about so many seconds; the session ends up empty."""
    curve, measured = CostCurve(), list[Measurement]()
    text = running_text(session.model.vocab)
    started = perf_counter()
    widths = [width for width in TUNED_WIDTHS if width <= session.max_rows]
    contexts = _fitting(session)
    try:
        session.truncate(0)
        for index, context in enumerate(contexts):
            share = seconds * (index + 1) / len(contexts)
            if index and _too_slow(curve, context, measured, started + seconds):
                break
            filling = perf_counter()
            missing = context - len(session.tokens)
            session.evaluate(taken(text, missing))
            session.mark(widths[-1])  # from here on everything is taken back
            filled = perf_counter() - filling
            samples = defaultdict[int, list[float]](list)
            for _ in _passes(started + share):
                # Each width next to a plain token: what the machine's speed does shows in both.
                for width in chain.from_iterable((1, width) for width in widths[1:]):
                    tokens = taken(text, width)
                    begun = perf_counter()
                    session.evaluate(tokens, rows=width)
                    samples[width].append(perf_counter() - begun)
                    curve.observe(width, context, samples[width][-1])
                    session.truncate(context)
                if filled:  # not before the scale is known: the first tokens are slow
                    curve.observe(missing, context - missing, filled)
                    filled = 0.0
                progress(min(1.0, (perf_counter() - started) / seconds))
            measured += [_measurement(context, *sample) for sample in samples.items()]
    finally:
        session.truncate(0)
    progress(1.0)
    return curve, measured


def compare(sessions: Sequence[Session], curves: Sequence[CostCurve], passes: int = 20) -> None:
    """Bring the scales of curves measured one after the other to the same moment.

    The machine may have had another speed for each of them, but what a drafted token costs is
    compared with a token of the target in every decision. So plain tokens are measured in turn.
    """
    texts = [running_text(session.model.vocab) for session in sessions]
    for session in sessions:
        session.truncate(0)
    for _ in range(passes):
        for session, curve, text in zip(sessions, curves, texts, strict=True):
            token = taken(text, 1)
            begun = perf_counter()
            session.evaluate(token)
            curve.observe(1, len(session.tokens), perf_counter() - begun)


def keep(store: ProfileStore, sessions: Sequence[Session], curves: Sequence[CostCurve]) -> None:
    """Keep what was measured of a target and, after it, of its draft if there is one."""
    target, *drafts = (session.model.identity for session in sessions)
    store.save_curve(target, curves[0], tuned=True)
    for draft, curve in zip(drafts, curves[1:], strict=True):
        store.save_draft_curve(draft, curve, target, curves[0], tuned=True)


def _fitting(session: Session) -> list[int]:
    fitting = [context for context in TUNED_CONTEXTS if context + TUNED_WIDTHS[-1] <= session.n_ctx]
    return fitting or [max(1, session.n_ctx - TUNED_WIDTHS[-1])]


def _too_slow(curve: CostCurve, context: int, measured: list[Measurement], deadline: float) -> bool:
    """Whether filling the context and the fewest passes would end after the deadline."""
    last = [each.median for each in measured if each.context == measured[-1].context]
    one_pass = sum(last) + len(last) * min(last)  # each next to a plain token
    filling = curve.seconds(512, 0) / 512 * (context - measured[-1].context)
    return perf_counter() + filling + _LEAST_PASSES * one_pass > deadline


def _passes(deadline: float) -> Iterator[int]:
    """Passes until the deadline, but not fewer or more than make sense."""
    for done in range(_MOST_PASSES):
        if done >= _LEAST_PASSES and perf_counter() > deadline:
            return
        yield done


def _measurement(context: int, width: int, samples: list[float]) -> Measurement:
    usual = samples[1:]  # the first of a width also makes its compute graph
    return Measurement(context, width, statistics.median(usual), min(usual), max(usual), len(usual))
