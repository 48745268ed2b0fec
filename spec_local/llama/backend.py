"""Loading llama.cpp's library: threads that wait well, logs that stay quiet.

Every module of this package takes the library from here (`from spec_local.llama.backend import
lib`), so that what must happen before and right after loading happens once.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import psutil

from spec_local.llama.amx import amx_is_permitted, amx_is_wanted, deny_amx
from spec_local.llama.openmp import threads_by_load
from spec_local.util.process import Process

logger = logging.getLogger("spec_local.llama")

SPIN_COUNT = 1_000_000
"""Iterations an idle OpenMP thread spins before it sleeps (GOMP_SPINCOUNT).

Speculative rounds are many short decodes with Python in between, and waking a sleeping thread costs
more than the gap lasts; but a thread that spins for ever burns a core in an idle application, and
one that spins on after an answer disturbs whoever computes next. docs/threads.md has the figures.
"""

_WAIT_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_users_choice = any(name in os.environ for name in _WAIT_VARIABLES)


@contextmanager
def _bounded_spinning() -> Iterator[None]:
    """Let libgomp, which reads its settings while it is loaded, see SPIN_COUNT.

    "passive" beside it means not to spin at all while there are more threads than processors, and
    nothing else (openmp.py makes use of it). What the user has set is left alone, and child
    processes inherit nothing.
    """
    if _users_choice:
        yield
        return
    os.environ |= {"GOMP_SPINCOUNT": str(SPIN_COUNT), "OMP_WAIT_POLICY": "passive"}
    try:
        yield
    finally:
        for name in _WAIT_VARIABLES:
            del os.environ[name]


with _bounded_spinning():
    import llama_cpp
    from llama_cpp._ctypes_extensions import load_shared_library
    from llama_cpp._ggml import libggml as _libggml
    from llama_cpp._ggml import libggml_base_path
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

lib = llama_cpp
"""The low-level ctypes API of llama.cpp; stubs/llama_cpp/ has the types of the names in use."""
libggml = _libggml
"""The library below it."""
JinjaFormatter = Jinja2ChatFormatter
"""llama-cpp-python's sandboxed chat template renderer."""

# ggml_log_level in ggml.h. llama.cpp's INFO is hundreds of lines a load: Python's DEBUG.
_WARN, _ERROR = 3, 4
_LEVELS = {_WARN: logging.WARNING, _ERROR: logging.ERROR}


class _Heard(threading.local):
    """What llama.cpp's log brought to this thread: it logs in the thread that called it."""

    errors: list[str] | None = None
    """Error lines, while somebody collects them."""
    ended: BaseException | None = None
    """What Ctrl-C, or another signal that ends the program, raised meanwhile."""


_heard = _Heard()


@lib.llama_log_callback
def log_callback(level: int, text: bytes, _user_data: int | None) -> None:
    """Pass llama.cpp's log on to Python's, where the application decides what is shown."""
    try:
        message = text.decode("utf-8", errors="replace").rstrip()
        if not message.strip("."):  # progress dots
            return
        if level == _ERROR and _heard.errors is not None:
            _heard.errors.append(message)
        logger.log(_LEVELS.get(level, logging.DEBUG), "%s", message)
    except (KeyboardInterrupt, SystemExit) as end:  # lost in C; raised again where that returns
        _heard.ended = end


lib.llama_log_set(log_callback, ctypes.c_void_p(0))
lib.llama_backend_init()
deny_amx(_libggml)
_threads = None if _users_choice else threads_by_load()


@cache
def _evaluating_process() -> Process:
    """Where the threads of all evaluations are; found at the first one."""
    return Process()


def computing(threads: int, *, may_be_fewer: bool = False) -> AbstractContextManager[int]:
    """Around an evaluation with so many threads: they wait and run as suits the machine's load.

    Gives how many to evaluate with: less only if it may be, and others leave room for no more.
    Raises EngineError in a child forked after an evaluation, where its threads are missing.
    """
    _evaluating_process().require_this()
    if _threads is None:
        return nullcontext(threads)
    return _threads.computing(threads, may_be_fewer)


@contextmanager
def collected_errors() -> Iterator[list[str]]:
    """The error lines llama.cpp logs in this thread while the block runs, to say why it failed.

    Raises what ended the program, such as KeyboardInterrupt, while llama.cpp was logging.
    """
    _heard.errors, _heard.ended = [], None
    try:
        yield _heard.errors
    finally:
        _heard.errors = None
    if _heard.ended is not None:
        raise _heard.ended


def default_threads() -> int:
    """Physical cores this process may use: decoding is bound by memory, not by hyper-threads."""
    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, allowed))


def repacks(wanted: bool | None) -> bool:
    """Whether weights are rearranged for this CPU; with AMX permitted that would crash.

    wanted: what was asked for; None does so where it is safe, or SPEC_LOCAL_AMX says so.
    """
    if wanted is not None:
        return wanted
    has_amx = b"AMX_INT8 = 1" in lib.llama_print_system_info()
    return amx_is_wanted() or not has_amx or not amx_is_permitted()


@cache
def tensor_api() -> ctypes.CDLL:
    """ggml's functions that read and write a tensor while a graph is computed (`taps.py`)."""
    base = load_shared_library("ggml-base", libggml_base_path)
    base.ggml_get_name.argtypes = base.ggml_nbytes.argtypes = [ctypes.c_void_p]
    base.ggml_get_name.restype, base.ggml_nbytes.restype = ctypes.c_char_p, ctypes.c_size_t
    for move in (base.ggml_backend_tensor_get, base.ggml_backend_tensor_set):
        move.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
        move.restype = None
    return base
