"""Which versions are installed, and whether they are those that spec-local is made for."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

DECIDING = ("spec-local", "llama-cpp-python", "gguf", "numpy")
"""Packages that decide how fast and what is written."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """A package that spec-local requires, and that is missing or of another version."""

    name: str
    requirement: str
    """As pip takes it."""
    installed: str | None
    """None if it is missing."""


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide; those that are missing are left out."""
    found = {name: _version(name) for name in DECIDING}
    return {
        "python": platform.python_version(),
        **{name: each for name, each in found.items() if each is not None},
    }


def requirements() -> dict[str, str]:
    """What spec-local requires here, without its extras, by the name: as pip takes it.

    Raises PackageNotFoundError where spec-local was not installed, and ImportError.
    """
    from packaging.requirements import Requirement

    wanted = map(Requirement, requires("spec-local") or ())
    here = (each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""}))
    return {each.name: f"{each.name}{each.specifier}" for each in here}


def unmet(wanted: dict[str, str]) -> Iterator[Unmet]:
    """Those of the requirements that are not fulfilled. Raises ImportError."""
    from packaging.requirements import Requirement

    for name, requirement in wanted.items():
        found, allowed = _version(name), Requirement(requirement).specifier
        if found is None or not allowed.contains(found, prereleases=True):
            yield Unmet(name, requirement, found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
