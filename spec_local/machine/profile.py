"""The profile: what was learned about this machine, kept between runs as small JSON files.

One file per model and everything its speed depends on holds the cost curve and the certificates of
exactness; one per pair holds the acceptance of its drafters. A file that is missing, damaged, or of
another version is as if nothing had been learned; one that cannot be written is known as long as
the store is there, never fatal.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from math import isfinite
from pathlib import Path
from time import time
from typing import Any, TypeVar

from spec_local.control.acceptance import Acceptance
from spec_local.control.costs import CostCurve
from spec_local.machine.certify import Certificate
from spec_local.util.files import replace_file
from spec_local.util.locks import Occupied, locked
from spec_local.util.paths import cache_directory

logger = logging.getLogger("spec_local.machine.profile")

VERSION = 2
"""Version of the files' form; files of another version are replaced."""

_MOST_SPEED_CHANGE = 3.0
"""Most that log(speed) can change: a machine 20 times as fast is another one, or a damaged file."""

_LOCK_SECONDS = 5.0
"""Longest wait for another process that writes a profile; after that, this once is not kept."""

Identity = Mapping[str, str | int]
"""What a curve belongs to (`llama/identity.py`)."""

_CERTIFICATE = "certificate "
"""Begins the key of a certificate; its base follows, so that two processes can keep one each."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class ProfileStore:
    """Profiles in a directory.

    An application that keeps them elsewhere, such as in its own database, overrides `read` and
    `change`: everything goes through these two.
    """

    directory: Path
    _unwritten: dict[Path, dict[str, Any]] = field(default_factory=dict, compare=False, repr=False)
    """Profiles that the disk did not take, by their place."""

    @classmethod
    def of_user(cls) -> ProfileStore:
        """In the cache directory."""
        return cls(cache_directory() / "profiles")

    def curve(self, identity: Identity) -> CostCurve:
        """The cost curve kept for this model and machine, or one that knows nothing yet."""
        kept = self.read(identity).get("curve")
        return _parse(kept, CostCurve.from_dict, CostCurve)

    def draft_curve(self, identity: Identity, target: Identity, curve: CostCurve) -> CostCurve:
        """The curve of a draft, brought to the machine's speed in that of its target.

        What counts is how much a drafted token costs against one of the target. The two may have
        been kept at different times, so the target's scale at the draft's time is kept with it.
        """
        draft = self.curve(identity)
        beside = self.read(identity).get("beside")
        known = isinstance(beside, dict) and beside.get("target") == _digest(target)
        scale = beside.get("scale") if known and isinstance(beside, dict) else None
        if isinstance(scale, float) and abs(curve.scale - scale) < _MOST_SPEED_CHANGE:
            draft.rescale(curve.scale - scale)
        return draft

    def save_curve(self, identity: Identity, curve: CostCurve, tuned: bool = False) -> None:
        """Keep a curve. tuned: it was measured by `spec-local tune`, which is not forgotten."""
        self._save_curve(identity, curve, tuned, {})

    def save_draft_curve(
        self,
        identity: Identity,
        curve: CostCurve,
        target: Identity,
        target_curve: CostCurve,
        tuned: bool = False,
    ) -> None:
        """Keep a draft's curve and what the speed of its target was."""
        beside = {"target": _digest(target), "scale": target_curve.scale}
        self._save_curve(identity, curve, tuned, {"beside": beside})

    def _save_curve(
        self, identity: Identity, curve: CostCurve, tuned: bool, more: Mapping[str, Any]
    ) -> None:
        kept = {"tuned": time() if tuned else self.tuned_at(identity), "curve": curve.as_dict()}
        self.change(identity, {**kept, "beside": None, **more})

    def tuned_at(self, identity: Identity) -> float:
        """When `spec-local tune` measured this model here, as a Unix time; 0.0 for never."""
        when = self.read(identity).get("tuned")
        return when if isinstance(when, float) else 0.0

    def certificate(self, identity: Identity, base: int) -> Certificate | None:
        """At which widths this model computes the same here as at the base, if that is known."""
        return next((c for c in self.certificates(identity) if c.base == base), None)

    def certificates(self, identity: Identity) -> list[Certificate]:
        """All that are kept for this model and machine."""
        kept = self.read(identity).items()
        entries = [entry for key, entry in kept if key.startswith(_CERTIFICATE)]
        parsed = (_parse(entry, Certificate.from_dict, lambda: None) for entry in entries)
        return [certificate for certificate in parsed if certificate is not None]

    def save_certificate(self, identity: Identity, certificate: Certificate) -> None:
        """Keep a certificate beside those of other bases."""
        self.change(identity, {f"{_CERTIFICATE}{certificate.base}": certificate.as_dict()})

    def acceptance(self, pair: Identity, drafter: str, drawn: bool) -> dict[str, Acceptance]:
        """What is known of a drafter for these models, by the kind of its confidences.

        drawn: they are a model's probabilities.
        """
        found = self.read(pair).get("acceptance")
        kinds = found.get(drafter) if isinstance(found, dict) else None
        parse, nothing = (
            partial(Acceptance.from_dict, drawn=drawn),
            partial(Acceptance, None, drawn),
        )
        return {
            kind: _parse(known, parse, nothing)
            for kind, known in (kinds.items() if isinstance(kinds, dict) else ())
        }

    def save_pair(
        self, pair: Identity, known: Mapping[str, Mapping[str, Acceptance]], credit: float | None
    ) -> None:
        """Keep what is known of drafters of these models, by the kind of their confidences.

        What is kept of others stays. credit: what their answers may lose yet; None: that is kept
        elsewhere.
        """
        kept = self.read(pair).get("acceptance")
        acceptance = dict(kept) if isinstance(kept, dict) else {}
        for name, kinds in known.items():
            acceptance[name] = {kind: each.as_dict() for kind, each in kinds.items()}
        self.change(pair, {"acceptance": acceptance, "credit": credit})

    def credit(self, pair: Identity) -> float | None:
        """What this pair's answers may lose yet (`control/budget.py`); None if that is not kept."""
        kept = self.read(pair).get("credit")
        return kept if isinstance(kept, float) and isfinite(kept) else None

    def read(self, identity: Identity) -> dict[str, Any]:
        """All entries kept for an identity; none if it has no profile, or a damaged one."""
        path = self._path(identity)
        if path in self._unwritten:
            return self._unwritten[path]
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        current = isinstance(data, dict) and data.get("version") == VERSION
        return data if current and data.get("identity") == dict(identity) else {}

    def change(self, identity: Identity, entries: Mapping[str, Any]) -> None:
        """Replace some entries of a profile; the others stay, also those of another process.

        entries: what JSON can hold. A failure to write is logged once, not raised.
        """
        path, own = self._path(identity), {"version": VERSION, "identity": dict(identity)}
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with locked(self.directory / ".lock", _LOCK_SECONDS):
                kept = {**self.read(identity), **own, **entries}
                replace_file(path, json.dumps(kept).encode())
            self._unwritten.pop(path, None)
        except (OSError, Occupied) as error:
            _note_unwritten(self.directory, getattr(error, "strerror", None) or str(error))
            self._unwritten[path] = {**self.read(identity), **own, **entries}

    def _path(self, identity: Identity) -> Path:
        name = str(identity.get("model", "model")).removesuffix(".gguf")
        return self.directory / f"{name}-{_digest(identity)}.json"


@cache
def _note_unwritten(directory: Path, reason: str) -> None:
    """Say once what would be measured again at every start."""
    logger.warning(
        f"note: what is learned of this machine cannot be kept in {directory}: {reason}; set "
        "SPEC_LOCAL_CACHE to a folder that can be written."
    )


def _digest(identity: Identity) -> str:
    return hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()[:16]


def _parse(
    data: Any, parse: Callable[[Mapping[str, Any]], Found], nothing: Callable[[], Found]
) -> Found:
    try:
        return parse(data)
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError):
        return nothing()
