"""What makes it slow here, or keeps it from working, and the command that mends it.

Knows the facts alone, so other machines than this one can be thought of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from shlex import quote

from spec_local.doctor.facts import Facts, PairFacts
from spec_local.llama.building import LLAMA, building

BUSY = 0.25
"""Share of the processors that others use from which on they are in the way."""
_ROOM = 1.2
"""Memory that a pair takes, in bytes of its files: caches and buffers come on top."""
_FASTEST = {"x86_64": "AVX2", "AMD64": "AVX2", "arm64": "DOTPROD", "aarch64": "DOTPROD"}
"""Instructions without which llama.cpp has no fast kernels for quantized weights."""
_OWN_CHOICE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to mend."""

    sentence: str
    command: str
    """That mends it, or shows what has to be mended."""


def findings(facts: Facts) -> list[Finding]:
    """Everything found, what matters most first."""
    parts = (
        _packages,
        _library,
        _kernels,
        _gpu,
        _threads,
        _waiting,
        _load,
        _memory,
        _drafts,
        _files,
    )
    return [finding for part in parts for finding in part(facts)]


def _packages(facts: Facts) -> Iterator[Finding]:
    for each in facts.unmet:
        command = f"pip install {quote(each.requirement)}"
        if each.installed is None:
            yield Finding(f"{each.name} is missing, which spec-local needs.", command)
        else:
            yield Finding(
                f"{each.name} is installed in version {each.installed}, and spec-local is made for "
                f"{each.requirement.removeprefix(each.name)}.",
                command,
            )


def _library(facts: Facts) -> Iterator[Finding]:
    if facts.build_fault is None or any(each.installed is None for each in facts.unmet):
        return
    yield Finding(
        f"llama.cpp cannot be loaded ({facts.build_fault}), and has to be built for this machine.",
        _built_again(facts, "-DGGML_NATIVE=on"),
    )


def _kernels(facts: Facts) -> Iterator[Finding]:
    hardware, fastest = facts.hardware, _FASTEST.get(facts.hardware.architecture)
    if fastest is None or (facts.build is not None and facts.build.has_gpu):
        return
    if hardware.is_translated:
        return  # that is found, and mended otherwise
    if hardware.instructions is not None and fastest not in hardware.instructions:
        yield Finding(
            f"{hardware.cpu} has no {fastest}, which llama.cpp's fast kernels need, so only small "
            "models are quick here.",
            "spec-local race smollm2",
        )
    elif facts.build is not None and not facts.build.has(fastest):
        yield Finding(
            f"llama.cpp was built without {fastest}, which its fast kernels need"
            f"{'' if hardware.instructions is None else ' and this processor has'}.",
            _built_again(facts, "-DGGML_NATIVE=on"),
        )


def _gpu(facts: Facts) -> Iterator[Finding]:
    hardware, build = facts.hardware, facts.build
    if hardware.is_translated:
        yield Finding(
            "This Python was built for Intel and is translated for Apple silicon, so llama.cpp "
            "computes neither with the GPU nor with the processor's own instructions.",
            "arch -arm64 brew install python",
        )
        return
    if build is None or build.has_gpu:
        return
    if hardware.system == "Darwin" and hardware.architecture == "arm64":
        yield Finding(
            f"llama.cpp was built without Metal, so the GPU of this {hardware.cpu} is idle.",
            _built_again(facts, "-DGGML_METAL=on"),
        )
    elif hardware.nvidia and "CUDA" not in build.backends:
        yield Finding(
            f"llama.cpp was built for the CPU alone, so this {hardware.nvidia[0]} is idle.",
            _built_again(facts, "-DGGML_CUDA=on"),
        )
    elif hardware.nvidia and "CUDA_VISIBLE_DEVICES" in facts.environment:
        chosen = facts.environment["CUDA_VISIBLE_DEVICES"]
        yield Finding(
            f"CUDA_VISIBLE_DEVICES={chosen} hides this {hardware.nvidia[0]} from llama.cpp.",
            "unset CUDA_VISIBLE_DEVICES",
        )
    elif hardware.nvidia:
        yield Finding(
            f"llama.cpp was built for CUDA and cannot use this {hardware.nvidia[0]}, whose driver "
            "may be older than that CUDA.",
            "nvidia-smi",
        )


