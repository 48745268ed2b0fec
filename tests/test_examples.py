"""The examples are run as a person runs them, on SmolLM2."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.llama

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
SMALL = "smollm2-135m"


@pytest.fixture
def cache(tmp_path: Path, model_files: list[Path]) -> Path:
    """A cache directory that has SmolLM2, and where the examples keep what they learn."""
    directory = tmp_path / "cache"
    (directory / "models").mkdir(parents=True)
    (directory / "models" / f"{SMALL}.gguf").symlink_to(model_files[0])
    return directory


def run(cache: Path, name: str, *arguments: str | Path, stdin: str = "") -> str:
    """What an example prints; it must not fail and needs no argument but sizes."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "SPEC_LOCAL_CACHE": str(cache), "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_tested_and_listed() -> None:
    page, tests = (EXAMPLES / "README.md").read_text(), Path(__file__).read_text()
    for program in EXAMPLES.glob("*.py"):
        assert f"({program.name})" in page
        assert f'"{program.name}"' in tests
        assert len(program.read_text().splitlines()) <= 65


@pytest.mark.model(SMALL)
def test_chat_loop(cache: Path) -> None:
    said = run(cache, "chat_loop.py", "--max-tokens", "12", stdin="Hello!\nWho are you?\n")
    *_, system, hello, _answer, question, _last = said.splitlines()
    assert system.startswith("system: ")
    assert (hello, question) == ("user: 6 characters", "user: 12 characters")


@pytest.mark.model(SMALL)
def test_json_by_schema(cache: Path) -> None:
    person = json.loads(run(cache, "json_by_schema.py"))
    assert set(person) == {"name", "born", "field"}
    assert 1000 <= person["born"] <= 2100


@pytest.mark.model(SMALL)
def test_thread_with_cancel(cache: Path) -> None:
    out = run(cache, "thread_with_cancel.py", "--max-tokens", "12")
    story, answer = out.split("What is a lighthouse for?\n")
    kept = re.fullmatch(
        r"Tell me [^\n]*\n(.*)\n\[cancelled after \d+ tokens\]\s*", story, re.DOTALL
    )
    assert kept is not None
    assert len(kept[1]) > 20
    assert answer.strip().endswith("[length after 12 tokens]")


@pytest.mark.model(SMALL)
def test_own_drafter(cache: Path) -> None:
    plain, drafted, *_text, verdict = run(cache, "own_drafter.py").splitlines()
    assert verdict == "The same text: True"
    evaluations = [int(line.split()[-2]) for line in (plain, drafted)]
    assert evaluations[1] < evaluations[0]


@pytest.mark.model(SMALL)
def test_own_profile_store(cache: Path, tmp_path: Path) -> None:
    first, second = (
        run(cache, "own_profile_store.py", "--directory", tmp_path).splitlines() for _ in range(2)
    )
    assert first[0] == "Known beforehand: nothing"
    assert second[0] == "Known beforehand: yes"
    assert float(second[1].split()[3]) > 0
    assert not (cache / "profiles").exists()
