"""Drafting in a model's own tokens, where they are other than the target's.

The model writes its most probable text, which is then told in the target's tokens
(`models/retelling.py`). So a token of the target's may be several of the model's, or a part of one.
Nothing is drawn: such a draft is a point mass to every verification rule, and the target's
penalties play no part in it. Of a draft that is drawn from the common tokens alone less is accepted
if these are too few (docs/drafts.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from time import perf_counter
from typing import NamedTuple, Protocol

from spec_local.engine.draft import Draft
from spec_local.engine.types import EvaluationSession, Pace
from spec_local.sampling.distribution import top_token
from spec_local.sampling.types import Logits, Sampler


class OwnSession(Protocol):
    """Reads the target's tokens, and goes on in its own (`models/mapped_session.py`)."""

    @property
    def own_row(self) -> Logits:
        """Logits (n_vocab,) of the model's own tokens after the last one evaluated; only a view."""

    def extend(self, token: int) -> Logits:
        """Evaluate a token of the model's own; `own_row` after it."""


class Teller(Protocol):
    """Tells what was written in the target's tokens (`models/retelling.py`)."""

    def is_last(self, own: int) -> bool:
        """Whether nothing can be told of what follows that token."""

    def tell(self, context: Sequence[int], own: Sequence[int]) -> Sequence[tuple[int, int]]:
        """The target's tokens for the model's, which follow the context; and for each, how many of
        those begin before it ends.
        """


class OwnWords(NamedTuple):
    """What it takes to draft like that."""

    session: OwnSession
    teller: Teller


class OwnDraft:
    """One draft, while it is written."""

    def __init__(self, words: OwnWords) -> None:
        self._words = words
        self._tokens = list[int]()
        self._confidences = list[float]()
        self._steps = list[tuple[int, float]]()
        self._refused = False

    def write(
        self, session: EvaluationSession, missing: Sequence[int], budget: int, pace: Pace | None
    ) -> None:
        """Write at most `budget` tokens after reading `missing`, which the session has not yet."""
        while len(self._tokens) < budget and (pace is None or pace.more()):
            started, width = perf_counter(), 1
            if self._tokens:
                row = self._words.session.extend(self._tokens[-1])
            else:
                session.evaluate(missing)
                row, width = self._words.session.own_row, len(missing)
                session.mark(budget - 1)
            token, confidence = top_token(row)
            self._steps.append((width, perf_counter() - started))
            self._tokens.append(token)
            self._confidences.append(confidence)
            self._refused = pace is not None and not pace.take(confidence)
            if self._refused or self._words.teller.is_last(token):
                break

    def told(self, context: Sequence[int], budget: int, sampler: Sampler, name: str) -> Draft:
        """The draft in the target's tokens, at most `budget`.

        A token is as sure as those together that begin in it. What grammar and bans exclude ends
        the draft. The sampler stands at the end of the context.
        """
        told = self._words.teller.tell(context, self._tokens)[: budget + self._refused]
        taken = len(self._tokens) - self._refused
        tokens = [token for token, own in told if own <= taken][:budget]
        possible = sampler.possible(tokens)
        refused = None
        if len(tokens) == possible < len(told) and self._refused:
            refused = told[possible][0]
        stops = [0, *(own for _token, own in told[: possible + (refused is not None)])]
        sure = [prod(self._confidences[a:b]) for a, b in pairwise(stops)]
        return Draft(
            tuple(tokens[:possible]),
            name,
            confidences=tuple(sure),
            refused=refused,
            steps=tuple(self._steps),
        )