def _threads(facts: Facts) -> Iterator[Finding]:
    hardware, threads = facts.hardware, facts.threads
    room = min(filter(None, (hardware.cores, hardware.usable)), default=None)
    wanted, most = _number(facts, "OMP_NUM_THREADS"), _number(facts, "OMP_THREAD_LIMIT")
    if threads is not None and room is not None and threads > room:
        yield Finding(
            f"{threads} threads would share {room:g} cores, and wait for each other.",
            f"spec-local chat --threads {max(1, int(room))}",
        )
    if wanted is not None and room is not None and wanted > room:
        yield Finding(
            f"OMP_NUM_THREADS={wanted} is more than the {room:g} cores here: llama.cpp goes by "
            "--threads instead, but a BLAS library that was built into it, or one of numpy's, "
            "starts so many.",
            "unset OMP_NUM_THREADS",
        )
    if threads is not None and most is not None and most < threads:
        yield Finding(
            f"OMP_THREAD_LIMIT={most} keeps llama.cpp from using {threads} threads.",
            "unset OMP_THREAD_LIMIT",
        )


def _number(facts: Facts, name: str) -> int | None:
    """A number of threads in the environment; of a list, by the depth of nesting, the first."""
    found = re.match(r"\s*(\d+)", facts.environment.get(name, ""))
    return int(found[1]) if found else None


def _waiting(facts: Facts) -> Iterator[Finding]:
    if found := [name for name in _OWN_CHOICE if name in facts.environment]:
        words = " and ".join(f"{name}={facts.environment[name]}" for name in found)
        yield Finding(
            f"{words} is set, so how threads wait is no longer chosen by the machine's load.",
            f"unset {' '.join(found)}",
        )


def _load(facts: Facts) -> Iterator[Finding]:
    busy, processors = facts.busy, facts.hardware.processors
    if busy is not None and processors is not None and busy >= BUSY * processors:
        yield Finding(
            f"Other programs use {busy:.1f} of {processors} processors now, which an answer then "
            "waits for.",
            "top",
        )


def _memory(facts: Facts) -> Iterator[Finding]:
    default, free = facts.default, free_memory(facts)
    if default is None or free is None or free >= _ROOM * default.bytes:
        return
    yield Finding(
        f"The pair {default.name} takes {_ROOM * default.bytes / 1e9:.1f} GB of memory and "
        f"{free / 1e9:.1f} GB are free, so end other programs or choose a smaller one.",
        "spec-local models list",
    )


def free_memory(facts: Facts) -> int | None:
    """Of the machine and of the GPUs that are used: what does not fit there stays in the machine's.

    That of Apple's GPUs and of integrated ones is the machine's.
    """
    placement, free = facts.placement, facts.hardware.free_memory
    is_shared = facts.hardware.system == "Darwin"
    used = () if placement is None or is_shared else placement.devices
    devices = () if facts.build is None else facts.build.devices
    cards = [each for each in devices if each.kind == "gpu" and each.name in used]
    return None if free is None else free + sum(card.free_memory for card in cards)


def _drafts(facts: Facts) -> Iterator[Finding]:
    yield from (_useless(each) for each in facts.pairs or () if each.most_speedup == 1.0)
    default = facts.default
    if default is not None and default.draft is None:
        others = f"spec-local models pull {quote(default.other)}" if default.other else None
        yield Finding(
            f"Nothing here can draft for {default.target}, which commands take without a name, so "
            "only what repeats is drafted.",
            others or f"spec-local models pair {quote(default.target)}",
        )


def _useless(pair: PairFacts) -> Finding:
    if pair.accepted is None:
        return Finding(
            f"{pair.draft} can never pay as a draft for {pair.target} here, even if all its tokens "
            "were accepted: it costs too much.",
            f"spec-local draft trim {quote(pair.draft)} --type Q4_0 --out draft.gguf",
        )
    return Finding(
        f"{pair.draft} does not pay as a draft for {pair.target} here: {pair.accepted:.0%} of its "
        "tokens were accepted, which is less than they cost.",
        f"spec-local models pair {quote(pair.target)}",
    )


def _files(facts: Facts) -> Iterator[Finding]:
    if facts.registry_fault is not None:
        place = facts.registry_file or "models.toml"
        yield Finding(facts.registry_fault, f"${{EDITOR:-vi}} {quote(place)}")
    if facts.cache_can_be_written is False:
        yield Finding(
            f"{facts.cache} cannot be written, so what is learned of this machine is learned anew "
            "at every start.",
            'export SPEC_LOCAL_CACHE="$HOME/spec-local"',
        )


def _built_again(facts: Facts, flags: str) -> str:
    """The command that compiles llama.cpp on this machine, in the release that is wanted."""
    return building(flags, facts.requirements.get(LLAMA, LLAMA))
