"""Which other programs are measured beside spec-local, and how each of them is started.

They are what people use today: llama-server of llama.cpp with the ways of drafting it has, and the
`Llama` class of llama-cpp-python with its prompt lookup. `programs.py` talks to them.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spec_local.bench.peers.process import Peer, PeerAnswer, PeerError, PeerSetup
from spec_local.bench.peers.programs import LlamaCppPython, LlamaServer
from spec_local.errors import ConfigError, require

__all__ = (
    "Peer",
    "PeerAnswer",
    "PeerError",
    "PeerSetup",
    "PeerSpec",
    "peer_specs",
    "start_peer",
)

SERVER = "llama-server"
PYTHON = "llama-cpp-python"
DRAFT = "{draft}"
"""In flags, stands for the path of the draft model."""

# A draft model alone drafts nothing: llama-server loads it and goes on without it.
_WITH_DRAFT = f"-md {DRAFT} --spec-type draft-simple"
_DRAFT_SETS = {
    "-md": _WITH_DRAFT,
    "-md n8 p0.75": f"{_WITH_DRAFT} --spec-draft-n-max 8 --spec-draft-p-min 0.75",
}
_NGRAM_SETS = {
    "ngram-map-k": "--spec-type ngram-map-k",
    "ngram-mod": "--spec-type ngram-mod",
}

START_TIMEOUT = 300.0
ANSWER_TIMEOUT = 1800.0
"""Seconds; generous, for a large model on a slow disk."""


@dataclass(frozen=True, slots=True)
class PeerSpec:
    """One peer with one set of flags."""

    program: str
    """llama-server or llama-cpp-python."""
    variant: str
    """plain, or how it drafts."""
    executable: Path | None = None
    """Where llama-server is."""
    flags: tuple[str, ...] = ()
    """Flags for llama-server; `{draft}` in them stands for the draft model's path."""

    @property
    def name(self) -> str:
        """As the report shows it."""
        return f"{self.program} {self.variant}"

    @property
    def needs_draft(self) -> bool:
        """Whether its flags name the draft model."""
        return any(DRAFT in flag for flag in self.flags)


def peer_specs(
    requested: Sequence[str], flag_sets: Sequence[str], has_draft: bool
) -> list[PeerSpec]:
    """The peers to measure, each program's plain decoding first.

    requested: `llama-server=PATH` or `llama-cpp-python`. flag_sets: `NAME=FLAGS` for llama-server,
    in place of its default ways to draft. Raises ConfigError for what is unknown or cannot be run.
    """
    sets = _parsed(flag_sets, has_draft)
    if not flag_sets:
        sets = {**(_DRAFT_SETS if has_draft else {}), **_NGRAM_SETS}
    specs: list[PeerSpec] = []
    for text in requested:
        program, _, path = text.partition("=")
        require(
            all(spec.program != program for spec in specs),
            f"{program} is given twice; measure one at a time.",
        )
        if text == PYTHON:
            specs += [PeerSpec(PYTHON, variant) for variant in ("plain", "lookup")]
        elif program == SERVER and path:
            executable = _executable(path)
            specs += [
                PeerSpec(SERVER, variant, executable, tuple(shlex.split(flags)))
                for variant, flags in {"plain": "", **sets}.items()
            ]
        else:
            raise ConfigError(f"{text!r} cannot be measured; give {SERVER}=PATH or {PYTHON}.")
    served = any(spec.program == SERVER for spec in specs)
    require(served or not flag_sets, f"Flags are for llama-server; give {SERVER}=PATH too.")
    return specs


def start_peer(
    spec: PeerSpec,
    setup: PeerSetup,
    *,
    start_timeout: float = START_TIMEOUT,
    answer_timeout: float = ANSWER_TIMEOUT,
) -> Peer:
    """Start it and wait until it can answer; the caller closes it. Raises PeerError.

    Timeouts are seconds. The first answer of a process is slower: ask one that does not count.
    """
    timeouts = (start_timeout, answer_timeout)
    if spec.executable is None:
        return LlamaCppPython(spec.name, setup, timeouts, lookup=spec.variant == "lookup")
    flags = [flag.replace(DRAFT, str(setup.draft)) for flag in spec.flags]
    return LlamaServer(spec.name, setup, timeouts, executable=spec.executable, flags=flags)


def _parsed(flag_sets: Sequence[str], has_draft: bool) -> dict[str, str]:
    sets = {"plain": ""}
    for text in flag_sets:
        name, _, flags = (part.strip() for part in text.partition("="))
        require(bool(name and flags), f"{text!r} is no set of flags; write NAME=FLAGS.")
        require(name not in sets, f"There is a set of flags {name!r} already; choose another name.")
        require(has_draft or DRAFT not in flags, f"The flags {name!r} need a draft; give --draft.")
        try:
            shlex.split(flags)
        except ValueError:
            raise ConfigError(f"The flags {name!r} have an open quote; close it.") from None
        sets[name] = flags
    return sets


def _executable(path: str) -> Path:
    """A path, or the name of a program on the search path."""
    found = shutil.which(os.path.expanduser(path))
    require(
        found is not None, f"{path} is not a program that can be run; give llama-server's path."
    )
    return Path(str(found)).resolve()
