"""The certificate: at which widths does this machine compute the same bits?

llama.cpp picks another kernel, or splits the work otherwise, when more tokens are evaluated at
once. Floating-point sums then round differently, and near ties flip. Whether that happens depends
on the build, the device, the number of threads, the quantisation, the types of the cache and the
length of the context; so it is measured.

At several context lengths of several texts the tokens that follow are evaluated one by one, and
then w at a time for every width w, each time after what was evaluated before has been rolled back.
A width is *identical* if all rows of logits are equal bit for bit, all bytes of the cache are, and
so is the row of the token evaluated after it. By induction a text verified at identical widths
alone, in whatever order, is the text of plain decoding: after every round the cache holds the same
bytes.

"One by one" is width 1; or, for `--exact=fixed`, a wider *base* with padding after the one token.
Then a width is identical only if rows depend neither on their neighbours nor on their place in the
batch, since the token stands first among padding in one case and anywhere in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from math import inf
from typing import Any, Protocol

import numpy as np

from spec_local.engine.types import EvaluationSession
from spec_local.errors import ContextOverflow
from spec_local.sampling.types import Logits
from spec_local.util.progress import Share, no_share

CERTIFIED_WIDTHS = tuple(range(2, 33))
CERTIFIED_CONTEXTS = (1, 33, 241, 257, 1025, 4097)
"""Context lengths, as far as they fit. After 241 batches cross 256: llama.cpp looks at a multiple
of that many cells of its cache, and a row of such a batch at more of them than it would alone."""

_SPAN = CERTIFIED_WIDTHS[-1]
"""Tokens evaluated after each context."""

Observe = Callable[[int, int, float], None]
"""Told the width of an evaluation, the context before it and the seconds it took."""


class HashedSession(EvaluationSession, Protocol):
    """A session whose memory can be compared."""

    @property
    def decode_seconds(self) -> float:
        """Seconds spent on evaluations so far."""

    def digest(self) -> bytes:
        """A hash of the bytes the memory holds for the tokens."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was found for one base."""

    base: int
    """The width at which single tokens were evaluated."""
    contexts: tuple[int, ...]
    """Lengths at which it was looked."""
    differences: Mapping[int, float]
    """By width, the base among them, the largest difference of a logit."""
    widths: tuple[int, ...]
    """Those identical to the base: ascending, the base first; empty if not even that one is."""

    def covers(self, n_ctx: int) -> bool:
        """Whether it was looked at every length that fits into such a context."""
        return set(fitting(n_ctx)) <= set(self.contexts)

    def as_dict(self) -> dict[str, Any]:
        """The certificate as JSON; `from_dict` is the inverse."""
        return {
            "base": self.base,
            "contexts": list(self.contexts),
            "differences": [list(pair) for pair in self.differences.items()],
            "widths": list(self.widths),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Certificate:
        """The inverse of `as_dict`; raises ValueError, KeyError or TypeError for anything else."""
        differences = {int(width): float(value) for width, value in data["differences"]}
        widths, contexts = tuple(map(int, data["widths"])), tuple(map(int, data["contexts"]))
        if sorted(set(widths)) != list(widths) or not differences.keys() >= set(widths):
            raise ValueError("widths that cannot be")
        return cls(int(data["base"]), contexts, differences, widths)


def fitting(n_ctx: int) -> tuple[int, ...]:
    """The context lengths that fit, with what is evaluated after them."""
    return tuple(context for context in CERTIFIED_CONTEXTS if context + _SPAN < n_ctx)


def certify(
    session: HashedSession,
    texts: Sequence[Sequence[int]],
    base: int = 1,
    progress: Share = no_share,
    observe: Observe = lambda *_: None,
) -> Certificate:
    """Compare all widths from the base on with single tokens; the session ends up empty.

    texts: token sequences; they are repeated where they are too short. Raises ContextOverflow for a
    context too small to look at any width.
    """
    contexts = fitting(session.n_ctx)
    if not contexts:
        raise ContextOverflow(
            f"Exactness cannot be certified in a context of {session.n_ctx:,} tokens; "
            "ask for a larger one with --ctx-size."
        )
    widths = [width for width in (1, *CERTIFIED_WIDTHS) if base <= width <= session.max_rows]
    examination = _Examination(session, base, observe)
    try:
        for number, text in enumerate(texts):
            tokens = list(islice(cycle(text), contexts[-1] + _SPAN + 1))
            session.truncate(0)
            for place, context in enumerate(contexts):
                session.evaluate(tokens[len(session.tokens) : context])
                for step, _width in enumerate(examination.compare(tokens, context, widths)):
                    done = number * len(contexts) + place + step / len(widths)
                    progress(done / (len(texts) * len(contexts)))
                session.truncate(context)
            if base in examination.unlike:
                break  # nothing can be identical to what is not the same twice
    finally:
        session.truncate(0)
    progress(1.0)
    identical = tuple(w for w in widths if w not in examination.unlike)
    if base in examination.unlike:
        identical = ()
    return Certificate(base, contexts, examination.differences, identical)


class _Examination:
    """Compares, and remembers every difference found."""

    def __init__(self, session: HashedSession, base: int, observe: Observe) -> None:
        self._session, self._base, self._observe = session, base, observe
        self.differences: dict[int, float] = {}
        self.unlike: set[int] = set()

    def compare(self, tokens: Sequence[int], context: int, widths: Sequence[int]) -> Iterator[int]:
        """All widths after the first `context` tokens, which the session holds, one by one."""
        session = self._session
        rows, digests = list[Logits](), list[bytes]()
        for token in tokens[context : context + _SPAN + 1]:
            rows.append(self._alone(token).copy())
            digests.append(session.digest())
        for width in widths:
            session.truncate(context)
            batch = self._evaluate(tokens[context : context + width])
            for row, expected in zip(batch, rows, strict=False):
                self._note(width, row, expected)
            if session.digest() != digests[width - 1]:
                self.unlike.add(width)
            self._note(width, self._alone(tokens[context + width]), rows[width])
            yield width

    def _alone(self, token: int) -> Logits:
        """The row (n_vocab,) of one token, evaluated at the base."""
        length = len(self._session.tokens)
        logits = self._evaluate([token] * self._base)
        self._session.truncate(length + 1)
        return logits[0]  # type: ignore[no-any-return]

    def _evaluate(self, tokens: Sequence[int]) -> Logits:
        context, before = len(self._session.tokens), self._session.decode_seconds
        logits = self._session.evaluate(tokens, rows=len(tokens))
        self._observe(len(tokens), context, self._session.decode_seconds - before)
        return logits

    def _note(self, width: int, row: Logits, expected: Logits) -> None:
        known = self.differences.setdefault(width, 0.0)
        if np.array_equal(row.view(np.uint32), expected.view(np.uint32)):
            return
        self.unlike.add(width)
        difference = float(np.abs(row - expected).max())
        self.differences[width] = max(known, difference if difference == difference else inf)
