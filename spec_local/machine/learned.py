"""What a pair of models has taught on this machine: read into a controller, kept when it ends."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.control.controller import Controller
from spec_local.control.costs import CostCurve
from spec_local.control.drafter_state import DrafterState
from spec_local.control.widths import ANY, Widths
from spec_local.drafters.heads import HeadDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.pard import PardDrafter
from spec_local.engine.types import Drafter, EvaluationSession
from spec_local.llama.session import Session
from spec_local.machine.glance import glance_at_draft, glance_at_target
from spec_local.machine.profile import Identity, ProfileStore


class LearnedController:
    """The controller of a pair, made from what is known of it, and where that is kept."""

    def __init__(
        self,
        target: Session,
        draft: Session | None,
        drafters: Sequence[Drafter],
        store: ProfileStore | None,
        widths: Widths = ANY,
    ) -> None:
        """drafters: a `HeadDrafter` has its own session, any other `ModelDrafter` uses `draft`.

        store: None keeps nothing. widths: at which the target may be evaluated.
        """
        self._store = store
        self._target = target.model.identity
        self._draft = None if draft is None else draft.model.identity
        head = target.model.head
        self._pair = pair_of(self._target, self._draft if head is None else head.identity)
        heads = [each for each in drafters if isinstance(each, HeadDrafter)]
        self._heads = {each.name: {**self._target, "drafter": each.name} for each in heads}
        self._tuned = self._when_tuned()
        self._curve = CostCurve() if store is None else store.curve(self._target)
        glance_at_target(target, self._curve, widths)
        self._draft_curve = self._curve_of(self._draft, draft)
        self._head_curves = {
            each.name: self._curve_of(self._heads[each.name], each.cache.session) for each in heads
        }
        states = {drafter.name: self._state(drafter) for drafter in drafters}
        self.controller = Controller(self._curve, states, widths=widths)
        kept = None if store is None else store.credit(self._pair)
        if kept is not None:
            self.controller.budget.resume(kept)

    def _state(self, drafter: Drafter) -> DrafterState:
        cost = self._draft_curve if isinstance(drafter, ModelDrafter) else None
        cost = self._head_curves.get(drafter.name, cost)
        drawn, store = cost is not None, self._store
        known = {} if store is None else store.acceptance(self._pair, drafter.name, drawn)
        block = drafter.block if isinstance(drafter, PardDrafter) else 0
        return DrafterState(cost, known, block=block)

    def _curve_of(
        self, identity: Identity | None, session: EvaluationSession | None
    ) -> CostCurve | None:
        """What is known of the costs of what drafts; if that is nothing, they are looked at now."""
        if identity is None or session is None:
            return None
        curve, store = CostCurve(), self._store
        if store is not None:
            curve = store.draft_curve(identity, self._target, self._curve)
        if not curve.is_known:
            glance_at_draft(session, curve)
        return curve

    def save(self) -> None:
        """Keep what was learned; does nothing without a store.

        Curves that `spec-local tune` has measured meanwhile are better and stay.
        """
        if self._store is None or not self._curve.is_known:
            return
        states = self.controller.drafters
        if self._tuned == self._when_tuned():
            self._store.save_curve(self._target, self._curve)
            drafts = [(self._heads[name], curve) for name, curve in self._head_curves.items()]
            for identity, curve in [(self._draft, self._draft_curve), *drafts]:
                if identity is not None and curve is not None:
                    self._store.save_draft_curve(identity, curve, self._target, self._curve)
        known = {name: state.known for name, state in states.items()}
        self._store.save_pair(self._pair, known, self.controller.budget.total)

    def _when_tuned(self) -> list[float]:
        models = filter(None, (self._target, self._draft, *self._heads.values()))
        return [] if self._store is None else [self._store.tuned_at(model) for model in models]


def pair_of(target: Identity, draft: Identity | None) -> Identity:
    """What acceptance belongs to: the two models, on whatever machine."""
    return {
        "model": target["model"],
        "hash": target["hash"],
        "draft": "" if draft is None else draft["model"],
        "draft_hash": "" if draft is None else draft["hash"],
    }
