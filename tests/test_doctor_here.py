"""What is found out of this machine, and that nothing which is missing or broken is a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spec_local.cli.app import app
from spec_local.control.acceptance import Acceptance
from spec_local.control.costs import CostCurve
from spec_local.doctor.facts import Facts
from spec_local.doctor.gather import gather
from spec_local.exact.modes import exact_options
from spec_local.gguf.header import check_model_file
from spec_local.llama import library_trial, placing
from spec_local.llama.backend import default_threads
from spec_local.llama.demand import demand
from spec_local.llama.devices import Device, devices
from spec_local.llama.fit import Asked, Placement, taken
from spec_local.llama.identity import identity
from spec_local.llama.library_trial import library_fault
from spec_local.llama.options import LoadOptions
from spec_local.machine import hardware
from spec_local.machine.certify import Certificate, fitting
from spec_local.machine.hardware import this_hardware
from spec_local.machine.learned import pair_of, pairs_of
from spec_local.machine.profile import ProfileStore
from spec_local.machine.software import unmet, versions
from spec_local.models.registry import load_registry
from spec_local.partners import partners
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions()
MODELS = """
[models.target]
path = "{folder}/target.gguf"
[models.small]
path = "{folder}/small.gguf"
[models.gone]
path = "{folder}/gone.gguf"
[pairs.default]
target = "target"
draft = "small"
"""


@pytest.fixture
def place(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with two models of the user's own, a pair, and one that was pulled."""
    write_tiny(home / "target.gguf")
    write_tiny(home / "small.gguf", seed=1)
    pulled = home / "cache" / "models"
    pulled.mkdir(parents=True)
    write_tiny(pulled / "kept.gguf", seed=2)
    mine = home / "models.toml"
    mine.write_text(MODELS.format(folder=home))
    monkeypatch.setattr("spec_local.models.registry.user_file", lambda: mine)
    return home


def flat(seconds: float) -> CostCurve:
    """Evaluating several tokens takes as long as one."""
    curve = CostCurve()
    for width in range(1, 34):
        curve.observe(width, 100, seconds)
    return curve


def test_the_build_and_its_devices() -> None:
    facts = gather(OPTIONS)
    assert facts.build is not None
    assert facts.build_fault is None
    assert "CPU" in facts.build.backends
    assert [each.name for each in facts.build.devices] == [each.name for each in devices()]
    cpu = next(each for each in facts.build.devices if each.kind == "cpu")
    assert 0 < cpu.free_memory <= cpu.memory
    assert facts.threads == default_threads()
    assert facts.unmet == ()
    assert set(facts.versions) == {"python", "spec-local", "llama-cpp-python", "gguf", "numpy"}


def test_the_machine() -> None:
    found = this_hardware()
    assert found.cpu
    assert found.memory is not None
    assert found.free_memory is not None
    assert found.memory >= found.free_memory > 0
    assert found.usable is not None
    assert 0.0 < found.usable <= (os.cpu_count() or 1)
    assert gather(OPTIONS).busy is not None


def test_models_and_what_was_learned_of_them(place: Path, own_profiles: ProfileStore) -> None:
    target, small = place / "target.gguf", place / "small.gguf"
    own_profiles.save_curve(identity(target, OPTIONS), flat(0.1), tuned=True)
    own_profiles.save_curve(identity(small, OPTIONS), flat(0.2))
    exact = identity(target, exact_options("certified", OPTIONS))
    certificate = Certificate(1, fitting(OPTIONS.n_ctx), {1: 0.0, 2: 0.0}, (1, 2))
    own_profiles.save_certificate(exact, certificate)
    found = {each.name: each for each in gather(OPTIONS).models or ()}
    assert {"kept", "small", "target"} <= set(found)
    assert "gone" not in found
    assert found["kept"].is_pulled
    assert not found["target"].is_pulled
    assert found["target"].bytes == target.stat().st_size
    assert [found[name].is_learned for name in ("target", "small", "kept")] == [True, True, False]
    assert found["target"].tuned_at
    assert found["small"].tuned_at == 0.0
    assert found["target"].certified == (1, 2)
    assert found["small"].certified == ()


def seen(place: Path, store: ProfileStore, dear: float, right: int | None) -> Facts:
    """Facts after a draft has cost so much of a target's token, and was right so often of 20."""
    mine, theirs = (identity(place / f"{name}.gguf", OPTIONS) for name in ("target", "small"))
    store.save_curve(mine, flat(0.1))
    store.save_draft_curve(theirs, flat(0.1 * dear), mine, store.curve(mine))
    if right is not None:
        known = Acceptance(drawn=True)
        for i in range(20):
            known.observe(*(([0.5], []) if i < right else ([], [0.5])))
        store.save_pair(pair_of(mine, theirs), {"model": {"greedy": known}}, 0.0)
    return gather(OPTIONS)


