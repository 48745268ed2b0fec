"""Hugging Face: names, choosing a file, pulling it, and every refusal one sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spec_local.errors import DownloadError
from spec_local.models.download import pull, resolve
from spec_local.models.hub import HubName, choose, hub_name
from spec_local.models.registry import HuggingFaceFile, ModelSpec
from tests.file_server import COMMIT, FileServer, file_server
from tests.wheels import WHOLE, known, left_over

PARTS = {"big-00001-of-00002.gguf": b"one" * 500, "big-00002-of-00002.gguf": b"two" * 500}


@pytest.fixture
def cdn(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Where the hub's files lie."""
    monkeypatch.setattr("spec_local.models.fetch._PAUSE", 0.0)
    with file_server() as serving:
        yield serving


@pytest.fixture
def hub(cdn: FileServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with file_server() as serving:
        serving.put_repository("owner/repo", {"model.gguf": WHOLE, **PARTS}, cdn)
        monkeypatch.setenv("HF_ENDPOINT", serving.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield serving


def of_hub(file: str = "model.gguf", revision: str | None = None, **changes: Any) -> ModelSpec:
    return ModelSpec(hf=HuggingFaceFile("owner/repo", file, revision), **changes)


def test_a_hugging_face_file_is_pulled_and_checked(hub: FileServer, empty_cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    good = known(m=of_hub(sha256=hashlib.sha256(WHOLE).hexdigest()))
    path = pull("m", good, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == WHOLE
    assert left_over(empty_cache) == ["m.gguf", "m.json"]
    assert seen[-1] == (len(WHOLE), len(WHOLE))

    with pytest.raises(DownloadError, match=r"of hf:owner/repo/model\.gguf is not the expected"):
        pull("bad", known(bad=of_hub(sha256="1" * 64)))
    assert left_over(empty_cache) == ["m.gguf", "m.json"]


def test_the_token_is_for_the_hub_alone(
    hub: FileServer, cdn: FileServer, empty_cache: Path
) -> None:
    pull("m", known(m=of_hub()))
    (_path, to_hub), (_path, to_cdn) = hub.asked[0], cdn.asked[0]
    assert "Bearer hf_secret" in to_hub.values()
    assert "Bearer hf_secret" not in to_cdn.values()


def test_a_broken_pull_goes_on_by_bytes(
    hub: FileServer, cdn: FileServer, empty_cache: Path
) -> None:
    cdn.cuts = [1000, 0]
    with pytest.raises(DownloadError, match="cannot be reached"):
        pull("m", known(m=of_hub()))
    partial = empty_cache / "m.partial"
    assert sorted(each.name for each in partial.iterdir()) == ["model.gguf.etag", "model.gguf.part"]
    cdn.asked.clear()
    assert pull("m", known(m=of_hub())).read_bytes() == WHOLE
    assert cdn.ranges("model.gguf") == ["bytes=1000-"]
    assert left_over(empty_cache) == ["m.gguf", "m.json"]


def test_bytes_that_are_not_the_hubs_are_refused(
    hub: FileServer, cdn: FileServer, empty_cache: Path
) -> None:
    for path in cdn.answers:
        cdn.put(path, b"something else")
    with pytest.raises(DownloadError, match=r"model\.gguf of owner/repo arrived damaged"):
        pull("m", known(m=of_hub()))
    assert "m.gguf" not in left_over(empty_cache)


def test_all_parts_of_a_split_model_are_pulled(hub: FileServer, empty_cache: Path) -> None:
    split = known(big=of_hub("big-00001-of-00002.gguf"))
    path = pull("big", split)
    assert path == empty_cache / "big" / "big-00001-of-00002.gguf"
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == PARTS
    assert resolve("big", split) == path
    assert left_over(empty_cache) == ["big", "big.json"]


def test_parts_that_are_whole_are_not_pulled_again(
    hub: FileServer, cdn: FileServer, empty_cache: Path
) -> None:
    cdn.cuts = [1500, 700, 0]
    split = known(big=of_hub("big-00001-of-00002.gguf"))
    with pytest.raises(DownloadError):
        pull("big", split)
    seen: list[tuple[int, int]] = []
    path = pull("big", split, lambda done, total: seen.append((done, total)))
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == PARTS
    assert seen == [(1500, 1500)]  # the second part from its 700th byte on, and nothing else
    assert cdn.ranges("big-00002-of-00002.gguf")[-1] == "bytes=700-"


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (403, {"X_Error_Code": "GatedRepo"}, r"has terms to accept; accept them at http.*HF_TOKEN"),
        (401, {"X_Error_Code": "GatedRepo"}, r"has terms to accept"),
        (
            401,
            {"X_Error_Message": "Invalid credentials in Authorization header"},
            r"does not know your token; set HF_TOKEN",
        ),
        (401, {}, r"no repository owner/repo that you may see; check the name or"),
        (404, {"X_Error_Code": "RepoNotFound"}, r"no repository owner/repo that you may see"),
        (404, {"X_Error_Code": "RevisionNotFound"}, r"owner/repo has no such revision"),
        (403, {}, r"Your token may not read owner/repo; allow it at http.*/settings/tokens"),
        (503, {}, r"answers 503 for owner/repo; try again later"),
        (200, {}, r"is not from Hugging Face; check the network"),
    ],
)
def test_a_refusal_is_one_sentence_that_says_what_to_do(
    hub: FileServer, empty_cache: Path, status: int, headers: dict[str, str], said: str
) -> None:
    hub.refuse("/owner/repo/resolve/main/model.gguf", status, **headers)
    with pytest.raises(DownloadError, match=said) as caught:
        pull("m", known(m=of_hub()))
    assert "\n" not in str(caught.value)
    assert len(hub.asked) == 1


def test_the_nearest_files_are_named(hub: FileServer, empty_cache: Path) -> None:
    with pytest.raises(DownloadError, match=r"no model modle\.gguf; did you mean model\.gguf\?"):
        pull("m", known(m=of_hub("modle.gguf")))
    with pytest.raises(DownloadError, match=r"no model modle\.gguf; did you mean model\.gguf\?"):
        pull("hf:owner/repo/modle.gguf", known())


def test_a_repository_that_is_not_there_is_one_sentence(hub: FileServer, empty_cache: Path) -> None:
    with pytest.raises(DownloadError, match="no repository other/repo that you may see") as caught:
        pull("other/repo", known())
    assert "\n" not in str(caught.value)


def test_a_list_that_is_none_is_one_sentence(hub: FileServer, empty_cache: Path) -> None:
    hub.put("/api/models/owner/repo/revision/main", b"<html>Please log in</html>")
    with pytest.raises(DownloadError, match="is not from Hugging Face"):
        pull("owner/repo", known())


def test_a_model_is_pulled_by_its_name_on_the_hub(hub: FileServer, empty_cache: Path) -> None:
    registry = known()
    assert resolve("owner/repo", registry) is None
    path = pull("hf:owner/repo/model.gguf", registry)
    assert path.read_bytes() == WHOLE
    assert path == empty_cache / "owner--repo--model.gguf"
    assert resolve("hf:owner/repo/model.gguf", registry) == path
    split = pull("owner/repo", registry)  # no usual quantization: the first file
    assert split.with_name("big-00002-of-00002.gguf").exists()
    assert resolve("owner/repo", registry) == split


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
