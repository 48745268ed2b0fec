"""GGUF files that other programs have fetched: found where they keep them, never touched."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spec_local.util.paths import home_directory, user_directory

_OLLAMA_MODEL = "application/vnd.ollama.image.model"
_SMALLEST = 1 << 16
"""Bytes; tokenizers and broken downloads are smaller."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A model file of another program."""

    name: str
    """What it is called there; `-m` takes it."""
    store: str
    path: Path


def stored_files(folders: Iterable[Path] = ()) -> list[StoredFile]:
    """All that are found, by name; of files with one name the first one found.

    folders: others to look into, with everything below them.
    """
    found: dict[str, StoredFile] = {}
    for each in _everywhere(folders):
        found.setdefault(each.name, each)
    return sorted(found.values(), key=lambda each: each.name.lower())


def _everywhere(folders: Iterable[Path]) -> Iterator[StoredFile]:
    from huggingface_hub import constants

    for folder in folders:
        yield from _below(folder, str(folder))
    homes = list(filter(None, [home_directory()]))
    for home in homes:
        for models in (home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"):
            yield from _below(models, "LM Studio")
    own = os.environ.get("OLLAMA_MODELS")
    of_ollama = [*(home / ".ollama/models" for home in homes), *_OLLAMA_OF_ALL]
    for folder in [Path(own)] if own else of_ollama:
        yield from _of_ollama(folder)
    for folder in filter(None, [_llama_cpp_cache()]):
        yield from _below(folder, "llama.cpp")
    yield from _of_the_hub(Path(constants.HF_HUB_CACHE))


_OLLAMA_OF_ALL = (Path("/usr/share/ollama/.ollama/models"), Path("/var/lib/ollama/.ollama/models"))


def _llama_cpp_cache() -> Path | None:
    own = os.environ.get("LLAMA_CACHE")
    return Path(own) if own else user_directory("cache", "llama.cpp")


def _below(folder: Path, store: str) -> Iterator[StoredFile]:
    for path in models_below(folder):
        yield StoredFile(path.stem, store, path)


def models_below(folder: Path) -> list[Path]:
    """Models below a folder; of a split one its first part, and no projectors for pictures."""
    try:
        paths = [path for path in folder.rglob("*.gguf") if _is_model(path)]
    except OSError:  # a folder that cannot be read
        return []
    return sorted(paths)


def is_model_name(name: str) -> bool:
    """Whether a file of that name is a model: not a later part of one, not for pictures."""
    path = Path(name)
    later_part = "-of-" in path.stem and "-00001-of-" not in path.stem
    return path.suffix == ".gguf" and not later_part and "mmproj" not in path.name


def _is_model(path: Path) -> bool:
    if not is_model_name(path.name):
        return False
    try:
        return path.is_file() and path.stat().st_size >= _SMALLEST
    except OSError:
        return False


def _of_ollama(folder: Path) -> Iterator[StoredFile]:
    """Ollama keeps files by their hash; a manifest for every name says which it is."""
    manifests = folder / "manifests"
    try:
        paths = sorted(path for path in manifests.rglob("*") if path.is_file())
    except OSError:
        return
    for path in paths:
        try:
            host, *space, model, tag = path.relative_to(manifests).parts
            layers = json.loads(path.read_text(encoding="utf-8"))["layers"]
            digest = next(each["digest"] for each in layers if each["mediaType"] == _OLLAMA_MODEL)
            blob = folder / "blobs" / str(digest).replace(":", "-")
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            continue  # not a manifest, or of a model of another kind
        names = [] if space == ["library"] else [host, *space]
        if os.path.isfile(blob):
            yield StoredFile("/".join([*names, f"{model}:{tag}"]), "Ollama", blob)


def _of_the_hub(cache: Path) -> Iterator[StoredFile]:
    """The Hugging Face cache: models--OWNER--REPO/snapshots/REVISION/…"""
    for path in models_below(cache):
        parts = path.relative_to(cache).parts
        if parts[0].startswith("models--") and "snapshots" in parts:
            repo = "/".join(parts[0].removeprefix("models--").split("--"))
            yield StoredFile(f"{repo}/{path.name}", "Hugging Face", path)
