"""The profile: what was learned about this machine, kept between runs as small JSON files.

One file per model and everything its speed depends on holds the cost curve; one per pair holds the
acceptance of its drafters. A file that is missing, damaged, or of another version is as if nothing
had been learned; one that cannot be written is lost, never fatal.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from spec_local.acceptance import Acceptance
from spec_local.costs import CostCurve
from spec_local.paths import cache_directory

logger = logging.getLogger("spec_local.profile")

VERSION = 1
"""Of the files' form; files of another version are replaced."""

Identity = Mapping[str, str | int]
"""What a curve belongs to (`llama/identity.py`)."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class ProfileStore:
    """Profiles in a directory."""

    directory: Path

    @classmethod
    def of_user(cls) -> ProfileStore:
        """In the cache directory."""
        return cls(cache_directory() / "profiles")

    def curve(self, identity: Identity) -> CostCurve:
        """The cost curve kept for this model and machine, or one that knows nothing yet."""
        kept = self._load(self._path(identity), identity).get("curve")
        return _parse(kept, CostCurve.from_dict, CostCurve)

    def save_curve(self, identity: Identity, curve: CostCurve, tuned: bool = False) -> None:
        """Keep a curve. tuned: it was measured by `spec-local tune`, which is not forgotten."""
        path = self._path(identity)
        tuned = tuned or self.is_tuned(identity)
        self._write(path, {"identity": dict(identity), "tuned": tuned, "curve": curve.as_dict()})

    def is_tuned(self, identity: Identity) -> bool:
        """Whether `spec-local tune` has measured this model here."""
        return self._load(self._path(identity), identity).get("tuned") is True

    def acceptance(self, pair: Identity, drafter: str) -> Acceptance:
        """What is known of a drafter for these models."""
        found = self._load(self._path(pair), pair).get("acceptance")
        known = found.get(drafter, {}) if isinstance(found, dict) else {}
        return _parse(known, Acceptance.from_dict, Acceptance)

    def save_acceptance(self, pair: Identity, known: Mapping[str, Acceptance]) -> None:
        """Keep what is known of the drafters of these models."""
        acceptance = {name: each.as_dict() for name, each in known.items()}
        self._write(self._path(pair), {"identity": dict(pair), "acceptance": acceptance})

    def _path(self, identity: Identity) -> Path:
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        name = str(identity.get("model", "model")).removesuffix(".gguf")
        return self.directory / f"{name}-{digest[:16]}.json"

    def _load(self, path: Path, identity: Identity) -> dict[str, Any]:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        current = isinstance(data, dict) and data.get("version") == VERSION
        return data if current and data.get("identity") == dict(identity) else {}

    def _write(self, path: Path, data: Mapping[str, Any]) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=self.directory, suffix=".partial")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump({"version": VERSION, **data}, file)
                os.replace(partial, path)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
        except OSError as error:
            logger.info("the profile %s could not be written: %s", path, error)


def _parse(
    data: Any, parse: Callable[[Mapping[str, Any]], Found], nothing: Callable[[], Found]
) -> Found:
    try:
        return parse(data)
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
        return nothing()
