"""From a drafter's name to what the loop asks for drafts, and what is learned meanwhile."""

from __future__ import annotations

from typing import NamedTuple

from spec_local import drafters
from spec_local.control.widths import ANY
from spec_local.drafters.build import DraftModel, build, build_all
from spec_local.drafters.heads import DflashDrafter, EagleDrafter, MtpDrafter
from spec_local.drafters.library import Library
from spec_local.drafters.pard import MASK_KEY, PardDrafter
from spec_local.drafters.text_only import TextOnly
from spec_local.engine.speculate import Adaptive, FixedK
from spec_local.engine.types import Drafter, Speculator
from spec_local.errors import require
from spec_local.exact.modes import Exactness
from spec_local.llama.dflash import DflashSession
from spec_local.llama.eagle import EagleSession
from spec_local.llama.heads import keeps_bits
from spec_local.llama.mtp import HeadSession
from spec_local.llama.mtp_chain import ChainedHeadSession
from spec_local.llama.session import Session
from spec_local.machine.learned import LearnedController
from spec_local.machine.profile import ProfileStore
from spec_local.models.loading import in_target_tokens

_OF_STATES = (MtpDrafter.name, EagleDrafter.name, DflashDrafter.name)
"""Drafters that read the target's hidden states; of a head, the architecture of its file."""


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
    model = _draft_model(drafter, target, draft)
    heads = _heads(drafter, target, exact)
    if drafter != drafters.AUTO:
        one = build(drafter, model, library, heads)
        fixed = FixedK(one, drafters.DEFAULT_K if k is None else k)
        most = target.max_rows - 1
        require(fixed.k <= most, f"k can be at most {most}, not {fixed.k}.")
        return Speculation(fixed, None)
    widths = ANY if exact is None else exact.widths
    built = build_all(model, library, heads)
    learned = LearnedController(target, draft, built, profiles, widths)
    return Speculation(Adaptive(built, learned.controller), learned)


def _draft_model(
    drafter: str | Drafter, target: Session, draft: Session | None
) -> DraftModel | None:
    """What drafts token by token, in the target's tokens; None without a draft model."""
    if draft is None:
        require(
            drafter in _OF_STATES or not drafters.needs_draft(drafter),
            f"The drafter {drafter} needs a draft model, and what was given is a head; take the "
            f"drafter {target.model.head and target.model.head.header.architecture}.",
        )
        return None
    mask = _mask_of(draft)
    require(
        mask is not None or drafter != PardDrafter.name,
        f"The drafter pard needs a draft trained with a mask token, and "
        f"{draft.model.path.name} names none ({MASK_KEY}); take the drafter model.",
    )
    session = in_target_tokens(draft, target)
    if target.model.eyes is not None:
        session = TextOnly(session)
    return DraftModel(session, target.n_vocab, target.model.vocab.is_end, mask)


def _mask_of(draft: Session) -> int | None:
    """The mask token a draft names; None if that is none of its tokens, or it was trimmed."""
    mask = draft.model.header.metadata.get(MASK_KEY)
    known = isinstance(mask, int) and 0 <= mask < draft.n_vocab and draft.model.token_map is None
    return mask if known else None


def _heads(drafter: str | Drafter, target: Session, exact: Exactness | None) -> list[Drafter]:
    """What drafts from the target's hidden states by that drafter, or by `auto`; opened."""
    model, head, found = target.model, target.model.head, list[Drafter]()
    named = drafter if isinstance(drafter, str) and drafter in _OF_STATES else None
    if named is None and drafter != drafters.AUTO:
        return []
    require(
        model.has_heads or named != MtpDrafter.name,
        f"The drafter mtp needs a target with multi-token prediction layers, and "
        f"{model.path.name} has none that was loaded; take another drafter.",
    )
    kind = None if head is None else head.header.architecture
    require(
        named in (None, MtpDrafter.name, kind),
        f"The drafter {named} needs a head trained for it in place of a draft model, and "
        f"{'none was given' if head is None else f'{head.path.name} is of the kind {kind}'}; give "
        "the head's file as the draft.",
    )
    require(
        model.eyes is None or named is None,
        f"The drafter {named} does not read images; take another drafter for a model that sees.",
    )
    if model.eyes is not None:
        return []
    about = target.n_vocab, model.vocab.is_end
    if model.has_heads and named in (None, MtpDrafter.name):
        # In exact modes nothing may be computed otherwise than without a drafter.
        masked = exact is not None and not keeps_bits(model.header.architecture)
        several = model.header.heads > 1
        kind_of = ChainedHeadSession if several else HeadSession
        found.append(MtpDrafter(kind_of(target, masked=masked), *about))
    if head is not None and kind == EagleDrafter.name and named != MtpDrafter.name:
        found.append(EagleDrafter(EagleSession(target, head), *about))
    if head is not None and named == DflashDrafter.name:
        block = DflashSession(target, head)
        found.append(DflashDrafter(block, block.mask, *about))
    return found
