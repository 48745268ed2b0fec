"""Commands where files cannot be kept, or no home is: they go on, and say what is not kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.test_cli import PROGRAM, Argument, fails_with

pytestmark = pytest.mark.llama

resource = pytest.importorskip("resource")

SHORT = ("generate", "hi", "-n", "30", "-q", "--temperature", "0", "-c", "256")
NOTE = "note: what is learned of this machine cannot be kept in "
HOMES = ("HOME", "SPEC_LOCAL_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
HOMELESS = """
import pwd
def unknown(number):
    raise KeyError(number)
pwd.getpwuid = unknown
from spec_local.cli import main
main()
"""


def run(
    *arguments: Argument,
    program: list[str] = PROGRAM,
    largest_file: int | None = None,
    **places: str | Path,
) -> subprocess.CompletedProcess[str]:
    """A command that knows of no other places than these."""
    environment = {name: value for name, value in os.environ.items() if name not in HOMES}

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        [*program, *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=200,
        env={**environment, **{name: str(place) for name, place in places.items()}},
        preexec_fn=limit,
    )


@pytest.fixture
def obedient() -> list[str]:
    """The program without root's right to pass over what directories permit."""
    if os.geteuid() != 0:
        return PROGRAM
    if (setpriv := shutil.which("setpriv")) is None:
        pytest.skip("root may do everything here")
    drop = "--bounding-set=-dac_override,-dac_read_search"
    return [setpriv, drop, "--inh-caps=-all", *PROGRAM]


@pytest.fixture
def forbidden(tmp_path: Path) -> Iterator[Path]:
    """The home of somebody else, with nothing to see."""
    home = tmp_path / "root"
    home.mkdir()
    home.chmod(0)
    yield home
    home.chmod(0o700)


def test_the_home_of_another_user(tiny: Path, forbidden: Path, obedient: list[str]) -> None:
    done = run(*SHORT, "-m", tiny, program=obedient, HOME=forbidden)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    (said,) = done.stderr.splitlines()
    assert said.startswith(NOTE)
    assert "Permission denied; set SPEC_LOCAL_CACHE to a folder that can be written." in said
    listed = run("models", "list", program=obedient, HOME=forbidden)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "smollm2" in listed.stdout
    assert run("models", "scan", program=obedient, HOME=forbidden).returncode == 0
    for command in (("remembered",), ("chat", "--list-sessions")):  # what is asked for is there
        said = run(*command, program=obedient, HOME=forbidden).stderr
        assert len(said.splitlines()) <= 1, said
    pulled = run("models", "pull", "smollm2", program=obedient, HOME=forbidden)
    assert fails_with(pulled, "Permission denied")


def test_no_home_at_all(tiny: Path, tmp_path: Path) -> None:
    homeless = [sys.executable, "-c", HOMELESS]
    done = run(*SHORT, "-m", tiny, program=homeless)
    assert fails_with(done, "No home directory is known; set HOME, or SPEC_LOCAL_CACHE to a folder")
    kept = run(*SHORT, "-m", tiny, program=homeless, SPEC_LOCAL_CACHE=tmp_path)
    assert (kept.returncode, kept.stderr) == (0, "")
    assert list((tmp_path / "profiles").glob("*.json"))
    listed = run("models", "list", program=homeless, SPEC_LOCAL_CACHE=tmp_path)
    assert (listed.returncode, listed.stderr) == (0, "")


def test_a_cache_that_cannot_be_written(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    here = tmp_path / "file" / "cache"
    done = run(*SHORT, "-m", tiny, SPEC_LOCAL_CACHE=here, HOME=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith(f"{NOTE}{here}/profiles: Not a directory; set SPEC_LOCAL_CACHE")
    assert len(done.stderr.splitlines()) == 1
    tuned = run(
        "tune", "-m", tiny, "--seconds", "1", "-c", "256", SPEC_LOCAL_CACHE=here, HOME=tmp_path
    )
    assert tuned.returncode == 0
    assert tuned.stderr.startswith(NOTE)
    assert "tiny.gguf (measured by spec-local tune)" in tuned.stdout
    exact = run(*SHORT, "--exact", "-m", tiny, SPEC_LOCAL_CACHE=here, HOME=tmp_path)
    assert exact.returncode == 0
    assert exact.stderr.count(NOTE) == 1
    assert "only once" not in exact.stderr


def test_a_cache_without_room(tiny: Path, tmp_path: Path) -> None:
    done = run(*SHORT, "-m", tiny, largest_file=0, SPEC_LOCAL_CACHE=tmp_path, HOME=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith(f"{NOTE}{tmp_path}/profiles: File too large; set SPEC_LOCAL_")
    remembering = run(
        *SHORT, "-m", tiny, "--remember", largest_file=0, SPEC_LOCAL_CACHE=tmp_path, HOME=tmp_path
    )
    assert remembering.returncode == 0
    assert "could not be written" in remembering.stderr
    assert "Traceback" not in remembering.stderr


def test_a_model_that_may_only_be_read(tiny: Path, tmp_path: Path, obedient: list[str]) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    model = Path(shutil.copy(tiny, folder / "model.gguf"))
    model.chmod(0o444)
    folder.chmod(0o555)
    try:
        ask = partial(run, program=obedient, SPEC_LOCAL_CACHE=tmp_path / "cache", HOME=tmp_path)
        done = ask(*SHORT, "-m", model)
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        folder.chmod(0o755)


def test_the_cache_may_be_named_by_a_tilde(tiny: Path, tmp_path: Path) -> None:
    done = run(*SHORT, "-m", tiny, SPEC_LOCAL_CACHE="~/x", HOME=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "x" / "profiles").is_dir()
    assert not Path("~").exists()


def test_two_commands_at_once_share_a_profile(tiny: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "SPEC_LOCAL_CACHE": str(tmp_path)}
    command = [*PROGRAM, *SHORT, "-m", str(tiny)]
    both = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    ended = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert ended[0] == ended[1]
    assert ended[0][1] == ""
    assert list((tmp_path / "profiles").glob("*.json"))
