"""The script that counts rooms, on a package whose figures are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.rooms import count
from tests.documents import ROOT


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """cli uses engine and util, engine uses util; cli is a folder of two files."""
    files = {
        "__init__.py": "",
        "cli/__init__.py": "",
        "cli/app.py": "from package.engine import run\nfrom package.cli import chat\n",
        "cli/chat.py": "def chat():\n    import package.util\n",
        "engine.py": "from package import util\nimport json\n",
        "util.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "package"


def test_rooms_floors_and_arrows(package: Path) -> None:
    assert count(package) == {"rooms": 3, "floors": 3, "arrows": 3, "circles": 0}
    assert count(package / "cli") == {"rooms": 2, "floors": 2, "arrows": 1, "circles": 0}


def test_a_circle_is_found(package: Path) -> None:
    (package / "util.py").write_text("def later():\n    from package.cli import app\n")
    found = count(package)
    assert found["arrows"] == 4
    assert found["circles"] == 2  # by way of the engine, and without it


def test_this_package_has_no_circle() -> None:
    folders = [ROOT / "spec_local", *(p.parent for p in (ROOT / "spec_local").rglob("__init__.py"))]
    assert not any(count(folder)["circles"] for folder in folders)
