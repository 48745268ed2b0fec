"""One at a time by a lock file, and what happens where files cannot be locked."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from spec_local.util.locks import Occupied, locked

fcntl = pytest.importorskip("fcntl")


def test_threads_come_one_after_the_other(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with locked(tmp_path / "lock"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_who_does_not_wait_hears_that_another_process_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from spec_local.util.locks import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('inside', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    program = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"inside\n"
        with pytest.raises(Occupied, match="is locked by somebody else"), locked(path, seconds=0):
            pass
        other.kill()  # which frees it
        other.wait()
        with locked(path, seconds=20):
            pass


def test_an_error_inside_frees_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "lock"):
        raise KeyError
    with locked(tmp_path / "lock", seconds=0):
        pass


def test_who_waited_for_a_file_that_is_removed_takes_the_new_one(tmp_path: Path) -> None:
    path, entered = tmp_path / "lock", threading.Event()

    def wait() -> None:
        with locked(path, seconds=20):
            entered.set()
            with pytest.raises(Occupied), locked(path, seconds=0):
                pass

    thread = threading.Thread(target=wait)
    with locked(path):
        thread.start()
        assert not entered.wait(0.2)
        path.unlink()
    thread.join()
    assert entered.is_set()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_files_cannot_be_locked_everybody_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refused)
    with locked(tmp_path / "lock"), locked(tmp_path / "lock", seconds=0):
        pass


def test_other_errors_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "the drive is broken")

    with pytest.raises(FileNotFoundError), locked(tmp_path / "nowhere" / "lock"):
        pass
    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="the drive is broken"), locked(tmp_path / "lock"):
        pass