def test_a_pair_that_was_never_measured(place: Path) -> None:
    facts = gather(OPTIONS)
    (pair,) = facts.pairs or ()
    assert (pair.name, pair.target, pair.draft) == ("default", "target", "small")
    assert (pair.accepted, pair.most_speedup) == (None, None)
    assert facts.default is not None
    sizes = [(place / f"{name}.gguf").stat().st_size for name in ("target", "small")]
    assert (facts.default.name, facts.default.draft) == ("default", "small")
    assert facts.default.bytes == sum(sizes)


@pytest.mark.parametrize(
    ("dear", "right", "pays"), [(0.1, None, True), (1.5, None, False), (0.1, 18, True)]
)
def test_a_pair_that_was_measured(
    place: Path, own_profiles: ProfileStore, dear: float, right: int | None, pays: bool
) -> None:
    (pair,) = seen(place, own_profiles, dear, right).pairs or ()
    assert pair.most_speedup is not None
    assert (pair.most_speedup > 1.0) is pays
    assert (pair.accepted is None) is (right is None)


def test_a_draft_that_was_never_right(place: Path, own_profiles: ProfileStore) -> None:
    (pair,) = seen(place, own_profiles, 0.5, 0).pairs or ()
    assert pair.most_speedup == 1.0
    assert pair.accepted is not None
    assert pair.accepted < 0.1


def is_exit(error: BaseException | None) -> bool:
    """Whether a command ended by itself."""
    return error is None or isinstance(error, SystemExit)


def test_the_command_says_it_as_json(place: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", "--json", "--threads", "1"])
    assert is_exit(done.exception)
    told = json.loads(done.stdout)
    assert done.exit_code == (1 if told["findings"] else 0)
    assert told["threads"] == 1
    assert {each["name"] for each in told["models"]} >= {"target", "small", "kept"}


def test_the_command_says_it_in_words(place: Path) -> None:
    done = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "80"})
    assert is_exit(done.exception)
    assert "llama-cpp-python" in done.stdout
    last = done.stdout.splitlines()[-1]
    if done.exit_code:
        assert re.fullmatch(r"(One thing|\d+ things) to mend\.", last)
    else:
        assert last == "Nothing here makes it slow."


def whole(path: Path) -> int:
    """What all of a model takes of a GPU."""
    asked = Asked(demand(check_model_file(path), OPTIONS, OPTIONS.n_ctx), {"": 1.0})
    return taken(asked, Placement(asked.demand.most))[""]


