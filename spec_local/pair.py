"""A pair of models opened: the one way from names to models, contexts on them, and exactness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import NamedTuple

from spec_local import drafters as rules
from spec_local.engine.types import Drafter
from spec_local.exact.modes import Exactness, exact_options
from spec_local.llama.contexts import session_on
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.placing import MARGIN, Placed, until_it_fits
from spec_local.llama.session import Session
from spec_local.machine.profile import ProfileStore
from spec_local.models.adapters import with_adapters
from spec_local.models.encoders import give_eyes
from spec_local.models.loading import (
    draft_may_fail,
    draft_session,
    load_drafts,
    load_model,
    names_head,
)
from spec_local.models.needs import placing
from spec_local.models.registry import PairSpec, Registry, load_registry
from spec_local.util.progress import Progress, no_progress


class Sessions(NamedTuple):
    """A context of the target, and one of each draft model."""

    target: Session
    drafts: tuple[Session, ...]


class OpenPair:
    """The models of a pair, loaded; a context manager that frees them.

    A file is loaded once, however many contexts there are on it.
    """

    def __init__(
        self,
        target: Model,
        drafts: dict[str, Model],
        exact: str | None,
        profiles: ProfileStore,
        progress: Progress,
        *,
        may_lack_draft: bool = False,
    ) -> None:
        """Models that are already loaded; the pair frees them. `open_pair` loads them by name.

        drafts: by what they were asked for by. may_lack_draft: as there.
        """
        self.target, self.drafts = target, drafts
        self._may_lack_draft = may_lack_draft
        self.profiles = profiles
        self._exact = exact
        self._progress = progress

    def sessions(self, stack: ExitStack, *, may_shrink: bool = False) -> Sessions:
        """New contexts, which the stack must close before the pair.

        A draft model that gets none, where it may be lacked, is freed. may_shrink: as for
        `draft_may_fail`.
        """
        target, drafts = stack.enter_context(session_on(self.target)), dict[str, Session]()
        models = {name: model for name, model in self.drafts.items() if not model.is_head}
        for name, model in models.items():
            with draft_may_fail(name, self._may_lack_draft, may_shrink):
                drafts[name] = stack.enter_context(draft_session(model))
        for name in models.keys() - drafts:
            self.drafts.pop(name).close()
        return Sessions(target, tuple(drafts.values()))

    def of(self, spec: PairSpec) -> PairSpec:
        """What was asked for, without the drafts that are not there."""
        return replace(spec, draft=tuple(self.drafts))

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
        for model in (*self.drafts.values(), self.target):
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
    later: Sequence[str] = (),
) -> OpenPair:
    """Load what a pair names; models that are not there yet are pulled.

    drafters: those that will run, by name or one's own; drafts are loaded if one of them uses them.
    may_lack_draft: if one cannot be loaded, and all can do without, that is only logged. later:
    others that will be loaded beside the target; GPUs keep room for them.
    exact: a mode of `exact/modes.py`; None does without. profiles: None is the user's.
    Raises SpecLocalError, what can be known beforehand before anything is loaded.
    """
    running = list(drafters)
    for drafter in running:
        rules.check(drafter, drafts=len(spec.drafts))
    wanted = with_adapters(spec, options)
    if exact is not None:
        wanted = exact_options(exact, wanted)
    registry, profiles = load_registry(), profiles or ProfileStore.of_user()
    # A head is a part of its target, and every token of it would be another trip over the network.
    heads = any(map(rules.uses_heads, running)) and not wanted.rpc
    names = _used(spec, running, registry)
    may_lack = may_lack_draft and not any(map(rules.needs_draft, running))

    def load(found: Placed, is_close: bool) -> OpenPair:
        with ExitStack() as stack:
            target = stack.enter_context(
                load_model(spec.target, registry, found.options, progress, heads=heads)
            )
            give_eyes(target, spec.mmproj, registry, progress)
            drafts = load_drafts(
                names,
                target,
                registry,
                progress,
                stack,
                may_fail=may_lack,
                may_shrink=found.may_shrink,
            )
            opened = OpenPair(target, drafts, exact, profiles, progress, may_lack_draft=may_lack)
            if is_close:  # contexts may not fit any more: better now than later
                with ExitStack() as tried:
                    for _ in range(found.options.contexts):
                        opened.sessions(tried, may_shrink=True)
            stack.pop_all()
            return opened

    return until_it_fits(placing(spec, [*names, *later], wanted, registry, progress), load)


def placement(
    spec: PairSpec,
    drafters: Iterable[str | Drafter] = (rules.AUTO,),
    *,
    options: LoadOptions | None = None,
    progress: Progress = no_progress,
) -> Placed:
    """How much of a pair GPUs would get if it were loaded now; as for `open_pair`, which raises."""
    registry = load_registry()
    names = _used(spec, list(drafters), registry)
    return placing(spec, names, options or LoadOptions(), registry, progress)(MARGIN)


def _used(spec: PairSpec, drafters: list[str | Drafter], registry: Registry) -> list[str]:
    """The drafts of a pair that these drafters use."""
    drafts, heads = any(map(rules.uses_draft, drafters)), any(map(rules.uses_heads, drafters))
    return [each for each in spec.drafts if drafts or (heads and names_head(each, registry))]
