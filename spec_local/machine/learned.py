"""What models that work together have taught here: read into a controller, kept when it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from spec_local.control.acceptance import Acceptance
from spec_local.control.controller import Controller
from spec_local.control.costs import CostCurve
from spec_local.control.drafter_state import DrafterState
from spec_local.control.widths import ANY, Widths
from spec_local.drafters import parted
from spec_local.drafters.heads import HeadDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.pard import PardDrafter
from spec_local.engine.types import Drafter, EvaluationSession
from spec_local.llama.heads import head_kind
from spec_local.llama.session import Session
from spec_local.machine.glance import glance_at_draft, glance_at_target
from spec_local.machine.profile import Identity, ProfileStore
from spec_local.machine.running_text import running_text


class _Evaluated(NamedTuple):
    """What is evaluated for a drafter."""

    identity: Identity
    """What its costs are kept by."""
    session: EvaluationSession
    text: Iterator[int]
    """Tokens that it knows, to look at costs with."""
    blocks: bool
    """Whether it drafts blocks of tokens."""


class LearnedController:
    """The controller of a pair, made from what is known of it, and where that is kept."""

    def __init__(
        self,
        target: Session,
        drafts: Sequence[Session],
        drafters: Sequence[Drafter],
        store: ProfileStore | None,
        widths: Widths = ANY,
    ) -> None:
        """drafters: a `HeadDrafter` has its own session, any other `ModelDrafter` uses the draft
        of its number.

        store: None keeps nothing. widths: at which the target may be evaluated.
        """
        self._store = store
        self._target, head = target.model.identity, target.model.head
        given = [*(draft.model for draft in drafts), *([] if head is None else [head])]
        self._pairs = pairs_of(self._target, [model.identity for model in given])
        self._given_head = None if head is None else head_kind(head.header)
        """Name of the drafter of a head that was given."""
        evaluated = {
            id(each.cache): _evaluated_for(each, target, drafts)
            for each in drafters
            if isinstance(each, ModelDrafter)
        }
        self._identities = {cache: each.identity for cache, each in evaluated.items()}
        """Whose costs are learned, by the cache, which all drafters of one model share."""
        self._tuned = self._when_tuned()
        self._curve = CostCurve() if store is None else store.curve(self._target)
        glance_at_target(target, self._curve, widths, running_text(target.model.vocab))
        self._costs = {cache: self._curve_of(each) for cache, each in evaluated.items()}
        states = {drafter.name: self._state(drafter) for drafter in drafters}
        self.controller = Controller(self._curve, states, widths=widths)
        kept = None if store is None else store.credit(self._pairs[0])
        if kept is not None:
            self.controller.budget.resume(kept)

    def _state(self, drafter: Drafter) -> DrafterState:
        cost = self._costs[id(drafter.cache)] if isinstance(drafter, ModelDrafter) else None
        block = drafter.block if isinstance(drafter, PardDrafter) else 0
        known = {}
        if self._store is not None:
            place, name = self._kept_as(drafter.name)
            known = self._store.acceptance(self._pairs[place], name, drawn=cost is not None)
        return DrafterState(cost, known, block=block)

    def _kept_as(self, drafter: str) -> tuple[int, str]:
        """Which of the pairs has what a drafter earns, and by which name."""
        name, number = parted(drafter)
        return len(self._pairs) - 1 if name == self._given_head else number - 1, name

    def _curve_of(self, evaluated: _Evaluated) -> CostCurve:
        """What is known of the costs of what drafts; if that is nothing, they are looked at now."""
        curve, store = CostCurve(), self._store
        if store is not None:
            curve = store.draft_curve(evaluated.identity, self._target, self._curve)
        if not curve.is_known:
            glance_at_draft(evaluated.session, curve, evaluated.text, blocks=evaluated.blocks)
        return curve

    def save(self) -> None:
        """Keep what was learned; does nothing without a store.

        Curves that `spec-local tune` has measured meanwhile are better and stay.
        """
        if self._store is None or not self._curve.is_known:
            return
        if self._tuned == self._when_tuned():
            self._store.save_curve(self._target, self._curve)
            for cache, curve in self._costs.items():
                identity = self._identities[cache]
                self._store.save_draft_curve(identity, curve, self._target, self._curve)
        known: list[dict[str, dict[str, Acceptance]]] = [{} for _ in self._pairs]
        for drafter, state in self.controller.drafters.items():
            place, name = self._kept_as(drafter)
            known[place][name] = state.known
        first, *others = zip(self._pairs, known, strict=True)
        self._store.save_pair(*first, self.controller.budget.total)
        for pair, earned in others:
            if earned:
                self._store.save_pair(pair, earned, None)

    def _when_tuned(self) -> list[float]:
        models = (self._target, *self._identities.values())
        return [] if self._store is None else [self._store.tuned_at(model) for model in models]


def _evaluated_for(drafter: ModelDrafter, target: Session, drafts: Sequence[Session]) -> _Evaluated:
    blocks = isinstance(drafter, PardDrafter)
    if isinstance(drafter, HeadDrafter):
        identity = {**target.model.identity, "drafter": drafter.name}
        return _Evaluated(identity, drafter.cache.session, running_text(target.model.vocab), blocks)
    draft = drafts[parted(drafter.name)[1] - 1]
    return _Evaluated(draft.model.identity, draft, running_text(draft.model.vocab), blocks)


def pair_of(target: Identity, draft: Identity | None) -> Identity:
    """What acceptance belongs to: the two models with their adapters, on whatever machine."""
    adapters = {"adapters": target, "draft_adapters": draft or {}}
    return {
        "model": target["model"],
        "hash": target["hash"],
        "draft": "" if draft is None else draft["model"],
        "draft_hash": "" if draft is None else draft["hash"],
        **{name: who["adapters"] for name, who in adapters.items() if "adapters" in who},
    }


def pairs_of(target: Identity, drafts: Sequence[Identity]) -> list[Identity]:
    """What acceptance belongs to, draft by draft, and `lookup`'s to the first.

    The first has that of the two models, whatever else drafts. What a further one earns beside it
    is not what it earns where it is the first, so it is kept apart.
    """
    first, *others = [pair_of(target, draft) for draft in drafts] or [pair_of(target, None)]
    return [first, *({**each, "beside": first["draft_hash"]} for each in others)]
