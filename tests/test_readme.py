"""The README's commands are the ones that CI runs, and there are two of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def setup_commands() -> list[str]:
    """Command lines of the README that set something up."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if "pip install" in line]


def test_two_commands_set_up_everything() -> None:
    run, test = setup_commands()
    assert "spec-local race" in run
    assert "pytest" in test


def test_ci_runs_the_readmes_test_command() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    assert setup_commands()[1] in ci.splitlines()
    checks = ("ruff check", "ruff format --check", "mypy spec_local scripts tests", "lint-imports")
    for check in checks:
        assert check in ci