@pytest.fixture
def card(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that lacks a byte for both models of the pair."""
    device = Device(1, "CUDA0", "CUDA", "a card", 1)
    free = placing.MARGIN + sum(whole(place / f"{name}.gguf") for name in ("target", "small")) - 1
    for module in ("placing", "devices"):
        monkeypatch.setattr(f"spec_local.llama.{module}.gpus", lambda _options: (device,))
    monkeypatch.setattr(placing, "free_bytes", lambda _device: free)


@pytest.mark.usefixtures("card")
def test_what_was_learned_with_as_many_layers_as_fit_is_found(
    place: Path, own_profiles: ProfileStore
) -> None:
    loaded = replace(OPTIONS, n_gpu_layers=2)
    mine = identity(place / "target.gguf", loaded)
    theirs = identity(place / "small.gguf", loaded.for_draft())
    own_profiles.save_curve(mine, flat(0.1), tuned=True)
    own_profiles.save_draft_curve(theirs, flat(0.01), mine, own_profiles.curve(mine))
    facts = gather(OPTIONS)
    found = {each.name: each for each in facts.models or ()}
    assert found["target"].tuned_at
    assert found["target"].is_learned
    (pair,) = facts.pairs or ()
    assert (pair.most_speedup or 0.0) > 1.0
    assert facts.placement is not None
    assert facts.placement.devices == ("CUDA0",)
    assert not facts.placement.has_all
    assert "gets 2 of 3 layers of target.gguf and all of small.gguf; " in facts.placement.said
    (partner,) = partners("target", load_registry())
    assert partner.prediction is not None
    assert partner.prediction.costs == "measured"


def test_what_a_second_draft_earned_is_known_beside_the_first(
    place: Path, own_profiles: ProfileStore
) -> None:
    write_tiny(place / "second.gguf", seed=3)
    toml = MODELS.replace('draft = "small"', 'draft = ["small", "second"]')
    second = f'[models.second]\npath = "{place}/second.gguf"\n'
    (place / "models.toml").write_text(toml.format(folder=place) + second)
    names = ("target", "small", "second")
    mine, *drafts = (identity(place / f"{name}.gguf", OPTIONS) for name in names)
    own_profiles.save_curve(mine, flat(0.1))
    for draft in drafts:
        own_profiles.save_draft_curve(draft, flat(0.01), mine, own_profiles.curve(mine))
    known = Acceptance(drawn=True)
    for _ in range(20):
        known.observe([0.5], [])
    beside = pairs_of(mine, drafts)[1]
    own_profiles.save_pair(beside, {"model": {"greedy": known}}, None)
    seen = {each.draft: each.accepted for each in gather(OPTIONS).pairs or ()}
    assert seen["small"] is None
    assert (seen["second"] or 0.0) > 0.9
    found = {each.name: each.prediction for each in partners("target", load_registry())}
    assert str(found["second"]).endswith("accepted so far")
    assert str(found["small"]).endswith("if 70% are accepted")


def test_a_wrong_models_toml_is_a_finding(place: Path) -> None:
    (place / "models.toml").write_text("models = 3\n")
    facts = gather(OPTIONS)
    assert facts.models is None
    assert facts.registry_fault is not None
    assert "models must be a table" in facts.registry_fault


def test_a_library_that_is_none_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert library_fault() is None
    library = tmp_path / "libllama.so"
    library.write_text("no library")
    monkeypatch.setattr(library_trial, "_library", lambda: library)
    fault = library_fault()
    assert fault is not None
    assert fault.startswith("OSError: ")


def test_the_library_that_is_tried_is_the_one_that_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = library_trial._library()
    assert usual is not None
    (tmp_path / usual.name).write_text("no library")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path))
    assert library_trial._library() == tmp_path / usual.name
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path / "nowhere"))
    assert library_trial._library() is None


def test_a_library_that_ends_the_process_is_outlived(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    monkeypatch.setattr(library_trial, "_PROGRAM", program)
    assert library_fault() == "Illegal instruction"
    facts = gather(OPTIONS)
    assert facts.build is None
    assert facts.build_fault == "Illegal instruction"


ILL = """
import sys
from spec_local.llama import library_trial
library_trial._PROGRAM = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
from spec_local.cli import main
try:
    main()
finally:
    assert not any(name.startswith("llama_cpp.") for name in sys.modules)
"""


def test_such_a_library_is_not_loaded_by_the_command(place: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ILL, "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (1, "")
    told = json.loads(done.stdout)
    assert "Illegal instruction" in told["findings"][0]["sentence"]
    kept = next(each for each in told["models"] if each["name"] == "kept")
    assert (kept["is_learned"], kept["certified"]) == (None, None)


def test_requirements_that_are_not_met() -> None:
    wanted = {"numpy": "numpy>=1", "gguf": "gguf>=1000", "no-such-package": "no-such-package>=1"}
    found = list(unmet(wanted))
    assert [(each.name, each.installed) for each in found] == [
        ("gguf", versions()["gguf"]),
        ("no-such-package", None),
    ]


WITHOUT = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from spec_local.cli import main
main()
"""


@pytest.mark.parametrize(
    "missing", ["llama_cpp", "numpy", "gguf", "psutil", "packaging", "huggingface_hub,platformdirs"]
)
def test_a_library_that_is_missing_is_no_traceback(missing: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, missing, "doctor", "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "SPEC_LOCAL_CACHE": str(tmp_path)},
    )
    assert done.stderr == ""
    told = json.loads(done.stdout)
    assert done.returncode == (1 if told["findings"] else 0)
    assert (told["build"] is None) is (missing in ("llama_cpp", "numpy", "psutil"))


def test_what_linux_tells_of_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bus, name in [("0000:01:00.0", "NVIDIA A"), ("0000:02:00.0", "NVIDIA B")]:
        (tmp_path / bus).mkdir()
        text = f"Model: \t\t {name}\nIRQ:   \t\t 25\n"
        (tmp_path / bus / "information").write_text(text)
    monkeypatch.setattr(hardware, "_NVIDIA", tmp_path)
    monkeypatch.setattr(hardware, "_NVIDIA_DEVICES", (str(tmp_path / "nvidiactl"),))
    assert this_hardware().nvidia == ()  # no device that this process could open
    (tmp_path / "nvidiactl").touch()
    assert this_hardware().nvidia == ("NVIDIA A", "NVIDIA B")


@pytest.mark.parametrize(("text", "most"), [("max 100000\n", None), ("150000 100000\n", 1.5)])
def test_a_containers_quota(
    text: str, most: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(hardware, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert this_hardware().usable == (most or 4.0)


@pytest.mark.parametrize(
    ("text", "instructions"),
    [
        ("model name\t: An x86\nflags\t\t: fpu avx avx2 fma\n", ("AVX", "AVX2", "FMA")),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", ("NEON", "DOTPROD")),
        ("processor\t: 0\n", None),
    ],
)
def test_a_processors_instructions(
    text: str,
    instructions: tuple[str, ...] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware, "_sysctl", dict)
    assert this_hardware().instructions == instructions


def test_what_macos_tells_of_its_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = {
        "machdep.cpu.brand_string": "Apple M2",
        "hw.optional.arm.FEAT_DotProd": "1",
        "hw.optional.arm.FEAT_I8MM": "0",
        "hw.optional.neon": "1",
    }
    monkeypatch.setattr(hardware, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(hardware, "_sysctl", lambda: told)
    found = this_hardware()
    assert (found.cpu, found.instructions) == ("Apple M2", ("NEON", "DOTPROD"))
    assert not found.is_translated
