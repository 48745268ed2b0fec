"""Which models could draft for a target: those at hand, by their headers, and those to pull."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from spec_local.errors import ModelFileError
from spec_local.gguf.header import GGUFHeader, check_model_file, model_bytes
from spec_local.llama.heads import head_kind
from spec_local.llama.vocab import PADDING_TOLERANCE
from spec_local.models.present import known_bytes, models_here
from spec_local.models.registry import Registry
from spec_local.models.stores import StoredFile, stored_files

SHARES = (0.02, 0.35)
"""Of the target's bytes: a smaller draft says too little, a larger one costs too much."""


def drafts_for(
    target: Path, registry: Registry, folders: Iterable[Path] = ()
) -> Iterator[StoredFile]:
    """Models here with the target's vocabulary and a fitting size, the smallest first.

    folders: others to look into, with everything below them. Raises ModelFileError if the target is
    damaged.
    """
    wanted, whole = check_model_file(target), model_bytes(target)
    places = {
        each.path: each for each in reversed([*models_here(registry), *stored_files(folders)])
    }
    sized = [(model_bytes(path), each) for path, each in places.items() if path != target]
    fitting = [(size, each) for size, each in sized if fits(size, whole)]
    for _size, each in sorted(fitting, key=lambda pair: pair[0]):
        if _same_vocabulary(each.path, wanted):
            yield each


def drafts_listed(name: str, target: Path | None, registry: Registry) -> list[str]:
    """Drafts that models.toml knows for a target, whether they are here or not, its own first.

    Others are those of its family that are not known to be too small or too large. target: its
    file, None if it is not here. Raises ModelFileError if that is damaged.
    """
    whole, family = known_bytes(name, registry), _family(name, target, registry)
    pairs = registry.pairs.values()
    own = dict.fromkeys(draft for pair in pairs if pair.target == name for draft in pair.drafts)
    drafts = (draft for pair in pairs for draft in pair.drafts)
    others = dict.fromkeys(draft for draft in drafts if draft in family - {name, *own})
    sizes = {draft: known_bytes(draft, registry) for draft in others}
    fitting = [d for d, size in sizes.items() if not (size and whole) or fits(size, whole)]
    return [*own, *fitting]


def _family(name: str, target: Path | None, registry: Registry) -> set[str]:
    """Models of models.toml that share a target's vocabulary, as those of one pair must.

    So do all of pairs that have a model in common. A target that is a file, without a name there,
    is of the family of those that are here and have its vocabulary.
    """
    family = {name} & set(registry.models)
    if target is not None and not family:
        wanted = check_model_file(target)
        family = {
            each.name for each in models_here(registry) if _same_vocabulary(each.path, wanted)
        }
    while True:
        grown = family.union(
            *(pair.models for pair in registry.pairs.values() if family & {*pair.models})
        )
        if grown == family:
            return family
        family = grown


def fits(size: int, target: int) -> bool:
    """Whether a draft of so many bytes suits a target of so many."""
    least, most = SHARES
    return least * target <= size <= most * target


def _same_vocabulary(path: Path, wanted: GGUFHeader) -> bool:
    try:
        found = check_model_file(path)
    except ModelFileError:
        return False
    # A head has the vocabulary of all targets of its family, and was trained for one of them.
    alike = found.vocabulary == wanted.vocabulary != "" and head_kind(found) is None
    return alike and abs(found.n_vocab - wanted.n_vocab) <= PADDING_TOLERANCE
