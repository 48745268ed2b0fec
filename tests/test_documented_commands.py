"""Every command that the pages name exists as it is written; those in shell blocks are run.

They run as they stand, on tiny models: a models.toml of the test's own gives these the names that
the pages use. Only sizes are made smaller, by options that are added at the end.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts.cli_reference import reference
from spec_local.cli.app import app
from tests.documents import ROOT, blocks, command_lines, pages
from tests.tiny_gguf import write_tiny
from tests.tiny_lora import write_lora

pytestmark = pytest.mark.llama

NAMES = ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "TARGET", "DRAFT")
FILES = ("target", "draft", "a", "b", "model", "Q8_0", "Q4_0", "draft-untrimmed")
SMALLER = {
    "generate": "--max-tokens 8",
    "chat": "--max-tokens 8",
    "tune": "--seconds 1",
    "verify": "--tokens 4 --per-workload 1",
    "bench": "--tokens 4 --repeats 1 --per-workload 1 --temperature 0",
    "draft trim": "--vocab 266 --force --corpus-tokens 20",
    "draft layers": "--minutes 0.01 --force",
}
"""Options added to a command; the last of several counts."""
FEWER = {"48000": "266"}
"""Values that tiny models are too small for; these have 270 tokens."""

MODELS = {name: f'[models."{name}"]\npath = "{{directory}}/{name}.gguf"\n' for name in NAMES}
PAIRS = """
[pairs."qwen2.5-coder-1.5b"]
target = "qwen2.5-coder-1.5b"
draft = "qwen2.5-coder-0.5b"
"""

WRAPPER = """\
#!{python}
import sys
from spec_local.cli import main
smaller, fewer = {smaller!r}, {fewer!r}
given = sys.argv[1:] = [fewer.get(word, word) for word in sys.argv[1:]]
words = [word for word in given[:2] if not word.startswith("-")]
known = ("compare", "show", "drafts")
if not ("--help" in given or words[:1] == ["bench"] and words[1:] and words[1] in known):
    for name, options in smaller.items():
        if " ".join(words).startswith(name):
            end = given.index("--") if "--" in given else len(given)
            sys.argv[1:] = given[:end] + options.split() + given[end:]
main()
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as the pages take for granted: models by their names, a change in git."""
    place = tmp_path_factory.mktemp("documented")
    for seed, name in enumerate((*NAMES, *FILES)):
        write_tiny(place / f"{name}.gguf", seed=seed, bpe=True, extra_tokens=100)
    write_lora(place / "adapter.gguf", place / "target.gguf")
    (place / "prompt.txt").write_text("The thing and the other thing\n")
    shutil.copy(ROOT / "docs" / "benchmarks" / "Q4_K_M.json", place / "b.json")
    config = place / "home" / ".config" / "spec-local"
    apple = place / "home" / "Library" / "Application Support" / "spec-local"
    for directory in (config, apple):
        directory.mkdir(parents=True)
        models = "\n".join(MODELS.values()).replace("{directory}", str(place))
        (directory / "models.toml").write_text(models + PAIRS)
    programs = place / "bin"
    programs.mkdir()
    (programs / "spec-local").write_text(
        WRAPPER.format(python=sys.executable, smaller=SMALLER, fewer=FEWER)
    )
    (programs / "spec-local").chmod(0o755)
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (programs / "python").chmod(0o755)
    for name in ("scripts", "docs", "examples"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, place / name)
    subprocess.run(["git", "init", "-q", str(place)], check=True)
    subprocess.run(["git", "-C", str(place), "add", "prompt.txt"], check=True)
    (place / "prompt.txt").write_text("The other thing and the thing\n")
    return place


def environment(place: Path) -> dict[str, str]:
    """Models, caches and profiles in that place alone."""
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    home = str(place / "home")
    here = {"PATH": path, "HOME": home, "SPEC_LOCAL_CACHE": str(place / "cache")}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("XDG_")}
    return {**inherited, **here, "PYTHONPATH": str(ROOT)}


def shell_blocks() -> list[tuple[str, int, str]]:
    """Page, number and text of every block that does more than installing."""
    found = []
    for page in pages():
        for number, block in enumerate(blocks(page, "sh")):
            uses = re.search(r"^(?:.*\| )?(?:\w+=\S+ )?(?:spec-local|python scripts)", block, re.M)
            # A server runs until it is ended: tests/test_serve_page.py.
            if uses and not re.search(r"^spec-local serve", block, re.M):
                found.append((str(page.relative_to(ROOT)), number, block))
    return found


@pytest.mark.parametrize(
    ("page", "number", "block"), shell_blocks(), ids=lambda value: str(value)[:24]
)
def test_shell_blocks_run(workplace: Path, page: str, number: int, block: str) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=workplace,
        env=environment(workplace),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def calls() -> list[str]:
    found = (line for page in pages() for line in command_lines(page))
    whole = [line for line in found if "…" not in line]
    return list(dict.fromkeys(re.split(r" (?:\||>|&&) ", line)[0] for line in whole))


@pytest.mark.parametrize("line", [line for line in calls() if line.startswith("spec-local")])
def test_commands_and_options_exist(line: str) -> None:
    result = CliRunner().invoke(app, [*shlex.split(line)[1:], "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("line", [line for line in calls() if line.startswith("python")])
def test_scripts_exist_and_explain_themselves(line: str) -> None:
    words = shlex.split(line)[1:]
    script = words[: 2 if words[0] == "-m" else 1]
    done = subprocess.run(
        [sys.executable, *script, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    assert set(options) <= set(re.findall(r"--[a-z-]+", done.stdout)), line


def snippets() -> list[tuple[str, str]]:
    return [(page.name, code) for page in pages() for code in blocks(page, "python")]


@pytest.mark.parametrize(("page", "code"), snippets())
def test_python_snippets_run(workplace: Path, page: str, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workplace,
        env=environment(workplace),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_reference_is_what_the_commands_say() -> None:
    assert (ROOT / "docs" / "cli.md").read_text() == reference()
