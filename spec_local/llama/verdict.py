"""What a trial found out about a file, kept by the file's contents.

`tried/DIGEST` is empty where the file survived. Else it has the release of spec-local, whose limits
another one may not share, and the refusal. A digest knows samples of the weights only, which is
enough to open a file and not to refuse a better copy: a file that has changed since is tried again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from spec_local.util.files import replace_file
from spec_local.util.paths import cache_directory

logger = logging.getLogger("spec_local.llama.trial")


@dataclass(frozen=True, slots=True)
class Verdict:
    """On the files of one model, opened with the same settings by the same llama.cpp."""

    digest: str
    files: tuple[Path, ...]

    def read(self) -> str | None:
        """Why the model was refused; empty if it survived, None if it must be tried."""
        try:
            release, _, refusal = self._place.read_text(encoding="utf-8").partition("\n")
            changed = max(max(stat.st_mtime, stat.st_ctime) for stat in map(Path.stat, self.files))
            if not release or (release == _release() and changed < self._place.stat().st_mtime):
                return refusal
        except (OSError, UnicodeDecodeError):
            pass
        return None

    def keep(self, refusal: str = "") -> None:
        """For the next time; empty if it survived. Where that cannot be kept it is tried again."""
        said = f"{_release()}\n{refusal}" if refusal else ""
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._place, said.encode())
        except OSError as error:
            logger.info("the verdict on a file could not be kept: %s", error)

    @property
    def _place(self) -> Path:
        return cache_directory() / "tried" / self.digest


def _release() -> str:
    return version("spec-local")
