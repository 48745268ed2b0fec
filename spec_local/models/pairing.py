"""Which of the models at hand could draft for a target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spec_local.errors import ConfigError, ModelFileError
from spec_local.gguf.header import check_model_file, model_bytes
from spec_local.llama.vocab import PADDING_TOLERANCE
from spec_local.models.download import resolve
from spec_local.models.registry import Registry
from spec_local.models.stores import StoredFile, stored_files

SHARES = (0.02, 0.35)
"""Of the target's bytes: a smaller draft says too little, a larger one costs too much."""


def drafts_for(target: Path, registry: Registry) -> Iterator[StoredFile]:
    """Models here with the target's vocabulary and a fitting size, the smallest first.

    Raises ModelFileError if the target is damaged.
    """
    wanted = check_model_file(target)
    least, most = (share * model_bytes(target) for share in SHARES)
    sized = [(model_bytes(each.path), each) for each in _at_hand(registry) if each.path != target]
    fitting = [(size, each) for size, each in sized if least <= size <= most]
    for _size, each in sorted(fitting, key=lambda pair: pair[0]):
        try:
            found = check_model_file(each.path)
        except ModelFileError:
            continue
        alike = found.vocabulary == wanted.vocabulary != ""
        if alike and abs(found.n_vocab - wanted.n_vocab) <= PADDING_TOLERANCE:
            yield each


def _at_hand(registry: Registry) -> Iterator[StoredFile]:
    """Models of models.toml that have been pulled, then those of other programs."""
    for name in registry.models:
        try:
            path = resolve(name, registry)
        except (ConfigError, ModelFileError):
            continue
        if path is not None:
            yield StoredFile(name, "spec-local", path)
    yield from stored_files()
