"""The process of a peer: started, watched, and ended whatever happens.

What is said to it is in `programs.py`.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from spec_local.errors import SpecLocalError
from spec_local.llama.options import LoadOptions

Timeouts = tuple[float, float]
"""Seconds for starting, and for one answer."""

_GRACE = 5.0
"""Seconds between asking a process to end and killing it."""
_PR_SET_PDEATHSIG = 1
"""Of Linux's prctl."""


class PeerError(SpecLocalError):
    """A program measured beside spec-local did not start, or gave no usable answer."""


@dataclass(frozen=True, slots=True)
class PeerSetup:
    """What every peer works with."""

    target: Path
    draft: Path | None
    load: LoadOptions
    """With n_ctx and n_threads given, not 0.

    llama-cpp-python with lookup keeps n_ctx x n_vocab logits (float32), so its context should be
    just large enough for the longest prompt and answer.
    """


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """One answer, as the peer itself counted and timed it."""

    tokens: tuple[int, ...]
    count: int
    """Generated tokens, the first and an end-of-generation token included."""
    prompt_seconds: float
    """Until the first token was there."""
    seconds: float
    """Time of the other count - 1 tokens."""
    drafted: int = 0
    accepted: int = 0
    """Both 0 where the peer does not tell."""


class Peer(ABC):
    """A running peer; a context manager."""

    def __init__(
        self, name: str, command: Sequence[str], timeouts: Timeouts, *, piped: bool
    ) -> None:
        """Start the command and wait until it is ready; raises PeerError.

        piped: talk to it over its standard input and output instead of keeping them for errors.
        """
        self.name = name
        self.start_timeout, self.answer_timeout = timeouts
        self._directory = TemporaryDirectory(prefix="spec-local-")
        self._log = Path(self._directory.name, "log")
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if piped else log,
                    stderr=log,
                    encoding="utf-8",
                    # Such variables would change how llama-server runs behind the report's back.
                    env={k: v for k, v in os.environ.items() if not k.startswith("LLAMA_ARG_")},
                    # Ctrl-C reaches only this process, which then ends the peer in an orderly way.
                    start_new_session=True,
                    preexec_fn=_ends_with_this_one(),
                )
        except OSError as error:
            self._directory.cleanup()
            raise PeerError(f"{name} cannot be started: {error.strerror}.") from None
        atexit.register(self.close)
        try:
            self.version = self._until_ready()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _until_ready(self) -> str:
        """Wait until it can answer; return its version."""

    @abstractmethod
    def answer(
        self, tokens: Sequence[int], max_tokens: int, temperature: float, seed: int
    ) -> PeerAnswer:
        """Continue the tokens of a prompt, none of which is cached; raises PeerError."""

    def peak_rss(self) -> int | None:
        """Most memory its process has held, in bytes; None where the system does not tell."""
        with suppress(OSError, ValueError):
            status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
            return int(status.partition("VmHWM:")[2].partition("kB")[0]) * 1024
        with suppress(psutil.Error):
            return getattr(psutil.Process(self._process.pid).memory_info(), "peak_wset", None)
        return None

    def close(self) -> None:
        """End the process: ask, wait, kill. Closing twice is harmless."""
        atexit.unregister(self.close)
        try:
            _end(self._process)
        finally:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):  # what was left to write has no reader any more
                        pipe.close()
            self._directory.cleanup()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stopped(self) -> PeerError:
        """The error for a process that ended, or talks no more."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.returncode
        if code is None:
            how = "broke off"
        elif code < 0:
            how = f"crashed ({signal.strsignal(-code) or -code})"
        else:
            how = f"ended with exit code {code}"
        return PeerError(f"{self.name} {how}; {self._last_words()}.")

    def _late(self, seconds: float) -> PeerError:
        return PeerError(f"{self.name} took more than {seconds:g} s; {self._last_words()}.")

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), None)
        return f"its last line was: {last.rstrip('.')}" if last else "it wrote nothing"

    @contextmanager
    def _well_formed(self) -> Iterator[None]:
        """Make a PeerError of what goes wrong while an answer is read."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError):
            raise PeerError(
                f"{self.name} sent an answer of an unknown form; try another version of it."
            ) from None


def _ends_with_this_one() -> Callable[[], None] | None:
    """What a child does first on Linux, so that it does not outlive a process that is killed.

    Between fork and exec another thread's lock may be held for ever, so all is looked up before and
    the child makes two system calls. A program in between that did the same and then became the
    peer would hide why a peer cannot be started. To Linux the thread that starts a child is its
    parent, so none but the main thread, which lasts, may ask for this.
    """
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    prctl, this = ctypes.CDLL(None).prctl, os.getpid()
    asked = (_PR_SET_PDEATHSIG, *map(ctypes.c_ulong, (signal.SIGKILL, 0, 0, 0)))

    def ask() -> None:
        prctl(*asked)
        if os.getppid() != this:  # killed before it was asked
            os._exit(1)

    return ask


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and those it started (a path may be that of a script)."""
    family: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(process.pid)
        family = [leader, *leader.children(recursive=True)]
    try:
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.terminate()
        psutil.wait_procs(family, timeout=_GRACE)
    finally:
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        process.wait()
