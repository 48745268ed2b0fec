"""The energy the processor has used, where the platform tells: Linux's powercap (RAPL) counters."""

from __future__ import annotations

from pathlib import Path

_POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Joules of all processor packages since it was made, or None where nobody counts them."""

    def __init__(self, root: Path = _POWERCAP) -> None:
        self._packages = [
            _Counter(package)
            for package in sorted(root.glob("intel-rapl:[0-9]*"))
            if package.name.count(":") == 1 and _read(package / "energy_uj") is not None
        ]

    def joules(self) -> float | None:
        """Joules the whole machine has used, whatever ran on it; None if nothing tells."""
        if not self._packages:
            return None
        return sum(package.microjoules() for package in self._packages) / 1e6


class _Counter:
    """One package's counter, which wraps around."""

    def __init__(self, package: Path) -> None:
        self._file = package / "energy_uj"
        self._range = _read(package / "max_energy_range_uj") or 0
        self._last = _read(self._file) or 0
        self._total = 0

    def microjoules(self) -> int:
        now = _read(self._file)
        if now is not None:
            self._total += now - self._last if now >= self._last else now - self._last + self._range
            self._last = now
        return self._total


def _read(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None
