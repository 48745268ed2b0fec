"""Where a pulled file of Hugging Face is from, and its hashes there: kept beside it, NAME.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from spec_local.errors import ConfigError
from spec_local.models.registry import HuggingFaceFile
from spec_local.util.records import record


@dataclass(frozen=True, slots=True)
class Origin:
    """What the hub said of a model's file when it was pulled."""

    hf: HuggingFaceFile
    sha256: tuple[str, ...]
    """Of the file, or of the parts of a split model in their order."""

    def write(self, path: Path) -> None:
        """Keep it; raises OSError."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Origin | None:
        """What was kept; None if there is nothing, or something else."""
        try:
            return record(cls, json.loads(path.read_text(encoding="utf-8")), path.name)
        except (OSError, ValueError, ConfigError):
            return None
