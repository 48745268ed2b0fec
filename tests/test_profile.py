"""Profiles on disk: read back as written, never fatal."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spec_local import LoadOptions, Runner, Sampling
from spec_local.control.acceptance import Acceptance, overall
from spec_local.control.controller import Controller
from spec_local.control.costs import CostCurve
from spec_local.engine.speculate import Adaptive
from spec_local.machine.certify import Certificate
from spec_local.machine.profile import Identity, ProfileStore

pytestmark = pytest.mark.llama

IDENTITY: Identity = {"model": "some.gguf", "hash": "abc", "threads": 2}


def a_curve() -> CostCurve:
    curve = CostCurve()
    for width in (1, 2, 4):
        curve.observe(width, 100, 0.1 * width)
    return curve


def controller_of(runner: Runner) -> Controller:
    assert isinstance(runner.speculator, Adaptive)
    return runner.speculator.controller


def test_a_curve_is_found_again_for_the_same_machine_only(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path / "new" / "directory")
    store.save_curve(IDENTITY, a_curve())
    assert store.curve(IDENTITY).row(100) == pytest.approx(a_curve().row(100))
    assert not store.curve({**IDENTITY, "threads": 4}).is_known


def test_what_tune_measured_stays_marked_as_measured(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    store.save_curve(IDENTITY, a_curve())
    assert store.tuned_at(IDENTITY) == 0.0
    store.save_curve(IDENTITY, a_curve(), tuned=True)
    when = store.tuned_at(IDENTITY)
    store.save_curve(IDENTITY, a_curve())
    assert store.tuned_at(IDENTITY) == when > 0.0


def test_a_draft_is_compared_with_its_target_at_one_moment(tmp_path: Path) -> None:
    """The machine was twice as fast when the target was used alone."""
    store = ProfileStore(tmp_path)
    draft: Identity = {"model": "draft.gguf", "hash": "def"}
    slow, fast = a_curve(), CostCurve()
    for _ in range(20):
        fast.observe(1, 100, 0.05)
    drafting = CostCurve()
    for _ in range(20):
        drafting.observe(1, 100, 0.03)
    store.save_curve(IDENTITY, slow)
    store.save_draft_curve(draft, drafting, IDENTITY, slow)
    store.save_curve(IDENTITY, fast)
    found = store.draft_curve(draft, IDENTITY, store.curve(IDENTITY))
    assert found.seconds(1, 100) == pytest.approx(0.015, rel=0.05)
    other = store.draft_curve(draft, {"model": "another.gguf"}, store.curve(IDENTITY))
    assert other.seconds(1, 100) == pytest.approx(0.03, rel=0.05)


def test_acceptance_is_kept_by_drafter_and_kind_of_confidence(tmp_path: Path) -> None:
    store, known = ProfileStore(tmp_path), Acceptance()
    for _ in range(30):
        known.observe([], [0.9])
    store.save_pair(IDENTITY, {"lookup": {"greedy": known, "drawn": Acceptance()}}, credit=1.5)
    assert store.credit(IDENTITY) == 1.5
    found = store.acceptance(IDENTITY, "lookup", drawn=False)
    assert found["greedy"].rate(0.9) < 0.2
    assert found["drawn"].rate(0.9) == pytest.approx(0.9)
    assert store.acceptance(IDENTITY, "model", drawn=True) == {}


def test_what_tune_measures_meanwhile_is_not_overwritten(
    tiny: Path, own_profiles: ProfileStore
) -> None:
    with Runner.load(target=tiny, options=LoadOptions(n_ctx=512)) as runner:
        runner.complete("abc", max_tokens=8)
        (path,) = (p for p in own_profiles.directory.glob("*.json") if "curve" in p.read_text())
        kept = json.loads(path.read_text())
        assert kept["tuned"] == 0.0
        own_profiles.save_curve(kept["identity"], a_curve(), tuned=True)
        measured = path.read_text()
        runner.complete("abc", max_tokens=8)
        assert path.read_text() == measured


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not JSON",
        "[]",
        "null",
        '{"version": 2}',
        '{"version": 99, "identity": {}, "curve": {}}',
        '{"version": 2, "identity": IDENTITY, "curve": 7, "acceptance": []}',
        '{"version": 2, "identity": IDENTITY, "curve": {"scale": 1}, "acceptance": {"model": 3}}',
        '{"version": 2, "identity": IDENTITY, "acceptance": {"model": {"a": {"buckets": [1]}}}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_as_if_nothing_were_known(tmp_path: Path, content: str) -> None:
    store = ProfileStore(tmp_path)
    store.save_curve(IDENTITY, a_curve())
    (path,) = tmp_path.glob("*.json")
    path.write_text(content.replace("IDENTITY", json.dumps(IDENTITY)))
    assert not store.curve(IDENTITY).is_known
    assert overall(store.acceptance(IDENTITY, "model", drawn=True).values()) is None
    store.save_curve(IDENTITY, a_curve())  # and is replaced
    assert store.curve(IDENTITY).is_known


def test_a_file_of_bytes_that_are_no_text_is_damaged_too(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    store.save_curve(IDENTITY, a_curve())
    next(tmp_path.glob("*.json")).write_bytes(b"\xff\xfe\x00")
    assert not store.curve(IDENTITY).is_known


def test_what_cannot_be_written_is_said_once_and_known_as_long_as_the_store_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    store = ProfileStore(tmp_path / "file" / "profiles")
    store.save_curve(IDENTITY, a_curve(), tuned=True)
    store.save_certificate(IDENTITY, Certificate(1, (1,), {1: 0.0}, (1,)))
    assert store.curve(IDENTITY).row(100) == pytest.approx(a_curve().row(100))
    assert store.tuned_at(IDENTITY) > 0
    assert store.certificate(IDENTITY, 1) is not None
    assert not ProfileStore(store.directory).curve(IDENTITY).is_known
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("note: what is learned of this machine cannot be kept in ")
    assert said.endswith("Not a directory; set SPEC_LOCAL_CACHE to a folder that can be written.")
    (tmp_path / "file").unlink()
    store.save_pair(IDENTITY, {}, credit=1.0)  # now it can be, with all that was to be kept
    assert ProfileStore(store.directory).tuned_at(IDENTITY) > 0


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    for _ in range(3):
        store.save_curve(IDENTITY, a_curve())
    assert {path.suffix or path.name for path in tmp_path.iterdir()} == {".json", ".lock"}


def test_a_runner_keeps_what_it_learned(
    tiny: Path, tiny_draft: Path, own_profiles: ProfileStore
) -> None:
    options, sampling = LoadOptions(n_ctx=512), Sampling(temperature=1.0, seed=1)
    load = partial(Runner.load, target=tiny, draft=tiny_draft, options=options, sampling=sampling)
    with load() as runner:
        assert runner.speculator.name == "auto"
        runner.complete("abc abc abc", max_tokens=60)
    kept = {path.name.split("-")[0] for path in own_profiles.directory.glob("*.json")}
    assert kept == {"tiny"}
    curves = [json.loads(path.read_text()) for path in own_profiles.directory.glob("*.json")]
    assert any("curve" in each for each in curves)
    assert any("acceptance" in each for each in curves)
    with load() as runner:
        assert controller_of(runner).target.is_known


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Each of them adds drafters of its own names to the profile of one pair, again and again."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from spec_local.machine.profile import ProfileStore\n"
        "store = ProfileStore(Path(sys.argv[1]))\n"
        "for i in range(50):\n"
        "    store.change({'model': 'm'}, {f'{sys.argv[2]}{i}': i})\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in "ab"
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    (path,) = tmp_path.glob("*.json")
    kept = json.loads(path.read_text())
    assert all(kept[f"{name}{i}"] == i for name in "ab" for i in range(50))


def test_two_processes_keep_a_certificate_each(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from spec_local.machine.certify import Certificate\n"
        "from spec_local.machine.profile import ProfileStore\n"
        "for base in range(int(sys.argv[2]), 40, 2):\n"
        "    found = Certificate(base, (1,), {base: 0.0}, (base,))\n"
        "    ProfileStore(Path(sys.argv[1])).save_certificate({'model': 'm'}, found)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), first]) for first in "12"
    ]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    kept = ProfileStore(tmp_path).certificates({"model": "m"})
    assert {each.base for each in kept} == set(range(1, 40))


def test_profiles_can_be_kept_elsewhere(tiny: Path, tmp_path: Path) -> None:
    kept: dict[str, dict[str, Any]] = {}

    class InMemory(ProfileStore):
        def read(self, identity: Identity) -> dict[str, Any]:
            return kept.get(json.dumps(dict(identity), sort_keys=True), {})

        def change(self, identity: Identity, entries: Mapping[str, Any]) -> None:
            kept.setdefault(json.dumps(dict(identity), sort_keys=True), {}).update(entries)

    store = InMemory(tmp_path / "nowhere")
    with Runner.load(target=tiny, profiles=store, options=LoadOptions(n_ctx=512)) as runner:
        assert controller_of(runner).target.widest == 8  # looked at just now
        assert kept == {}
        runner.complete("abc abc abc", max_tokens=30)
        assert store.curve(runner.target.model.identity).is_known
    with Runner.load(target=tiny, profiles=store, options=LoadOptions(n_ctx=512)) as runner:
        assert controller_of(runner).target.is_known
    assert not store.directory.exists()
