"""Energy counters: added up, wrapped around, or not there."""

from __future__ import annotations

from pathlib import Path

from spec_local.bench.run.energy import EnergyMeter


def package(root: Path, name: str, microjoules: int, most: int = 1_000_000) -> Path:
    directory = root / name
    directory.mkdir()
    (directory / "max_energy_range_uj").write_text(f"{most}\n")
    (directory / "energy_uj").write_text(f"{microjoules}\n")
    return directory / "energy_uj"


def test_packages_are_added_up_and_parts_of_them_are_not(tmp_path: Path) -> None:
    first, second = package(tmp_path, "intel-rapl:0", 100), package(tmp_path, "intel-rapl:1", 0)
    package(tmp_path, "intel-rapl:0:0", 5)
    meter = EnergyMeter(tmp_path)
    first.write_text("600100\n")
    second.write_text("400000\n")
    assert meter.joules() == 1.0


def test_a_counter_that_wraps_around(tmp_path: Path) -> None:
    counter = package(tmp_path, "intel-rapl:0", 900_000)
    meter = EnergyMeter(tmp_path)
    counter.write_text("100000\n")
    assert meter.joules() == 0.2
    counter.write_text("300000\n")
    assert meter.joules() == 0.4


def test_nobody_counts(tmp_path: Path) -> None:
    assert EnergyMeter(tmp_path).joules() is None
    assert EnergyMeter(tmp_path / "missing").joules() is None
