"""A child process first opens a file that nobody vouches for, as the file may end the process.

llama.cpp ends its process over what its own converter never writes, in far more places than a check
of the header could foresee. So such a file is once loaded, evaluated, rolled back and tokenized
with in a process of its own (`trial_run.py`). Whether it survived is kept (`verdict.py`), unless
the reason may have been another one than the file: memory that was short, a machine that was busy,
or somebody who ended the child.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from spec_local.errors import ModelFileError
from spec_local.gguf.header import GGUFHeader, split_parts
from spec_local.llama.options import LoadOptions
from spec_local.llama.verdict import Verdict
from spec_local.util.files import hash_of_samples, size_of
from spec_local.util.process import has_python
from spec_local.util.progress import Progress, no_progress

logger = logging.getLogger("spec_local.llama.trial")

TEMPLATE_FAULT, REFUSED, TEMPLATE_COSTLY = 43, 44, 45
"""The child's exit status for a chat template without end, which stderr names; for a file that was
refused in words; and for a chat template that ran out of time or memory."""

_DEATHS = frozenset(
    getattr(signal, name)
    for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE")
    if hasattr(signal, name)
)
"""What a file can make a process die of; whoever kills it says nothing of the file."""

_PROGRAM = "spec_local.llama.trial_run"
_PACKAGES = Path(__file__).parents[2]
_SECONDS, _BYTES_PER_SECOND = 30.0, 20e6
"""How long a trial may take, and what the slowest disk adds for each byte."""
_LAST_WORDS = re.compile(r"^\S*?([\w.-]+\.(?:c|cc|cpp|h|hpp|cu|m)):(\d+): (.+)$", re.MULTILINE)
"""What GGML_ASSERT and GGML_ABORT print."""
_EXCEPTION = re.compile(r"what\(\): +(.+)")
_OF_MACHINE = re.compile(r"alloc|memory|\brc == 0\b", re.IGNORECASE)
"""What it prints where there is no memory, or no thread (ggml-cpu.c)."""
_ADVICE = "download it again or choose another file"
_TRUSTED = "--no-trial (in an application LoadOptions(trial=False)) if you trust the file"


def require_survived(
    path: Path,
    header: GGUFHeader,
    options: LoadOptions,
    vocabulary: bool,
    progress: Progress = no_progress,
    *,
    encoder: Path | None = None,
    adapter: Path | None = None,
    heads: bool = False,
) -> None:
    """Raise ModelFileError if a process that opens the file dies of it.

    vocabulary: nothing but that will be used. heads: its multi-token prediction layers will be,
    too. encoder, adapter: what is tried is this encoder of images, or this LoRA adapter, on
    a model that may be opened. Where no Python can be started, as in an application
    that was frozen into a program of its own, nothing is tried.
    """
    beside = {"encoder": encoder, "adapter": adapter}
    others = {kind: file for kind, file in beside.items() if file is not None}
    settings = _settings(options, vocabulary, others, heads)
    files, name = [*split_parts(path), *others.values()], (encoder or adapter or path).name
    verdict = Verdict(_digest(files, header, settings), tuple(files))
    if refusal := verdict.read():
        raise ModelFileError(f"{name} cannot be used: {refusal}")
    if refusal is not None or not has_python():
        return
    progress(f"try {Path(name).stem}", 0.0)
    seconds = _SECONDS + sum(map(size_of, files)) / _BYTES_PER_SECOND
    command = [sys.executable, "-m", _PROGRAM, str(path.absolute()), settings]
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=seconds,
            env=_environment(),
            cwd=_PACKAGES,  # Python imports from where it is started: not from the user's folder
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(
            f"{name} cannot be used: llama.cpp came to no end with it in {seconds:.0f} s; "
            f"{_ADVICE}, or take {_TRUSTED}."
        ) from None
    except OSError as error:
        logger.info("%s was not tried: %s", name, error)
        return
    words = ended.stderr.decode(errors="replace").strip()
    if ended.returncode == 0:
        verdict.keep()
    elif (refusal := _refusal(ended.returncode, words)) is not None:
        if _is_certain(ended.returncode, words):
            verdict.keep(refusal)
        raise ModelFileError(f"{name} cannot be used: {refusal}")
    elif ended.returncode != REFUSED:
        logger.info("%s was not tried: %s", name, words)


def _refusal(status: int, words: str) -> str | None:
    """What the child's end and its last words say of the file; None if that is nothing."""
    if -status in _DEATHS:
        return f"llama.cpp ends the process that opens it ({_reason(words, -status)}); {_ADVICE}."
    if status in (TEMPLATE_FAULT, TEMPLATE_COSTLY):
        said = words.rpartition("\n")[2].removesuffix(".")
        return f"{said}, each with {_TRUSTED}."
    return None


def _is_certain(status: int, words: str) -> bool:
    """Whether the same file would be refused again: llama.cpp, or a limit, says why.

    A signal without a reason may have come from anywhere.
    """
    asserted = _LAST_WORDS.search(words) is not None and not _OF_MACHINE.search(words)
    return status == TEMPLATE_FAULT or (-status in _DEATHS and asserted)


def _settings(
    options: LoadOptions, vocabulary: bool, others: Mapping[str, Path], heads: bool
) -> str:
    """As JSON, what decides which of llama.cpp's code runs: the child's LoadOptions."""
    kind = ("flash_attention", "kv_type_k", "kv_type_v")
    settings = {} if vocabulary else {name: getattr(options, name) for name in kind}
    settings.update({name: str(file.absolute()) for name, file in others.items()})
    if heads:
        settings["heads"] = heads
    return json.dumps({"vocabulary": vocabulary, **settings})


def _digest(files: Sequence[Path], header: GGUFHeader, settings: str) -> str:
    parts = map(hash_of_samples, files)
    known = "\n".join([version("llama-cpp-python"), settings, header.digest, *parts])
    return hashlib.sha256(known.encode()).hexdigest()


def _environment() -> dict[str, str]:
    """The same packages as here; and no debugger, which llama.cpp would start to say more."""
    packages = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "PYTHONPATH": packages, "GGML_NO_BACKTRACE": "1"}


def _reason(words: str, number: int) -> str:
    """llama.cpp's own reason, else the signal."""
    if found := _LAST_WORDS.findall(words):
        file, line, reason = found[-1]
        return f"{file}:{line}: {reason}"
    if found := _EXCEPTION.findall(words):
        return str(found[-1])
    return signal.strsignal(number) or f"signal {number}"
