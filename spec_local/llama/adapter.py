"""Which LoRA adapter, and how much of it: what a model is loaded with (`adapting.py`)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from spec_local.errors import require


@dataclass(frozen=True, slots=True)
class Adapter:
    """A file that changes what a model's weights come to.

    W x becomes W x + scale * alpha / rank * B (A x); alpha, A and B are in the file.
    """

    path: Path
    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        require(
            isinstance(self.scale, int | float) and isfinite(self.scale),
            f"The scale of an adapter must be a number, not {self.scale!r}.",
        )

    @classmethod
    def spelled(cls, text: str) -> Adapter:
        """FILE or FILE:SCALE; raises ConfigError if there is no such file.

        Of a file whose own name ends in a colon and a number, that is part of the name.
        """
        file, _, scale = text.rpartition(":")
        number = None if _is_file(text) or not file else _number(scale)
        written = text if number is None else file
        require(
            _is_file(written),
            f"There is no file {written}; give an adapter as FILE, or as FILE:SCALE with a number.",
        )
        return cls(Path(os.path.expanduser(written)), 1.0 if number is None else number)

    def __str__(self) -> str:
        return f"{self.path.name}:{self.scale:g}"


def _is_file(written: str) -> bool:
    return os.path.isfile(os.path.expanduser(written))  # unlike Path's, it takes any name there is


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
