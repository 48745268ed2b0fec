"""From a drafter's name to what the loop asks for drafts, and what is learned meanwhile."""

from __future__ import annotations

from typing import NamedTuple

from spec_local import drafters
from spec_local.control.widths import ANY
from spec_local.drafters.build import DraftModel, build, build_all
from spec_local.drafters.library import Library
from spec_local.drafters.text_only import TextOnly
from spec_local.engine.speculate import Adaptive, FixedK
from spec_local.engine.types import Drafter, Speculator
from spec_local.errors import require
from spec_local.exact.modes import Exactness
from spec_local.llama.session import Session
from spec_local.machine.learned import LearnedController
from spec_local.machine.profile import ProfileStore
from spec_local.models.loading import in_target_tokens, own_words


class Speculation(NamedTuple):
    """What drafts for a target, and what it learns; None if it learns nothing."""

    speculator: Speculator
    learned: LearnedController | None


def speculation(
    drafter: str | Drafter,
    target: Session,
    draft: Session | None,
    library: Library,
    *,
    k: int | None,
    profiles: ProfileStore | None,
    exact: Exactness | None,
) -> Speculation:
    """Make it, as `Runner` explains; the drafter's rules have been checked."""
    model = None
    if draft is not None:
        session = in_target_tokens(draft, target)
        words = own_words(session, draft, target)
        if target.model.eyes is not None:
            session = TextOnly(session)
        model = DraftModel(session, target.n_vocab, target.model.vocab.is_end, words)
    if drafter != drafters.AUTO:
        fixed = FixedK(build(drafter, model, library), drafters.DEFAULT_K if k is None else k)
        most = target.max_rows - 1
        require(fixed.k <= most, f"k can be at most {most}, not {fixed.k}.")
        return Speculation(fixed, None)
    widths = ANY if exact is None else exact.widths
    built = build_all(model, library)
    learned = LearnedController(target, draft, built, profiles, widths)
    return Speculation(Adaptive(built, learned.controller), learned)
