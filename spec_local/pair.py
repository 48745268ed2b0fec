"""A pair of models opened: the one way from names to models, contexts on them, and exactness."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

from spec_local import drafters as rules
from spec_local.engine.types import Drafter
from spec_local.exact.modes import Exactness, exact_options
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.seeing import session_on
from spec_local.llama.session import Session
from spec_local.machine.profile import ProfileStore
from spec_local.models.loading import (
    draft_may_fail,
    draft_session,
    give_eyes,
    load_draft,
    load_model,
    names_head,
)
from spec_local.models.registry import PairSpec, load_registry
from spec_local.util.progress import Progress, no_progress


class Sessions(NamedTuple):
    """A context of the target, and one of the draft; None where there is no draft."""

    target: Session
    draft: Session | None

    def of(self, spec: PairSpec) -> PairSpec:
        """What was asked for, without a draft if there is none."""
        return spec if self.draft or self.target.model.head else replace(spec, draft=None)


class OpenPair:
    """The models of a pair, loaded; a context manager that frees them.

    A file is loaded once, however many contexts there are on it.
    """

    def __init__(
        self,
        target: Model,
        draft: Model | None,
        exact: str | None,
        profiles: ProfileStore,
        progress: Progress,
        *,
        may_lack_draft: bool = False,
    ) -> None:
        """Models that are already loaded; the pair frees them. `open_pair` loads them by name.

        may_lack_draft: as there.
        """
        self.target, self.draft = target, draft
        self._may_lack_draft = may_lack_draft
        self.profiles = profiles
        self._exact = exact
        self._progress = progress

    def sessions(self, stack: ExitStack) -> Sessions:
        """New contexts, which the stack must close before the pair."""
        target, draft = stack.enter_context(session_on(self.target)), None
        if self.draft is not None and self.target.head is None:
            with draft_may_fail(self.draft.path.name, self._may_lack_draft):
                draft = stack.enter_context(draft_session(self.draft))
        return Sessions(target, draft)

    def exactness(self, target: Session, anew: bool = False) -> Exactness | None:
        """How a context of the target is evaluated in the exact mode asked for; None without one.

        For the first time it takes minutes, in which the machine is examined; anew: examine it
        again. Raises ConfigError if nothing can be promised on this machine.
        """
        if self._exact is None:
            return None
        return Exactness.of(self._exact, target, self.profiles, self._progress, anew)

    def close(self) -> None:
        """Free the models; twice is harmless."""
        for model in filter(None, (self.draft, self.target)):
            model.close()

    def __enter__(self) -> OpenPair:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_pair(
    spec: PairSpec,
    drafters: Iterable[str | Drafter] = (rules.AUTO,),
    *,
    options: LoadOptions | None = None,
    exact: str | None = None,
    profiles: ProfileStore | None = None,
    progress: Progress = no_progress,
    may_lack_draft: bool = False,
) -> OpenPair:
    """Load what a pair names; models that are not there yet are pulled.

    drafters: those that will run, by name or one's own; the draft is loaded if one of them uses it.
    may_lack_draft: if it cannot be loaded, and all of them can do without, that is only logged.
    exact: a mode of `exact/modes.py`; None does without. profiles: None is the user's.
    Raises SpecLocalError, what can be known beforehand before anything is loaded.
    """
    running = list(drafters)
    for drafter in running:
        rules.check(drafter, has_draft=spec.draft is not None)
    if exact is not None:
        options = exact_options(exact, options or LoadOptions())
    registry, profiles = load_registry(), profiles or ProfileStore.of_user()
    with ExitStack() as stack:
        heads = any(map(rules.uses_heads, running))
        target = stack.enter_context(
            load_model(spec.target, registry, options, progress, heads=heads)
        )
        give_eyes(target, spec.mmproj, registry, progress)
        draft, may_lack = None, may_lack_draft and not any(map(rules.needs_draft, running))
        used = any(map(rules.uses_draft, running)) or (heads and names_head(spec.draft, registry))
        if spec.draft is not None and used:
            with draft_may_fail(spec.draft, may_lack):
                draft = stack.enter_context(load_draft(spec.draft, target, registry, progress))
                target.head = draft if draft.is_head else None
        opened = OpenPair(target, draft, exact, profiles, progress, may_lack_draft=may_lack)
        stack.pop_all()
        return opened
