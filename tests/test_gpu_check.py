"""scripts/gpu_check.sh: every step has its limit, one that fails is noted, and the page of what was
found is computed from the files. That it measures is tested on the processor, by night."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from time import sleep
from typing import Any

import psutil
import pytest

from scripts.gpu_check_summary import page
from spec_local.llama.build import this_build
from spec_local.machine.certify import Certificate
from spec_local.machine.profile import ProfileStore
from tests.bench_example import example
from tests.documents import ROOT

pytestmark = pytest.mark.llama

SCRIPT = ROOT / "scripts" / "gpu_check.sh"


def run(*arguments: object, **environment: object) -> subprocess.CompletedProcess[str]:
    own = {"WHEEL": "", "MODELS": "", "LLAMA_SERVER": "", "PYTHON": sys.executable, "OUT": ""}
    given = os.environ | own | {name: str(value) for name, value in environment.items()}
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, arguments)], capture_output=True, text=True, env=given
    )


def limited(command: str, tmp_path: Path) -> tuple[int, str]:
    """The exit code of what is limited to a second, and its log."""
    line = f". {ROOT}/scripts/limited.sh; limited 1 log {command}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path)
    return done.returncode, (tmp_path / "log").read_text()


# ---- limits --------------------------------------------------------------------------------------


def test_what_ends_in_time_keeps_its_exit_code_and_its_output(tmp_path: Path) -> None:
    assert limited("sh -c 'echo out; echo err >&2; exit 7'", tmp_path) == (7, "out\nerr\n")
    assert limited("true", tmp_path) == (0, "")


def test_what_takes_too_long_is_asked_to_end_with_all_its_children(tmp_path: Path) -> None:
    ending = "trap 'echo ended; exit' INT; sleep 60 & echo $!; wait"
    code, log = limited(f'bash -c "{ending.replace("$", chr(92) + "$")}"', tmp_path)
    child, said = log.split()
    assert (code, said) == (124, "ended")
    for _ in range(100):
        if has_ended(int(child)):
            return
        sleep(0.1)
    pytest.fail("the child goes on")


def has_ended(process: int) -> bool:
    """So has a zombie, of which nobody has asked how it ended."""
    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


# ---- steps ---------------------------------------------------------------------------------------


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """A Python for which every step takes no time: one fails, and those of `-c` are real."""
    path = tmp_path / "python"
    path.write_text(
        "#!/bin/sh\n"
        f'case "$1 $2" in -c*|*gpu_check_summary) exec {sys.executable} "$@" ;; esac\n'
        'echo "$@" >>"$CALLS"\n'
        'case "$*" in *"spec_local bench"*) exit 3 ;; esac\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("quick", [True, False])
def test_a_step_that_fails_is_noted_and_the_next_one_begins(
    stub: Path, tmp_path: Path, quick: bool
) -> None:
    models, out, calls = tmp_path / "models", tmp_path / "of here" / "out", tmp_path / "calls"
    models.mkdir()
    for name in ("smollm2-135m", "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"):
        (models / f"{name}.gguf").write_bytes(b"GGUF")
    out.parent.mkdir()
    options = ["--models", models, "--out", out, "--python", stub, "--work", tmp_path]
    done = run(*options, *(["--quick"] if quick else []), CALLS=calls)
    assert done.returncode == 0, done.stderr
    found = dict(line.split("\t")[:2] for line in (out / "steps.tsv").read_text().splitlines())
    assert found["bench"] == "failed with 3"
    assert {"doctor", "overhead", "exact-smollm2-135m", "tests", "moe"} <= found.keys()
    assert ("curve-32B-F16" in found) == ("inflate" in found) == (not quick)
    assert {status for name, status in found.items() if "bench" not in name} == {"done"}
    assert ("note: llama.cpp finds no GPU" in done.stderr) == (not this_build().has_gpu)
    if not this_build().has_gpu:
        assert "--no-binary llama-cpp-python 'llama-cpp-python>=" in done.stderr
    said = calls.read_text()
    assert "bench -m qwen2.5-coder-1.5b" in said
    assert "-d qwen2.5-coder-0.5b" in said
    assert "pull" not in said
    assert [path.name for path in tmp_path.glob("gpu-check.*")] == []
    with tarfile.open(f"{out}.tar.gz") as packed:
        assert "out/summary.md" in packed.getnames()
    assert "| bench | failed with 3 |" in (out / "summary.md").read_text()
    assert (out / "summary.md").read_text() in done.stdout


def test_without_time_nothing_is_begun(stub: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    where = ["--models", tmp_path / "models", "--out", tmp_path / "out", "--work", tmp_path]
    done = run(*where, "--python", stub, "--minutes", 0, CALLS=tmp_path / "calls")
    assert done.returncode == 0, done.stderr
    steps = (tmp_path / "out" / "steps.tsv").read_text().splitlines()
    assert {line.split("\t")[1] for line in steps} == {"left out: no time"}
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--fast"], "there is no option --fast; --help tells which there are."),
        (["--out"], "--out needs a value."),
        (["--minutes", "ten"], "--minutes takes a whole number."),
        (["--wheel", "none.whl"], "there is no none.whl."),
        (["--python", "none"], "none is no Python 3.10 or later; name one with --python."),
    ],
)
def test_what_cannot_be_is_refused(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (2, f"error: {sentence}\n")


def test_help_tells_every_option() -> None:
    said = run("--help").stdout
    options = {word for word in SCRIPT.read_text().split() if word.startswith("--")}
    for option in ("--out", "--wheel", "--models", "--llama-server", "--quick", "--minutes"):
        assert option in options
        assert option in said


# ---- the page ------------------------------------------------------------------------------------

DOCTOR: dict[str, Any] = {
    "hardware": {"cpu": "A processor", "system": "Linux", "release": "6.1"},
    "versions": {"python": "3.11.2", "spec-local": "0.1.0"},
    "build": {
        "version": "b9000",
        "backends": ["CUDA", "CPU"],
        "devices": [
            {
                "name": "CUDA0",
                "description": "A card",
                "kind": "gpu",
                "free_memory": 8_000_000_000,
                "memory": 16_000_000_000,
            },
            {"name": "CPU", "description": "", "kind": "cpu", "free_memory": 0, "memory": 0},
        ],
    },
}


def measured(context: int, **medians: float) -> list[dict[str, float]]:
    return [
        {"context": context, "width": int(width[1:]), "median": median}
        for width, median in medians.items()
    ]


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """A folder with a little of everything, and files that are damaged."""
    folder = tmp_path / "found"
    (folder / "profiles").mkdir(parents=True)
    curve = measured(256, w1=0.01, w2=0.012, w4=0.02) + measured(1024, w1=0.02, w2=0.03)
    texts = {
        "doctor.json": DOCTOR,
        "curve-7B-Q4_K_M.json": {
            "model": "7B",
            "type": "Q4_K_M",
            "bytes": 4_680_000_000,
            "layers": 28,
            "gpu_layers": 29,
            "measured": curve,
        },
        "curve-32B-F16.json": {"model": "32B", "type": "F16", "left out": "it takes too much"},
        "exact-small.json": {
            "drafters": [
                {"answers": 9, "identical": 9, "tokens": 1000},
                {"answers": 9, "identical": 8, "tokens": 1001},
            ]
        },
        "overhead.json": {
            "found": {"auto, 0.8": {"round_us": 300.4, "verify_us": 120.0, "speed": 0.91}}
        },
    }
    for name, text in texts.items():
        (folder / name).write_text(json.dumps(text))
    (folder / "moe.json").write_text("{")
    (folder / "tests.xml").write_text(
        '<testsuites><testsuite tests="5" failures="1" errors="0" skipped="1">'
        '<testcase classname="tests.test_models" name="test_a"><failure/></testcase>'
        '<testcase classname="tests.test_models" name="test_b"/></testsuite></testsuites>'
    )
    (folder / "tests-of-every-kind.xml").write_text("<testsuites>")
    (folder / "steps.tsv").write_text("doctor\tdone\t1\nmoe\tstopped at its limit\t60\n")
    example().save(folder / "bench.json")
    store = ProfileStore(folder / "profiles")
    certificate = Certificate(1, (1, 33), {1: 0.0, 2: 0.0, 3: 0.25}, (1, 2))
    store.save_certificate({"model": "small.gguf"}, certificate)
    return folder


def test_the_page_says_what_was_found(found: Path) -> None:
    said = page(found)
    for line in (
        "A processor, Linux 6.1; python 3.11.2, spec-local 0.1.0;",
        "llama.cpp b9000, for CUDA, CPU.",
        "CUDA0: A card, 8.0 of 16.0 GB free.",
        "| 7B Q4_K_M | 4.7 | 29 of 29 | 10.00 | 1.20 |  | 2.00 |  |  |  |  |  |  |",
        "32B F16 was left out: it takes too much.",
        "## small.gguf, examined",
        "Evaluated after 1, 33 tokens of context, against width 1:",
        "widths 1-2: identical, bit for bit",
        "widths 3: logits differ by up to 0.25",
        "small: 17 of 18 answers with drafts, 2,001 tokens, were plain decoding's.",
        "## target-1.5b-q4_k_m with draft-0.5b-q4_0",
        "llama-server -md could not be measured: it ended with status 1 [no such file].",
        "| auto, 0.8 | 300 | 120 | 0.91 |",
        "tests: 3 passed, 1 failed, 1 left out.",
        "- tests.test_models: test_a",
        "| moe | stopped at its limit | 60 |",
    ):
        assert line in said.splitlines(), line
    assert "processor.**" not in said
    assert "mixture" not in said


def test_that_there_was_no_gpu_is_said(found: Path) -> None:
    build = DOCTOR["build"] | {"devices": DOCTOR["build"]["devices"][1:]}
    (found / "doctor.json").write_text(json.dumps(DOCTOR | {"build": build}))
    assert "**No GPU was found, so everything here is of the processor.**" in page(found)


def test_a_page_of_nothing_but_steps(tmp_path: Path) -> None:
    (tmp_path / "steps.tsv").write_text("install\tfailed with 1\t2\n")
    assert page(tmp_path).splitlines()[-1] == "| install | failed with 1 | 2 |"


# ---- all of it -----------------------------------------------------------------------------------

SMALL, LARGE, DRAFT = "smollm2-135m", "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"


@pytest.mark.nightly
def test_its_commands_measure(tiny: Path, tiny_draft: Path, tmp_path: Path) -> None:
    """On tiny models by the names of real ones; what would write large files is left out."""
    python, models, out = tmp_path / "python", tmp_path / "models", tmp_path / "out"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in *"costs 1.5B"* | *moe_costs* | *pytest*) exit 0 ;; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    models.mkdir()
    entries = []
    for name, path in {SMALL: tiny, LARGE: tiny, DRAFT: tiny_draft}.items():
        shutil.copy(path, models / f"{name}.gguf")
        entries.append(f"[models.\"{name}\"]\npath = '{path}'\n")
    for config in (".config", "Library/Application Support"):  # of Linux and of macOS
        own = tmp_path / config / "spec-local" / "models.toml"
        own.parent.mkdir(parents=True)
        own.write_text("".join(entries))
    where = ["--models", models, "--out", out, "--work", tmp_path, "--python", python]
    done = run("--quick", *where, HOME=tmp_path, XDG_CONFIG_HOME="")
    assert done.returncode == 0, done.stderr
    steps = dict(line.split("\t")[:2] for line in (out / "steps.tsv").read_text().splitlines())
    assert {*steps.values()} == {"done"}, steps
    assert {f"exact-{SMALL}", f"curve-{LARGE}", "bench"} <= steps.keys()
    said = (out / "summary.md").read_text()
    for line in (
        "## What checking several tokens costs",
        "## tiny.gguf, examined",
        "## tiny.gguf with tiny-draft.gguf",
        "## What Python takes of a round",
    ):
        assert line in said, line
    assert f"{SMALL}: 2 of 2 answers with drafts" in said
