"""From names to open models: which pair is meant, pulling its files, loading them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from spec_local.engine.types import EvaluationSession
from spec_local.errors import VocabularyMismatch, require
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.models.download import pulled
from spec_local.models.registry import PairSpec, Registry
from spec_local.models.trimmed import MappedSession

Progress = Callable[[str, float], None]
"""Called with what is going on ("pull NAME", "load NAME", "certify NAME",
"prompt") and how far it is, 0 to 1."""


def no_progress(_stage: str, _fraction: float) -> None:
    """For callers that do not want to know."""


def choose_pair(
    registry: Registry, pair: str | None, target: str | Path | None, draft: str | Path | None
) -> PairSpec:
    """The pair of that name, or one of a target and perhaps a draft, by name or path."""
    require(pair is None or target is None, "Give a pair or a target, not both.")
    require(pair is None or draft is None, "A draft goes with a target; a pair has its own.")
    if target is None:
        require(pair is not None, "Give a pair or a target.")
        return registry.pair(str(pair))
    return PairSpec(str(target), None if draft is None else str(draft))


def load_models(
    files: Sequence[str],
    registry: Registry,
    options: LoadOptions | None,
    progress: Progress,
    stack: ExitStack,
) -> list[Model]:
    """Load the target and drafts that share its vocabulary; the stack closes them.

    Raises VocabularyMismatch when they do not share it.
    """
    target, *drafts = files
    model = stack.enter_context(_load_model(target, registry, options, progress))
    return [model, *(load_draft(each, model, registry, progress, stack) for each in drafts)]


def load_draft(
    file: str, target: Model, registry: Registry, progress: Progress, stack: ExitStack
) -> Model:
    """Load a draft with its target's options; the stack closes it. Raises VocabularyMismatch."""
    draft = stack.enter_context(_load_model(file, registry, target.options, progress))
    differences = "; ".join(target.vocab.differences(draft.vocab, draft.token_map))
    if differences:
        raise VocabularyMismatch(
            f"{draft.path.name} cannot draft for {target.path.name}: {differences}. "
            "Choose a draft of the same model family."
        )
    return draft


def in_target_tokens(draft: Session, target: Session) -> EvaluationSession:
    """The draft's session; of a trimmed draft, one that speaks the target's token ids."""
    token_map = draft.model.token_map
    if token_map is None:
        return draft
    pieces = draft.model.vocab.piece, target.model.vocab.piece
    return MappedSession(draft, token_map, target.n_vocab, *pieces)


def _load_model(
    name: str, registry: Registry, options: LoadOptions | None, progress: Progress
) -> Model:
    path = pulled(name, registry, progress)
    return Model(path, options, lambda fraction: progress(f"load {path.stem}", fraction))
