"""What has been pulled into the store: how large it is, whether it is right, and removing it.

Files of other programs, the Hugging Face cache among them, are read here and never removed.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spec_local.errors import ConfigError, DownloadError, ModelFileError
from spec_local.gguf.header import check_model_file, split_parts
from spec_local.models.download import (
    bytes_below,
    in_store,
    lock_of,
    origin_file,
    origin_of,
    pulling,
    resolve,
    staging_of,
    store,
)
from spec_local.models.hub import hub_name
from spec_local.models.registry import Registry
from spec_local.util.files import sha256_of
from spec_local.util.locks import Occupied
from spec_local.util.progress import Share, no_share

_SUFFIXES = (".gguf", ".partial")


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A model in the store, or what a pull that was broken off has left of one."""

    name: str
    path: Path | None
    """Its file, or the first part; None if it has not been pulled to the end."""
    bytes: int
    """Of its files."""
    unfinished: int
    """Bytes of the pull that was broken off."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a model's file is what it should be."""

    right: bool | None
    """None where nothing says what it should be."""
    words: str
    """The same for people."""


def kept_models() -> list[KeptModel]:
    """Everything in the store, by name."""
    folder = store()
    entries = list(folder.iterdir()) if os.path.isdir(folder) else []
    names = {each.name.removesuffix(each.suffix) for each in entries if each.suffix in _SUFFIXES}
    names |= {each.name for each in entries if each.suffix not in _SUFFIXES and in_store(each.name)}
    return [_kept(name) for name in sorted(names)]


def kept_name(name: str, registry: Registry) -> str:
    """What a model is called in the store; the name may be that of Hugging Face."""
    wanted = None if name in registry.models else hub_name(name)
    return name if wanted is None else wanted.slug


def find_kept(name: str, registry: Registry) -> KeptModel:
    """That model in the store; raises ConfigError with the nearest names if it is not there."""
    kept = {each.name: each for each in kept_models()}
    if (found := kept.get(kept_name(name, registry))) is not None:
        return found
    near = difflib.get_close_matches(name, kept, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else "see: spec-local models list"
    raise ConfigError(f"{name} has not been pulled; {hint}")


def place_of(name: str, registry: Registry) -> Path | None:
    """Where a model's file is, even if its size is wrong; None if it has not been pulled.

    Raises ConfigError for a name nobody knows, ModelFileError for a path without a file.
    """
    kept = {each.name: each.path for each in kept_models()}
    elsewhere = name in registry.models and registry.models[name].path is not None
    pulled = None if elsewhere else kept.get(kept_name(name, registry))
    return pulled or resolve(name, registry)


def judge(name: str, registry: Registry, progress: Share = no_share) -> Judgement:
    """Compare a model's file with models.toml, or with what Hugging Face said when it was pulled.

    Without either its header is looked at. Raises ConfigError for a name nobody knows,
    ModelFileError for a path without a file.
    """
    spec = registry.models.get(name)
    path = place_of(name, registry)
    if path is None:
        return Judgement(False, "not pulled")
    if spec is not None and spec.bytes not in (None, path.stat().st_size):
        return Judgement(False, f"wrong: {path.stat().st_size:,} bytes instead of {spec.bytes:,}")
    if spec is not None and spec.sha256 is not None:
        return _compared([path], [spec.sha256], progress)
    origin = origin_of(kept_name(name, registry)) if path.is_relative_to(store()) else None
    if origin is not None and origin.sha256:
        return _compared(split_parts(path), origin.sha256, progress)
    try:
        check_model_file(path)
    except ModelFileError as error:
        return Judgement(False, f"wrong: {error}")
    return Judgement(None, "no hash is known; its header and its size are sound")


def _compared(files: Sequence[Path], digests: Sequence[str], progress: Share) -> Judgement:
    """Compare the parts of a model, one after the other, with their hashes."""
    if len(files) != len(digests):
        return Judgement(False, f"wrong: {len(files)} files instead of {len(digests)}")
    for i, (file, expected) in enumerate(zip(files, digests, strict=True)):
        if not file.is_file():
            return Judgement(False, f"wrong: {file.name} is missing")
        found = sha256_of(file, partial(_part_done, progress, i, len(files)))
        if found != expected:
            return Judgement(False, f"wrong: SHA-256 {found[:12]}… instead of {expected[:12]}…")
    return Judgement(True, "right")


def _part_done(progress: Share, before: int, parts: int, share: float) -> None:
    progress((before + share) / parts)


def can_be_pulled(name: str, registry: Registry) -> bool:
    """Whether a pull can put the right file there: a source is known, and the place is ours."""
    spec, place = registry.models.get(name), place_of(name, registry)
    of_hub = hub_name(name) is not None or origin_of(name) is not None
    known = of_hub if spec is None else spec.path is None
    return known and (place is None or place.is_relative_to(store()))


def remove(model: KeptModel) -> None:
    """Take a model, and what is left of broken pulls, out of the store.

    Raises DownloadError while it is being pulled, or if it cannot be removed.
    """
    try:
        with pulling(model.name, seconds=0):
            (store() / f"{model.name}.gguf").unlink(missing_ok=True)
            origin_file(model.name).unlink(missing_ok=True)
            for folder in (store() / model.name, staging_of(model.name)):
                if folder.exists():
                    shutil.rmtree(folder)
            lock_of(model.name).unlink()
    except Occupied:
        raise DownloadError(
            f"{model.name} is being pulled at this moment; stop that first."
        ) from None
    except OSError as error:
        raise DownloadError(
            f"{model.name} cannot be removed from {store()}: {error.strerror}."
        ) from None


def _kept(name: str) -> KeptModel:
    path = in_store(name)
    is_split = path is not None and path.parent != store()
    size = 0 if path is None else bytes_below(path.parent if is_split else path)
    return KeptModel(name, path, size, bytes_below(staging_of(name)))
