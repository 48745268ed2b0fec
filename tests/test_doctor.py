"""What would make it slow, on machines that are made up, and how that is shown."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import asdict, replace
from typing import Any

import pytest

from spec_local.cli.doctor import _print_facts, _print_findings
from spec_local.doctor.facts import DefaultPair, Facts, ModelFacts, PairFacts, PlacementFacts
from spec_local.doctor.findings import findings
from spec_local.llama.build import Build, DeviceFacts
from spec_local.machine.hardware import Hardware
from spec_local.machine.software import Unmet

REQUIREMENT = "llama-cpp-python<0.3.37,>=0.3.36"
AGAIN = (
    "pip install --force-reinstall --no-deps --no-cache-dir --no-binary llama-cpp-python "
    f"'{REQUIREMENT}'"
)

PC = Hardware(
    system="Linux",
    release="6.1",
    architecture="x86_64",
    is_translated=False,
    cpu="A processor",
    instructions=("AVX", "AVX2", "F16C", "FMA"),
    cores=8,
    processors=16,
    usable=16.0,
    memory=32 * 10**9,
    free_memory=24 * 10**9,
    nvidia=(),
)
CPU = DeviceFacts("CPU", "A processor", "cpu", 32 * 10**9, 32 * 10**9)
BUILD = Build(
    version="0.5.0",
    commit="0123abc",
    features="CPU : AVX = 1 | AVX2 = 1 | OPENMP = 1 | REPACK = 1 |",
    backends=("CPU",),
    devices=(CPU,),
)
DEFAULT = DefaultPair("large", "large-7b", "small-0.5b", 5 * 10**9, "large")
SOUND = Facts(
    versions={"python": "3.12.1", "spec-local": "0.1.0"},
    requirements={"llama-cpp-python": REQUIREMENT},
    unmet=(),
    hardware=PC,
    busy=0.2,
    environment={},
    build=BUILD,
    build_fault=None,
    threads=8,
    models=(ModelFacts("large-7b", "/m/large.gguf", 45 * 10**8, True, 1.7e9, True, (1, 2, 3, 5)),),
    pairs=(PairFacts("large", "large-7b", "small-0.5b", 0.8, 1.9),),
    default=DEFAULT,
    placement=PlacementFacts((), True, ""),
    registry_fault=None,
    registry_file=None,
    cache="/home/me/.cache/spec-local",
    cache_can_be_written=True,
)
"""A machine on which there is nothing to mend."""

NOTHING_KNOWN = replace(
    SOUND,
    versions={},
    requirements={},
    hardware=replace(
        PC,
        cpu="",
        instructions=None,
        cores=None,
        processors=None,
        usable=None,
        memory=None,
        free_memory=None,
        nvidia=None,
    ),
    busy=None,
    build=None,
    threads=None,
    models=None,
    pairs=None,
    default=None,
    placement=None,
    cache=None,
    cache_can_be_written=None,
)
NVIDIA = replace(PC, nvidia=("NVIDIA GeForce RTX 4090",))
CUDA = replace(BUILD, backends=("CUDA", "CPU"))
APPLE = replace(PC, system="Darwin", architecture="arm64", cpu="Apple M2")


def found(facts: Facts, **changes: Any) -> dict[str, str]:
    """Command by sentence."""
    return {each.sentence: each.command for each in findings(replace(facts, **changes))}


def test_where_all_is_well_there_is_nothing_to_mend() -> None:
    assert findings(SOUND) == []


def test_what_is_not_known_is_no_finding() -> None:
    assert findings(NOTHING_KNOWN) == []


def test_apple_silicon_with_a_build_for_the_processor_alone() -> None:
    hardware = replace(APPLE, instructions=("NEON", "DOTPROD"), processors=8, usable=8.0)
    build = replace(BUILD, features="CPU : NEON = 1 | DOTPROD = 1 | ACCELERATE = 1 |")
    assert found(SOUND, hardware=hardware, build=build) == {
        "llama.cpp was built without Metal, so the GPU of this Apple M2 is idle.": (
            f'CMAKE_ARGS="-DGGML_METAL=on" {AGAIN}'
        )
    }
    metal = DeviceFacts("MTL0", "Apple M2", "gpu", 20 * 10**9, 22 * 10**9)
    with_metal = replace(build, backends=("MTL", "CPU"), devices=(metal, CPU))
    assert found(SOUND, hardware=hardware, build=with_metal) == {}


def test_an_nvidia_gpu_beside_a_build_for_the_processor_alone() -> None:
    assert found(SOUND, hardware=NVIDIA) == {
        "llama.cpp was built for the CPU alone, so this NVIDIA GeForce RTX 4090 is idle.": (
            f'CMAKE_ARGS="-DGGML_CUDA=on" {AGAIN}'
        )
    }
    card = DeviceFacts("CUDA0", "NVIDIA GeForce RTX 4090", "gpu", 23 * 10**9, 24 * 10**9)
    assert found(SOUND, hardware=NVIDIA, build=replace(CUDA, devices=(card, CPU))) == {}


def test_an_old_processor_that_is_busy_and_has_more_threads_than_cores() -> None:
    hardware = replace(
        PC, cpu="An old one", instructions=("AVX",), cores=2, processors=4, usable=4.0
    )
    seen = found(
        SOUND, hardware=hardware, busy=1.6, threads=2, environment={"OMP_NUM_THREADS": "16"}
    )
    assert list(seen.values()) == ["spec-local race smollm2", "unset OMP_NUM_THREADS", "top"]
    no_kernels, threads, busy = seen
    assert no_kernels.startswith("An old one has no AVX2, ")
    assert threads.startswith("OMP_NUM_THREADS=16 is more than the 2 cores here: ")
    assert busy.startswith("Other programs use 1.6 of 4 processors now, ")


def test_a_build_for_older_processors_than_this() -> None:
    seen = found(SOUND, build=replace(BUILD, features="CPU : SSE3 = 1 | OPENMP = 1 |"))
    assert list(seen.values()) == [f'CMAKE_ARGS="-DGGML_NATIVE=on" {AGAIN}']


def test_a_gpu_that_a_build_for_it_does_not_find() -> None:
    (driver,) = found(SOUND, hardware=NVIDIA, build=CUDA).items()
    assert driver[1] == "nvidia-smi"
    (hidden,) = found(
        SOUND, hardware=NVIDIA, build=CUDA, environment={"CUDA_VISIBLE_DEVICES": "-1"}
    ).items()
    assert hidden == (
        "CUDA_VISIBLE_DEVICES=-1 hides this NVIDIA GeForce RTX 4090 from llama.cpp.",
        "unset CUDA_VISIBLE_DEVICES",
    )


def test_a_python_for_intel_on_apple_silicon() -> None:
    hardware = replace(APPLE, architecture="x86_64", is_translated=True, instructions=("AVX",))
    assert list(found(SOUND, hardware=hardware).values()) == ["arch -arm64 brew install python"]


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"threads": 12}, "spec-local chat --threads 8"),
        ({"hardware": replace(PC, usable=1.5)}, "spec-local chat --threads 1"),
        ({"environment": {"OMP_NUM_THREADS": "9,2"}}, "unset OMP_NUM_THREADS"),
        ({"environment": {"OMP_THREAD_LIMIT": "1"}}, "unset OMP_THREAD_LIMIT"),
        ({"environment": {"OMP_WAIT_POLICY": "passive"}}, "unset OMP_WAIT_POLICY"),
        ({"busy": 4.0}, "top"),
        ({"hardware": replace(PC, free_memory=55 * 10**8)}, "spec-local models list"),
        ({"default": replace(DEFAULT, draft=None)}, "spec-local models pull large"),
        ({"default": replace(DEFAULT, draft=None, other=None)}, "spec-local models pair large-7b"),
        ({"cache_can_be_written": False}, 'export SPEC_LOCAL_CACHE="$HOME/spec-local"'),
    ],
)
def test_one_thing_to_mend(changes: dict[str, Any], command: str) -> None:
    assert list(found(SOUND, **changes).values()) == [command]


@pytest.mark.parametrize(
    "changes",
    [
        {"environment": {"OMP_NUM_THREADS": "8"}},
        {"environment": {"OMP_NUM_THREADS": "many"}},
        {"environment": {"OMP_THREAD_LIMIT": "8"}},
        {"environment": {"CUDA_VISIBLE_DEVICES": "0"}},
        {"busy": 3.9},
        {"hardware": replace(PC, free_memory=6 * 10**9)},
        {"default": replace(DEFAULT, bytes=0), "hardware": replace(PC, free_memory=0)},
        {"pairs": (PairFacts("large", "large-7b", "small-0.5b", None, None),)},
    ],
)
def test_what_is_no_fault(changes: dict[str, Any]) -> None:
    assert found(SOUND, **changes) == {}


def test_what_a_gpu_has_no_room_for_needs_the_machines_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    card = DeviceFacts("CUDA0", "A card", "gpu", 4 * 10**9, 24 * 10**9)
    again = replace(card, name="Vulkan0")  # the same card, known to another backend
    said = "CUDA0, with 4.0 GB free, gets 20 of 33 layers of large.gguf; everything would take …"
    facts = replace(
        SOUND,
        build=replace(CUDA, devices=(card, again, CPU)),
        placement=PlacementFacts(("CUDA0",), False, said),
    )
    assert found(facts) == {}
    _print_facts(facts)
    assert f"layers: {said}\n" in capsys.readouterr().out
    assert found(facts, hardware=replace(PC, free_memory=2 * 10**9)) == {}  # 6.0 GB in all
    (sentence,) = found(facts, hardware=replace(PC, free_memory=19 * 10**8))
    assert sentence.startswith("The pair large takes 6.0 GB of memory and 5.9 GB are free, ")
    on_cpu = PlacementFacts((), True, "")
    (sentence,) = found(facts, placement=on_cpu, hardware=replace(PC, free_memory=55 * 10**8))
    assert sentence.startswith("The pair large takes 6.0 GB of memory and 5.5 GB are free, ")
    apple = replace(APPLE, instructions=("NEON", "DOTPROD"), free_memory=5 * 10**9)
    (sentence,) = found(facts, hardware=apple)
    assert sentence.startswith("The pair large takes 6.0 GB of memory and 5.0 GB are free, ")


def test_a_draft_that_never_pays() -> None:
    pair = PairFacts("large", "large-7b", "small-0.5b", None, 1.0)
    (dear,) = found(SOUND, pairs=(pair,)).items()
    assert dear[0].startswith("small-0.5b can never pay as a draft for large-7b here, ")
    assert dear[1] == "spec-local draft trim small-0.5b --type Q4_0 --out draft.gguf"
    (wrong,) = found(SOUND, pairs=(replace(pair, accepted=0.12),)).items()
    assert "12% of its tokens were accepted" in wrong[0]
    assert wrong[1] == "spec-local models pair large-7b"


def test_packages_that_are_missing_or_others() -> None:
    missing = Unmet("llama-cpp-python", REQUIREMENT, None)
    assert found(
        SOUND, build=None, build_fault="No module named 'llama_cpp'", unmet=(missing,)
    ) == {"llama-cpp-python is missing, which spec-local needs.": f"pip install '{REQUIREMENT}'"}
    newer = Unmet("gguf", "gguf<0.20,>=0.17", "0.21.0")
    assert found(SOUND, unmet=(newer,)) == {
        "gguf is installed in version 0.21.0, and spec-local is made for <0.20,>=0.17.": (
            "pip install 'gguf<0.20,>=0.17'"
        )
    }


def test_a_library_that_ends_the_process() -> None:
    assert found(SOUND, build=None, build_fault="Illegal instruction") == {
        "llama.cpp cannot be loaded (Illegal instruction), and has to be built for this machine.": (
            f'CMAKE_ARGS="-DGGML_NATIVE=on" {AGAIN}'
        )
    }


def test_a_models_toml_that_is_wrong() -> None:
    seen = found(SOUND, registry_fault="A sentence.", registry_file="/a b/models.toml")
    assert seen == {"A sentence.": "${EDITOR:-vi} '/a b/models.toml'"}


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


BAD = replace(
    SOUND,
    hardware=replace(NVIDIA, instructions=("AVX",)),
    busy=7.5,
    environment={"OMP_NUM_THREADS": "64", "OMP_WAIT_POLICY": "passive"},
    default=replace(DEFAULT, draft=None),
)


@pytest.mark.parametrize("facts", [SOUND, BAD, NOTHING_KNOWN], ids=["sound", "bad", "unknown"])
@pytest.mark.parametrize("width", [40, 80])
def test_a_report_fits_the_terminal_but_for_commands(
    facts: Facts, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    written = Terminal()
    monkeypatch.setattr(sys, "stdout", written)
    _print_facts(facts)
    _print_findings(findings(facts))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue()).splitlines()
    commands = [f"    {each.command}" for each in findings(facts)]
    assert [line for line in lines if line.startswith("    ") and line.strip()] == commands
    assert max(len(line) for line in lines if line not in commands) <= width


def test_through_a_pipe_every_sentence_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    _print_facts(BAD)
    _print_findings(findings(BAD))
    lines = capsys.readouterr().out.splitlines()
    for each in findings(BAD):
        at = lines.index(f"! {each.sentence}")
        assert lines[at + 1] == f"    {each.command}"
    assert lines[-1] == f"{len(findings(BAD))} things to mend."


def test_everything_can_be_json() -> None:
    again = json.loads(json.dumps(asdict(BAD)))
    assert again["hardware"]["nvidia"] == ["NVIDIA GeForce RTX 4090"]
    assert again["models"][0]["certified"] == [1, 2, 3, 5]
