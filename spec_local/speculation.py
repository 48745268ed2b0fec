"""From a drafter's name to what the loop asks for drafts, and what is learned meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from spec_local import drafters
from spec_local.control.widths import ANY
from spec_local.drafters.build import DraftModel, build, build_some
from spec_local.drafters.library import Library
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.pard import MASK_KEY, PardDrafter
from spec_local.drafters.text_only import TextOnly
from spec_local.engine.paced import Paced
from spec_local.engine.speculate import Adaptive, FixedK
from spec_local.engine.types import Drafter, EvaluationSession, Speculator
from spec_local.errors import require
from spec_local.exact.modes import Exactness
from spec_local.llama.session import Session
from spec_local.llama.sharing import apart
from spec_local.machine.learned import LearnedController
from spec_local.machine.profile import ProfileStore
from spec_local.models.heads import OF_HEADS, head_drafter, heads_for
from spec_local.models.loading import in_target_tokens, own_words
from spec_local.policies.policy import Policy


class Speculation(NamedTuple):
    """What drafts for a target, and what it learns; None if it learns nothing."""

    speculator: Speculator
    learned: LearnedController | None
    reads: Sequence[EvaluationSession]
    """The draft models' sessions, in the target's tokens."""


def speculation(
    drafter: str | Drafter,
    target: Session,
    drafts: Sequence[Session],
    library: Library,
    *,
    k: int | Policy | None,
    profiles: ProfileStore | None,
    exact: Exactness | None,
) -> Speculation:
    """Make it, as `Runner` explains; the drafter's rules have been checked."""
    names = drafters.chosen_from(drafter)
    models = _draft_models(drafter, names, target, drafts)
    reads = [model.session for model in models]
    given = [heads_for(name, target, exact=exact is not None) for name in names or (drafter,)]
    heads = [each for found in given for each in found]
    if isinstance(k, Policy):
        return Speculation(Paced(build(drafter, models, library, heads), k), None, reads)
    if not names:
        one = build(drafter, models, library, heads)
        fixed = FixedK(one, drafters.default_k(drafter) if k is None else k)
        most = target.max_rows - 1
        require(fixed.k <= most, f"k can be at most {most}, not {fixed.k}.")
        return Speculation(fixed, None, reads)
    widths = ANY if exact is None else exact.widths
    built = build_some(names, models, library, heads)
    learned = LearnedController(target, drafts, built, profiles, widths)
    return Speculation(Adaptive(built, learned.controller), learned, reads)


def _draft_models(
    drafter: str | Drafter, names: Sequence[str], target: Session, drafts: Sequence[Session]
) -> list[DraftModel]:
    """What drafts token by token, in the target's tokens."""
    require(
        bool(drafts)
        or all(name in OF_HEADS or not drafters.needs_draft(name) for name in names or (drafter,)),
        f"The drafter {drafter} needs a draft model, and what was given is a head; take the "
        f"drafter {head_drafter(target.model)}.",
    )
    drafters.check_numbers(drafter, len(drafts))
    asked = names or (drafter,)
    return [_draft_model(asked, target, *each) for each in enumerate(drafts, start=1)]


def _draft_model(
    asked: Sequence[str | Drafter], target: Session, number: int, draft: Session
) -> DraftModel:
    mask, pard = _mask_of(draft), drafters.numbered(PardDrafter.name, number)
    require(
        mask is not None or pard not in asked,
        f"The drafter {pard} needs a draft trained with a mask token, and "
        f"{draft.model.path.name} names none ({MASK_KEY}); take the drafter "
        f"{drafters.numbered(ModelDrafter.name, number)}.",
    )
    session = in_target_tokens(draft, target)
    words = own_words(session, draft, target)
    if target.model.eyes is not None:
        session = TextOnly(session)
    ahead = words is None and _is_alone(asked, number) and _drafts_ahead(target, draft)
    is_end = target.model.vocab.is_end
    return DraftModel(session, target.n_vocab, is_end, mask, words, ahead, number)


def _is_alone(asked: Sequence[str | Drafter], number: int) -> bool:
    """Whether no more than one drafter uses that draft model."""
    names = [each for each in asked if isinstance(each, str) and drafters.uses_draft(each)]
    return sum(drafters.parted(name)[1] == number for name in names) <= 1


def _drafts_ahead(target: Session, draft: Session) -> bool:
    """As the options say; if they do not, where neither would wait for the other."""
    wanted = target.model.options.draft.ahead
    return apart(target.model, draft.model) if wanted is None else wanted


def _mask_of(draft: Session) -> int | None:
    """The mask token a draft names; None if that is none of its tokens, or they have other ids."""
    mask, model = draft.model.header.metadata.get(MASK_KEY), draft.model
    known = isinstance(mask, int) and 0 <= mask < draft.n_vocab
    return mask if known and model.token_map is None and model.shared is None else None
