"""Whether Qt can open a window on this machine, tried where it may abort."""

from __future__ import annotations

import os
import subprocess
import sys

_OPEN = "from PySide6.QtWidgets import QApplication; QApplication([])"


def trouble(**environment: str) -> str:
    """What Qt says that keeps it from opening a window without a screen; nothing if it opens one.

    Where a library of the system is missing, Qt ends the process instead of raising.
    """
    offscreen = {"QT_QPA_PLATFORM": "offscreen", **environment}
    tried = subprocess.run(
        [sys.executable, "-c", _OPEN],
        capture_output=True,
        text=True,
        env={**os.environ, **offscreen},
    )
    said = " ".join(tried.stderr.split())
    return "" if tried.returncode == 0 else said or f"it ended with {tried.returncode}"
