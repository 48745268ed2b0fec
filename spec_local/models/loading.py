"""From names to open models: which pair is meant, pulling its files, loading them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from spec_local.drafters import AUTO, uses_draft
from spec_local.drafters.own_words import OwnWords
from spec_local.engine.types import EvaluationSession
from spec_local.errors import ShortOfMemory, SpecLocalError, VocabularyMismatch, require
from spec_local.gguf.header import check_model_file
from spec_local.llama.heads import head_kind
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.models.download import in_store, pulled, resolve, was_verified
from spec_local.models.hub import hub_name
from spec_local.models.mapped_session import Columns, MappedSession
from spec_local.models.other_vocabulary import draws_shared, shared_vocabulary
from spec_local.models.registry import PairSpec, Registry, load_registry
from spec_local.models.retelling import Retelling
from spec_local.models.spelling import Spelling
from spec_local.models.stores import stored_files
from spec_local.util.progress import Progress
from spec_local.util.several import as_tuple

logger = logging.getLogger("spec_local.models.loading")

BEST_DRAFT, NO_DRAFT = "auto", "none"
"""What a draft may be called instead of a name: the best one at hand (`partners.py`), or none."""

DRAFT_CONTEXT = 4096
"""Most tokens of a text that a draft model reads: what it is asked for depends on the last ones."""


def choose_pair(
    pair: str | PairSpec | None,
    target: str | Path | None = None,
    draft: str | Path | Sequence[str | Path] | None = None,
    mmproj: str | Path | None = None,
) -> PairSpec:
    """The pair of that name, or one of a target and perhaps drafts, by name or path.

    A pair may be the name of a target, which then has no draft; a target that of a pair. draft: in
    place of the pair's own, if that is not None; BEST_DRAFT where it has none, NO_DRAFT for none.
    mmproj: an image encoder in place of the pair's own.
    Raises ConfigError.
    """
    require(pair is None or target is None, "Give a pair or a target, not both.")
    require(pair is not None or target is not None, "Give a pair or a target.")
    if isinstance(pair, PairSpec):
        spec = pair
    else:
        spec = _named(str(pair)) if target is None else _of_target(str(target))
    if mmproj is not None:
        spec = replace(spec, mmproj=str(mmproj))
    given: tuple[str | Path, ...] = as_tuple(draft)
    names = tuple(map(str, given))
    if draft is None or (names == (BEST_DRAFT,) and spec.draft is not None):
        return spec
    if names in ((NO_DRAFT,), ()):
        drafter = AUTO if uses_draft(spec.drafter) else spec.drafter
        return replace(spec, draft=None, draft_lora=(), drafter=drafter)
    require(
        len(names) == 1 or not {BEST_DRAFT, NO_DRAFT} & {*names},
        f"{BEST_DRAFT} and {NO_DRAFT} stand alone; name every draft, or say one of the two.",
    )
    return replace(spec, draft=names, draft_lora=())


def _of_target(name: str) -> PairSpec:
    registry = load_registry()
    named = registry.pairs.get(name) if name not in registry.models else None
    return named or PairSpec(name)


def _named(name: str) -> PairSpec:
    registry = load_registry()
    if name in registry.pairs:
        return registry.pairs[name]
    if is_name(name) or "/" in name or name.endswith(".gguf") or os.path.isdir(name):
        return PairSpec(name)
    raise registry.unknown(name, "model or pair", {**registry.pairs, **registry.models})


def is_name(word: str) -> bool:
    """Whether that is a pair, or a target: a model that has a name, or a file that is there."""
    registry = load_registry()
    if word in registry.pairs or word in registry.models or os.path.isfile(word):
        return True
    wanted = hub_name(word)
    if wanted is not None and (wanted.quantization is not None or word.startswith("hf")):
        return True
    return in_store(word) is not None or any(word == stored.name for stored in stored_files())


def load_model(
    name: str,
    registry: Registry,
    options: LoadOptions | None,
    progress: Progress,
    *,
    heads: bool = False,
    may_be_head: bool = False,
) -> Model:
    """Load a model by name or path; it is pulled if it is not there yet.

    heads: with its multi-token prediction layers, if it has any. may_be_head: as for `Model`.
    """
    path = pulled(name, registry, progress)
    return Model(
        path,
        options,
        progress,
        vouched=was_verified(name, path, registry),
        heads=heads,
        may_be_head=may_be_head,
    )


def load_draft(name: str, target: Model, registry: Registry, progress: Progress) -> Model:
    """Load a draft as its target's options say; raises VocabularyMismatch if it cannot draft.

    One with another vocabulary can, if the two have tokens in common; that is said. It was asked
    for by name, as `pairing.py` proposes no such drafts.
    """
    options = target.options.for_draft()
    draft = load_model(name, registry, options, progress, may_be_head=True)
    try:
        require_draft(target, draft)
    except VocabularyMismatch:
        draft.close()
        raise
    return draft


def load_drafts(
    names: Iterable[str],
    target: Model,
    registry: Registry,
    progress: Progress,
    stack: ExitStack,
    *,
    may_fail: bool = False,
    may_shrink: bool = False,
) -> dict[str, Model]:
    """Load drafts, by their names, as `load_draft` does; the stack frees them.

    A head is the target's until then. may_fail: one that cannot be loaded is only logged.
    may_shrink: as for `draft_may_fail`. Raises ConfigError if two are heads, or if several are to
    have the same adapters.
    """
    names, found = list(names), dict[str, Model]()
    require(
        len(names) < 2 or not target.options.draft.lora,
        "An adapter is for one draft; name one draft, or leave out --draft-lora.",
    )
    for name in names:
        with draft_may_fail(name, may_fail, may_shrink):
            found[name] = stack.enter_context(load_draft(name, target, registry, progress))
    heads = [name for name, model in found.items() if model.is_head]
    require(
        len(heads) < 2,
        f"{' and '.join(heads)} are heads, and a target drafts with one alone; leave out the rest.",
    )
    for name in heads:
        target.head = found[name]
        stack.callback(setattr, target, "head", None)
    return found


def require_draft(target: Model, draft: Model, *, all_tokens: bool = False) -> None:
    """Raise VocabularyMismatch unless the draft speaks the target's tokens, or some of them.

    all_tokens: some are not enough.
    """
    differences = "; ".join(target.vocab.differences(draft.vocab, draft.token_map))
    if not differences:
        return
    if draft.token_map is None and not draft.is_head and not all_tokens:
        draft.shared = shared_vocabulary(target.vocab, draft.vocab)
    if draft.shared is None:
        raise VocabularyMismatch(
            f"{draft.path.name} cannot draft for {target.path.name}: {differences}. "
            "Choose a draft of the same model family."
        )
    logger.warning(
        f"note: {draft.path.name} has another vocabulary than {target.path.name}, so it drafts "
        "less well than one of the same model family; `spec-local models check` says more."
    )


def names_head(name: str, registry: Registry) -> bool:
    """Whether that is the file of a head for another model, and here."""
    return bool(head_drafters([name], registry))


def head_drafters(names: Iterable[str], registry: Registry) -> list[str]:
    """What drafts with those of the names that are heads for another model, and here."""
    paths = [path for name in names if (path := resolve(name, registry)) is not None]
    kinds = (head_kind(check_model_file(path)) for path in paths)
    return [kind for kind in kinds if kind is not None]


@contextmanager
def draft_may_fail(name: str, may: bool, may_shrink: bool = False) -> Iterator[None]:
    """What keeps a draft model from being loaded in the block is said and no error, if it may.

    may_shrink: with fewer layers on GPUs there may be room for it, so that want of it is an error.
    """
    try:
        yield
    except SpecLocalError as error:
        needs_less = isinstance(error, ShortOfMemory) and not error.of_machine
        if not may or (may_shrink and needs_less):
            raise
        logger.warning("note: nothing drafts with %s: %s", name, error)


def draft_session(draft: Model) -> Session:
    """A context on a draft, perhaps smaller than the target's: a long text is not kept twice.

    A draft model goes on from the end of a text that has outgrown its context.
    """
    wanted = draft.options.n_ctx or draft.n_ctx_train
    return Session(draft, n_ctx=min(wanted, DRAFT_CONTEXT))


def in_target_tokens(draft: Session, target: Session) -> EvaluationSession:
    """The draft's session; of one that is trimmed or has another vocabulary, one that speaks the
    target's token ids.
    """
    model, vocab, n_vocab = draft.model, target.model.vocab, target.n_vocab
    if (kept := model.token_map) is not None:
        piece = model.vocab.piece
        # Of equal pieces the last: sentencepiece vocabularies have raw bytes before letters.
        trimmed = Spelling(
            {token: new for new, token in enumerate(kept)},
            lambda: {piece(new): new for new in range(len(kept)) if piece(new)},
            vocab.piece,
        )
        return MappedSession(draft, Columns(slice(None), np.array(kept)), n_vocab, trimmed)
    if (shared := model.shared) is not None:
        first = model.vocab.special_ids.get("bos") if model.vocab.adds_bos else None
        pairs = np.array(sorted(shared.to_target.items()), np.int32)
        spelling = Spelling(shared.to_draft, lambda: shared.draft_pieces, vocab.spelled, first)
        return MappedSession(draft, Columns(pairs[:, 0], pairs[:, 1]), n_vocab, spelling)
    return draft


def own_words(session: EvaluationSession, draft: Session, target: Session) -> OwnWords | None:
    """How a draft drafts in its own tokens, if it has too few of the target's.

    session: the draft's as `in_target_tokens` has it.
    """
    shared = draft.model.shared
    if shared is None or draws_shared(shared):
        return None
    assert isinstance(session, MappedSession)
    return OwnWords(session, Retelling(target.model.vocab, draft.model.vocab, shared))
