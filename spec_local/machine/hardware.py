"""What the operating system tells of this machine; what it does not tell is None.

Needs no library but psutil, and of what depends on that one there is nothing without it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from spec_local.util.told import told

INSTRUCTIONS = {
    "AVX": ("avx", "avx1_0"),
    "AVX2": ("avx2", "avx2_0"),
    "F16C": ("f16c",),
    "FMA": ("fma",),
    "AVX_VNNI": ("avx_vnni",),
    "AVX512": ("avx512f",),
    "AVX512_VNNI": ("avx512_vnni", "avx512vnni"),
    "AVX512_BF16": ("avx512_bf16",),
    "AMX_INT8": ("amx_int8",),
    "NEON": ("asimd", "neon"),
    "DOTPROD": ("asimddp", "feat_dotprod"),
    "MATMUL_INT8": ("i8mm", "feat_i8mm"),
    "SVE": ("sve",),
}
"""Sets of instructions that llama.cpp has kernels for, by its names: what Linux and macOS call
them."""

_CPUINFO = Path("/proc/cpuinfo")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_NVIDIA = Path("/proc/driver/nvidia/gpus")
_NVIDIA_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
"""Without one of them, as in a container that was not given the GPU, nobody can use it; the second
is that of Linux on Windows."""
_SECONDS = 5.0
"""Most time for another program's answer."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """The machine; sizes in bytes."""

    system: str
    """The kernel's name: Linux, Darwin."""
    release: str
    architecture: str
    """For which this Python was built: x86_64, arm64."""
    is_translated: bool
    """Whether this Python was built for Intel and runs on Apple silicon."""
    cpu: str
    instructions: tuple[str, ...] | None
    """Those of INSTRUCTIONS that the processor has."""
    cores: int | None
    """Physical ones."""
    processors: int | None
    """All that the system schedules on."""
    usable: float | None
    """As many of them as this process may use, by its affinity and the quota of its container."""
    memory: int | None
    free_memory: int | None
    """What programs can have without anything being swapped."""
    nvidia: tuple[str, ...] | None
    """NVIDIA's GPUs that this process can use."""


def this_hardware() -> Hardware:
    """As far as the system tells."""
    return Hardware(
        system=platform.system(),
        release=platform.release(),
        architecture=platform.machine(),
        is_translated=_sysctl().get("sysctl.proc_translated") == "1",
        cpu=cpu_name(),
        instructions=told(_instructions),
        cores=told(_cores),
        processors=os.cpu_count(),
        usable=told(_usable),
        memory=told(_memory),
        free_memory=told(_free_memory),
        nvidia=told(_nvidia),
    )


def cpu_name() -> str:
    """The processor's own name, or what else the system calls it."""
    names = _values("model name") or [_sysctl().get("machdep.cpu.brand_string", "")]
    return names[0] or platform.processor() or platform.machine()


def _values(key: str) -> list[str]:
    """What /proc/cpuinfo has for a key, processor by processor; nothing where there is none."""
    lines = (told(lambda: _CPUINFO.read_text(encoding="utf-8")) or "").splitlines()
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for name, _, value in pairs if name.strip() == key]


@cache
def _sysctl() -> dict[str, str]:
    """What macOS tells of its processor; nothing elsewhere."""
    if platform.system() != "Darwin":
        return {}
    names = ("machdep.cpu.brand_string", "sysctl.proc_translated", "hw.optional")
    lines = (told(lambda: _said("sysctl", *names)) or "").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _said(*command: str) -> str:
    """What another program prints; raises OSError and TimeoutExpired."""
    done = subprocess.run(
        command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False
    )
    return done.stdout.decode(errors="replace")


def _instructions() -> tuple[str, ...] | None:
    flags = {*" ".join([*_values("flags")[:1], *_values("Features")[:1]]).split()}
    flags |= {
        name.rpartition(".")[2].lower()
        for name, value in _sysctl().items()
        if name.startswith("hw.optional") and value == "1"
    }
    if not flags:
        return None
    return tuple(name for name, calls in INSTRUCTIONS.items() if not flags.isdisjoint(calls))


def _cores() -> int | None:
    import psutil

    return psutil.cpu_count(logical=False)


def _memory() -> int:
    import psutil

    return psutil.virtual_memory().total


def _free_memory() -> int:
    import psutil

    return psutil.virtual_memory().available


def _usable() -> float | None:
    quota = told(_quota)
    limits = [os.cpu_count(), quota]
    if hasattr(os, "sched_getaffinity"):
        limits.append(len(os.sched_getaffinity(0)))
    return min((float(each) for each in limits if each is not None), default=None)


def _quota() -> float | None:
    """Processors that a control group may use; None for all. Raises OSError without groups."""
    most, period = _QUOTA.read_text(encoding="ascii").split()
    return None if most == "max" else int(most) / int(period)


def _nvidia() -> tuple[str, ...]:
    if not any(map(os.path.exists, _NVIDIA_DEVICES)):
        return ()
    told_of = (each.read_text(encoding="utf-8") for each in sorted(_NVIDIA.glob("*/information")))
    found = re.findall(r"^Model:\s*(.+?)\s*$", "\n".join(told_of), re.MULTILINE)
    if not found and shutil.which("nvidia-smi") is not None:
        found = re.findall(r"^GPU \d+: (.+?)(?: \(UUID.*)?$", _said("nvidia-smi", "-L"), re.M)
    return tuple(found)
