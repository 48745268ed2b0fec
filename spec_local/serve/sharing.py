"""Runners on weights that are loaded already: beside another one, or in its place."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from spec_local.drafters.library import Library
from spec_local.engine.types import Drafter
from spec_local.exact.modes import Exactness
from spec_local.exact.session import ExactSession
from spec_local.llama.contexts import session_on
from spec_local.llama.session import Session
from spec_local.machine.profile import ProfileStore
from spec_local.models.loading import draft_session
from spec_local.runner import Runner
from spec_local.serve.kept_contexts import KeptContexts
from spec_local.serve.slot import Slot


def slot_of(runner: Runner, kept: KeptContexts) -> Slot:
    """The runner's context; the slot closes the runner. kept: shared by all contexts of a model."""
    drafter, redraft = runner.drafter, partial(_redrafted, runner)
    if runner.exact is not None:  # which trusts no bits but those that it has computed itself
        return Slot(runner, drafter, runner.exact.session, redraft)
    return Slot(runner, drafter, runner.target, redraft, partial(kept.recall, runner.target))


def beside(runner: Runner, k: int | None, library: Library, stack: ExitStack) -> Runner:
    """A runner on the same weights with contexts of its own, which the stack closes.

    k: as that runner was loaded with. library: of its own.
    """
    target = stack.enter_context(session_on(runner.target.model))
    drafts = [stack.enter_context(draft_session(each.model)) for each in runner.drafts]
    exact = runner.exact
    if exact is not None:
        session = ExactSession(target, exact.widths, target.n_batch)
        exact = replace(exact, session=session)
    return _like(runner, target, runner.drafter, drafts, k=k, exact=exact, library=library)


def _redrafted(runner: Runner, drafter: str | None, k: int | None) -> Runner:
    """A runner in the same contexts that drafts otherwise; None is as that runner does."""
    return _like(
        runner,
        runner.target,
        runner.drafter if drafter is None else drafter,
        runner.drafts,
        k=k,
        exact=runner.exact,
        library=runner.library,
    )


def _like(
    runner: Runner,
    target: Session,
    drafter: str | Drafter,
    drafts: Sequence[Session],
    *,
    k: int | None,
    exact: Exactness | None,
    library: Library,
) -> Runner:
    """A runner in these contexts with the sampling and the template of that one."""
    other = Runner(
        target,
        drafter,
        draft=drafts,
        k=k,
        sampling=runner.sampling,
        profiles=ProfileStore.of_user(),
        exact=exact,
        library=library,
    )
    other.template = runner.template
    return other
