"""What every answer begins with."""

from __future__ import annotations

import time
import uuid
from typing import Any, NamedTuple

from spec_local import __version__

FINGERPRINT = f"spec-local-{__version__}"


class Head(NamedTuple):
    """Which answer it is, of which model, and when it was begun."""

    id: str
    created: int
    """Seconds since 1970."""
    model: str

    @classmethod
    def new(cls, kind: str, model: str) -> Head:
        """With an id that begins with its kind."""
        return cls(f"{kind}-{uuid.uuid4().hex}", int(time.time()), model)

    def fields(self) -> dict[str, Any]:
        """By the names that OpenAI has."""
        return {**self._asdict(), "system_fingerprint": FINGERPRINT}
