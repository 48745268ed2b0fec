"""What drafts from a target's hidden states: its own layers, or a head that was given, opened."""

from __future__ import annotations

from spec_local.drafters import AUTO
from spec_local.drafters.heads import DflashDrafter, EagleDrafter, MtpDrafter
from spec_local.engine.types import Drafter
from spec_local.errors import require
from spec_local.llama.assistant import AssistantSession
from spec_local.llama.dflash import DflashSession
from spec_local.llama.eagle import EagleSession
from spec_local.llama.heads import ASSISTANT, head_kind, keeps_bits
from spec_local.llama.model import Model
from spec_local.llama.mtp_chain import own_heads
from spec_local.llama.session import Session

OF_HEADS = (MtpDrafter.name, EagleDrafter.name, DflashDrafter.name)
"""Names of the drafters that do."""


def head_drafter(target: Model) -> str | None:
    """The drafter of the head that was given with a target; None without one."""
    return None if target.head is None else head_kind(target.head.header)


def heads_for(drafter: str | Drafter, target: Session, *, exact: bool) -> list[Drafter]:
    """The drafter, if it is one of these, or those that `auto` may choose; else none.

    exact: nothing may be computed otherwise than without a drafter. Raises ConfigError if a drafter
    was named that the models do not have, ModelFileError for a head of another target.
    """
    named = drafter if isinstance(drafter, str) and drafter in OF_HEADS else None
    if named is not None:
        _require(named, target.model)
    elif drafter != AUTO or target.model.eyes is not None:
        return []
    found = list[Drafter]()
    given = head_drafter(target.model)
    if target.model.has_heads and given != MtpDrafter.name and named in (None, MtpDrafter.name):
        found.append(_own(target, exact))
    if given is not None and named in (None, given):
        found.append(_given(target, exact))
    return found


def _require(named: str, target: Model) -> None:
    given, owned = head_drafter(target), target.has_heads and named == MtpDrafter.name
    told = "none was given" if target.head is None else f"{target.head.path.name} is for {given}"
    require(
        owned or given == named or named != MtpDrafter.name,
        f"The drafter mtp needs a target with multi-token prediction layers, and "
        f"{target.path.name} has none that was loaded; take another drafter.",
    )
    require(
        owned or given == named,
        f"The drafter {named} needs a head trained for the target, and {told}; give the head's "
        "file as the draft.",
    )
    require(
        target.eyes is None,
        f"The drafter {named} does not read images; take another drafter for a model that sees.",
    )


def _own(target: Session, exact: bool, head: Model | None = None) -> Drafter:
    """By the target's own layers, or those in a file of their own."""
    model = target.model
    masked = exact and not keeps_bits(model.header.architecture)
    return MtpDrafter(
        own_heads(target, masked=masked, head=head), target.n_vocab, model.vocab.is_end
    )


def _given(target: Session, exact: bool) -> Drafter:
    """By the head that was given."""
    head, about = target.model.head, (target.n_vocab, target.model.vocab.is_end)
    assert head is not None
    kind = head_drafter(target.model)
    if kind == EagleDrafter.name:
        return EagleDrafter(EagleSession(target, head), *about)
    if kind == DflashDrafter.name:
        block = DflashSession(target, head)
        return DflashDrafter(block, block.mask, *about)
    if head.header.architecture == ASSISTANT:
        return MtpDrafter(AssistantSession(target, head), *about)
    return _own(target, exact, head)
