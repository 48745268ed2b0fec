"""Bytes over HTTP: gone on from where they ended, and every failure one sentence."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from spec_local.errors import DownloadError
from spec_local.models import fetch as module
from spec_local.models.fetch import SourceUnavailable, Unreachable, fetch
from tests.file_server import FileServer, file_server

DATA = bytes(range(256)) * 16
FILE = "/files/m.gguf"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    with file_server() as serving:
        serving.put(FILE, DATA)
        yield serving


def pull(server: FileServer, path: Path) -> list[tuple[int, int]]:
    """Fetch the file and return the progress that was told."""
    seen: list[tuple[int, int]] = []
    fetch(server.url + FILE, path, lambda done, total: seen.append((done, total)))
    return seen


def broken_off(server: FileServer, path: Path, after: int) -> None:
    """A download that ends after so many bytes, and once more without any."""
    server.cuts = [after, 0]
    with pytest.raises(Unreachable):
        pull(server, path)
    assert path.with_name("m.gguf.part").stat().st_size == after
    assert not path.exists()
    server.asked.clear()


def test_a_file_arrives_whole(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "below" / "m.gguf"
    assert pull(server, path)[-1] == (len(DATA), len(DATA))
    assert path.read_bytes() == DATA


def test_a_connection_that_breaks_is_made_again(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [1000, 500]
    pull(server, tmp_path / "m.gguf")
    assert (tmp_path / "m.gguf").read_bytes() == DATA
    assert server.ranges(FILE) == [None, "bytes=1000-", "bytes=1500-"]


def test_a_callback_that_gives_up_ends_the_download(server: FileServer, tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def progress(_done: int, _total: int) -> None:
        raise Enough

    with pytest.raises(Enough):
        fetch(server.url + FILE, tmp_path / "m.gguf", progress)


def test_a_later_call_goes_on_from_the_last_byte(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    broken_off(server, path, 1000)
    seen = pull(server, path)
    assert path.read_bytes() == DATA
    assert server.ranges(FILE) == ["bytes=1000-"]
    assert seen[0][0] > 1000
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.gguf", "m.gguf.etag"]


def test_a_server_that_ignores_ranges_sends_everything(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    broken_off(server, path, 1000)
    server.knows_ranges = False
    pull(server, path)
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("tag", [{}, {"ETag": ""}], ids=["by its ETag", "by its size"])
def test_a_part_of_another_file_is_thrown_away(
    server: FileServer, tmp_path: Path, tag: dict[str, str]
) -> None:
    server.put(FILE, DATA, **tag)
    path = tmp_path / "m.gguf"
    broken_off(server, path, 1000)
    other = b"other" * 600
    server.put(FILE, other, **tag)
    pull(server, path)
    assert path.read_bytes() == other
    assert server.ranges(FILE) == ["bytes=1000-", None]


def test_a_part_longer_than_the_file_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    broken_off(server, path, 1000)
    server.put(FILE, DATA[:500])
    pull(server, path)
    assert path.read_bytes() == DATA[:500]


def test_a_whole_file_is_fetched_again_only_if_it_changed(
    server: FileServer, tmp_path: Path
) -> None:
    path = tmp_path / "m.gguf"
    pull(server, path)
    assert pull(server, path) == []
    server.put(FILE, b"new")
    assert pull(server, path) == [(3, 3)]
    assert path.read_bytes() == b"new"


def test_a_full_disk_is_said_before_anything_is_written(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=len(DATA) - 1))
    with pytest.raises(DownloadError, match=r"GB more are needed .* SPEC_LOCAL_CACHE") as caught:
        pull(server, tmp_path / "m.gguf")
    assert not isinstance(caught.value, SourceUnavailable)  # another source would not fit either
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_names_the_file_and_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    server.refuse(FILE, 503)
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1 answers 503 when asked for m\.gguf"):
        pull(server, tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []


def failure(url: str, tmp_path: Path) -> str:
    with pytest.raises(Unreachable) as caught:
        fetch(url, tmp_path / "m.gguf", lambda _done, _all: None)
    return str(caught.value)


def test_nobody_listening_is_said(tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # a port at which nobody answers
        said = failure(f"http://127.0.0.1:{bound.getsockname()[1]}/m.gguf", tmp_path)
    assert said == "127.0.0.1 cannot be reached (the connection is refused); check the network."


def test_a_name_that_is_not_known_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    said = failure("http://hub.example/m.gguf", tmp_path)
    assert said == "hub.example cannot be reached (its name is not known); check the network."


def test_a_server_that_stays_silent_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module._TIMEOUT[0] <= 5  # seconds, to connect
    monkeypatch.setattr(module, "_TIMEOUT", (1.0, 0.1, 1.0, 1.0))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = failure(f"http://127.0.0.1:{silent.getsockname()[1]}/m.gguf", tmp_path)
    assert "(there is no answer)" in said


FETCHING = """
import sys
from pathlib import Path
from spec_local.errors import DownloadError
from spec_local.models.fetch import fetch
try:
    fetch("http://hub.example/m.gguf", Path(sys.argv[1]) / "m.gguf", print)
except DownloadError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"HTTP_PROXY": "http://me:secret@127.0.0.1:9"}, r"the proxy 127\.0\.0\.1:9 \(the conn"),
        ({"HF_HUB_OFFLINE": "1"}, r"HF_HUB_OFFLINE is set; unset it"),
    ],
)
def test_settings_that_cut_the_network_off_are_named(
    tmp_path: Path, setting: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-c", FETCHING, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert re.search(said, done.stdout), done.stderr
    assert "secret" not in done.stdout
    assert len(done.stdout.splitlines()) == 1
