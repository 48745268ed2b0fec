"""A context on a model, of the kind that the model wants."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from spec_local.llama.model import Model
from spec_local.llama.rpc import is_lost, watched
from spec_local.llama.seeing import SeeingSession
from spec_local.llama.session import Session
from spec_local.llama.state import Held
from spec_local.sampling.types import Logits


class _Remote(Session):
    """One whose model is on other machines, in part: they may go away whenever it computes."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        return watched(partial(super().evaluate, tokens, rows, parents))

    def truncate(self, length: int) -> None:
        if not is_lost():  # after which nothing is evaluated any more
            watched(partial(super().truncate, length))

    def mark(self, depth: int) -> None:
        watched(partial(super().mark, depth))

    def saved(self) -> Held:
        return watched(super().saved)

    def adopt(self, held: Held) -> None:
        watched(partial(super().adopt, held))


class _RemoteSeeing(_Remote, SeeingSession):
    """The same of one that reads images."""


def session_on(model: Model) -> Session:
    """A context on a model, which reads images if the model has eyes."""
    if model.options.rpc:
        return watched(partial(_remote, model))
    return Session(model) if model.eyes is None else SeeingSession(model, model.eyes)


def _remote(model: Model) -> Session:
    return _Remote(model) if model.eyes is None else _RemoteSeeing(model, model.eyes)
