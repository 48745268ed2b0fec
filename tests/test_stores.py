"""Models that other programs have fetched: where they keep them, and what the headers say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spec_local import LoadOptions, Runner
from spec_local.cli.options import PairOptions, chosen_pair, named
from spec_local.cli.talk.commands import models_of
from spec_local.errors import ConfigError, ModelFileError
from spec_local.models.download import resolve
from spec_local.models.loading import choose_pair, is_name
from spec_local.models.pairing import drafts_for
from spec_local.models.registry import load_registry
from spec_local.models.scan import scanned
from spec_local.models.stores import stored_files
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

OLLAMA_LAYER = "application/vnd.ollama.image.model"


def put(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_tiny(path, seed=seed)


def put_in_ollama(models: Path, manifest: str, kind: str = OLLAMA_LAYER) -> Path:
    blob = put(models / "blobs" / f"sha256-{len(manifest):064x}")
    path = models / "manifests" / manifest
    path.parent.mkdir(parents=True, exist_ok=True)
    layers = [{"mediaType": "other", "digest": "x"}, {"mediaType": kind, "digest": blob.name}]
    path.write_text(json.dumps({"layers": layers}).replace("sha256-", "sha256:"))
    return blob


def test_every_store_is_looked_into(home: Path) -> None:
    studio = put(home / ".lmstudio/models/maker/repo/studio-Q4.gguf")
    library = put_in_ollama(home / ".ollama/models", "registry.ollama.ai/library/tiny/latest")
    other = put_in_ollama(home / ".ollama/models", "hf.co/maker/repo/Q4_K_M")
    cached = put(home / "llama.cpp/cached.gguf")
    hub = put(home / "hub/models--maker--repo/snapshots/abc/file.gguf")
    mine = put(home / "mine/own.gguf")
    assert {each.name: each.path for each in stored_files([home / "mine"])} == {
        "studio-Q4": studio,
        "tiny:latest": library,
        "hf.co/maker/repo:Q4_K_M": other,
        "cached": cached,
        "maker/repo/file.gguf": hub,
        "own": mine,
    }


def test_what_is_no_model_is_left_out(home: Path) -> None:
    folder = home / "llama.cpp"
    put(folder / "split-00001-of-00002.gguf")
    put(folder / "split-00002-of-00002.gguf")
    put(folder / "mmproj-pictures.gguf")
    (folder / "small.gguf").write_bytes(b"GGUF")
    (folder / "folder.gguf").mkdir()
    (folder / "dangling.gguf").symlink_to(home / "nowhere")
    put_in_ollama(home / ".ollama/models", "registry.ollama.ai/library/adapter/latest", "adapter")
    (home / ".ollama/models/manifests/short").write_text("{}")
    (home / ".ollama/models/manifests/registry.ollama.ai/library/adapter/odd").write_text("no")
    assert [each.name for each in stored_files()] == ["split-00001-of-00002"]


@pytest.mark.usefixtures("home")
def test_nothing_anywhere_is_no_error() -> None:
    assert stored_files() == []


def test_a_name_of_another_program_is_a_target(home: Path) -> None:
    path = put_in_ollama(home / ".ollama/models", "registry.ollama.ai/library/tiny/1b")
    assert resolve("tiny:1b", load_registry()) == path
    assert resolve(str(path), load_registry()) == path  # its file there has no ending
    assert is_name("tiny:1b")
    assert choose_pair("tiny:1b").target == "tiny:1b"
    assert not is_name("tiny:2b")
    with pytest.raises(ConfigError, match="no model or pair 'tiny:2b'"):
        choose_pair("tiny:2b")


def test_a_chat_calls_a_model_by_the_name_it_was_asked_for_by(home: Path) -> None:
    path = put_in_ollama(home / ".ollama/models", "registry.ollama.ai/library/tiny/1b")
    for name, shown in (("tiny:1b", "tiny:1b"), (str(path), path.stem)):
        with Runner.load(target=name, options=LoadOptions(n_ctx=128)) as runner:
            assert models_of(runner).startswith(f"target {shown} (llama ")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("words", ["x" * 5000, "a\0b", "..", "", "/", "a/b/c" * 1000])
def test_any_text_may_be_asked_whether_it_is_a_name(words: str) -> None:
    assert not is_name(words)


@pytest.mark.usefixtures("home")
def test_pairs_and_models_are_one_world_of_names() -> None:
    pair = load_registry().pairs["qwen2.5-7b"]
    assert choose_pair("qwen2.5-7b") == pair
    assert choose_pair(None, "smollm2") == choose_pair("smollm2")
    assert choose_pair("smollm2-135m").draft is None
    assert choose_pair(None, "smollm2", "other.gguf").draft == "other.gguf"
    assert chosen_pair(named(PairOptions(), "qwen2.5-7b")) == pair
    assert chosen_pair(PairOptions(target="qwen2.5-7b", no_draft=True)).draft is None


@pytest.mark.usefixtures("home")
def test_a_folder_names_the_one_model_in_it(tmp_path: Path) -> None:
    registry, folder = load_registry(), tmp_path / "models"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"no \.gguf model in"):
        resolve(str(folder), registry)
    first = put(folder / "repo/first.gguf")
    assert resolve(str(folder), registry) == first
    put(folder / "repo/second.gguf")
    with pytest.raises(ConfigError, match=r"choose from: first\.gguf, second\.gguf"):
        resolve(str(folder), registry)
    with pytest.raises(ModelFileError, match="There is no file"):
        resolve(str(folder / "third.gguf"), registry)


def test_headers_say_what_a_model_is(home: Path) -> None:
    put(home / "llama.cpp/good.gguf")
    put(home / "llama.cpp/same-words.gguf", seed=1)
    damaged = put(home / "llama.cpp/damaged.gguf")
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    write_tiny(home / "llama.cpp/other-words.gguf", bpe=True)
    found = {each.name: each for each in scanned()}
    good = found["good"]
    assert (good.architecture, good.context, good.has_template) == ("llama", 4096, True)
    assert good.n_vocab > 256
    assert good.vocabulary == found["same-words"].vocabulary != found["other-words"].vocabulary
    assert good.row()[1:4] == ["llama", "4,096", "yes"]
    assert "is damaged" in found["damaged"].damage
    assert found["damaged"].row()[0] == "-"


def test_a_draft_has_the_same_vocabulary_and_a_fitting_size(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spec_local.models.pairing.SHARES", (0.2, 0.9))
    folder = home / "llama.cpp"
    folder.mkdir()
    target = write_tiny(folder / "target.gguf", "gemma3")
    draft = put(folder / "draft.gguf")
    write_tiny(folder / "other-words.gguf", letters="abc")
    write_tiny(folder / "too-large.gguf", "gemma3", seed=1)
    assert draft.stat().st_size < 0.9 * target.stat().st_size
    found = [each.name for each in drafts_for(target, load_registry())]
    assert found == ["draft"]
    assert not list(drafts_for(draft, load_registry()))
