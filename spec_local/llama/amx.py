"""Keeping llama.cpp off Intel's AMX tiles, where its kernels crash the process.

Built by GCC, `ggml_tile_config_init` loads a tile configuration the compiler has dropped from the
stack, and the first evaluation of two tokens dies of a general protection fault (llama.cpp issue
20824 and pull request 26954; seen here with GCC 12.2). Turning all rearranged weights off would
avoid it and cost a fifth of plain decoding speed with Q4_K_M, so only AMX is denied: llama.cpp asks
the kernel for permission once, and Linux says no to a process with an alternate signal stack too
small for the larger register state. That stack exists only during the question.

With SPEC_LOCAL_AMX=1 nothing is denied, for a build that is known to be sound. This module can go
when the pinned llama-cpp-python, built by GCC, passes `SPEC_LOCAL_AMX=1 pytest` on a processor with
AMX.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from spec_local.util.descriptors import STDERR, redirected

WANTED = "SPEC_LOCAL_AMX"
"""Name of the environment variable that leaves AMX to llama.cpp where it is 1."""

_ARCH_PRCTL = 158  # system call number on x86-64
_ARCH_GET_XCOMP_PERM = 0x1022
_TILE_DATA = 1 << 18
_SMALL_STACK = 4096  # above the kernel's minimum of 2048, far below the 11 kB that AMX needs


class _Stack(ctypes.Structure):
    """stack_t of sigaltstack(2)."""

    _fields_ = (("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def deny_amx(libggml: ctypes.CDLL) -> None:
    """Make ggml's CPU backend decide, now and for good, that there is no AMX.

    libggml: the loaded ggml library. Does nothing where AMX cannot be the matter or is wanted.
    """
    if not _amx_is_possible() or amx_is_wanted():
        return
    with (
        _small_signal_stack(),
        open(os.devnull, "wb") as nowhere,
        redirected(STDERR, nowhere.fileno()),  # ggml's report of the refusal would only alarm
    ):
        _list_weight_layouts(libggml)


def amx_is_wanted() -> bool:
    """Whether the user wants llama.cpp to use AMX."""
    return os.environ.get(WANTED) == "1"


def amx_is_permitted() -> bool:
    """Whether this process may use tiles, and llama.cpp therefore would."""
    if not _amx_is_possible():
        return False
    mask = ctypes.c_uint64(0)
    libc = ctypes.CDLL(None, use_errno=True)
    failed = libc.syscall(_ARCH_PRCTL, _ARCH_GET_XCOMP_PERM, ctypes.byref(mask))
    return not failed and bool(mask.value & _TILE_DATA)


def _amx_is_possible() -> bool:
    return sys.platform.startswith("linux") and os.uname().machine == "x86_64"


def _list_weight_layouts(libggml: ctypes.CDLL) -> None:
    """Ask the CPU backend for its extra buffer types, which it makes once."""
    api = {
        "ggml_backend_dev_by_name": [ctypes.c_char_p],
        "ggml_backend_dev_backend_reg": [ctypes.c_void_p],
        "ggml_backend_reg_get_proc_address": [ctypes.c_void_p, ctypes.c_char_p],
    }
    for name, arguments in api.items():
        function = getattr(libggml, name)
        function.argtypes, function.restype = arguments, ctypes.c_void_p
    device = libggml.ggml_backend_dev_by_name(b"CPU")
    registry = device and libggml.ggml_backend_dev_backend_reg(device)
    address = registry and libggml.ggml_backend_reg_get_proc_address(
        registry, b"ggml_backend_dev_get_extra_bufts"
    )
    if address:
        ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(address)(device)


@contextmanager
def _small_signal_stack() -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    memory = ctypes.create_string_buffer(_SMALL_STACK)
    small = _Stack(ctypes.cast(memory, ctypes.c_void_p), 0, _SMALL_STACK)
    before = _Stack()
    libc.sigaltstack(ctypes.byref(small), ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
