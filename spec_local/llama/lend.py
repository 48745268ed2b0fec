"""Lending this machine's devices to a program on another one: llama.cpp's RPC server."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

from spec_local.errors import EngineError, require
from spec_local.llama.backend import default_threads
from spec_local.llama.devices import Device, chosen
from spec_local.llama.rpc import endpoint, rpc_function


def devices_to_lend(names: Sequence[str]) -> tuple[Device, ...]:
    """Those of these names or kinds; else all GPUs, or the processor if there is none.

    Raises ConfigError for one that is not here.
    """
    found = chosen(names)
    return found if names else tuple(d for d in found if d.is_gpu) or found


def lend(
    address: str, devices: Sequence[Device], threads: int = 0, cache: Path | None = None
) -> None:
    """Serve one program after the other, until the process ends; Ctrl-C ends it.

    address: HOST:PORT to listen at. threads: of the processor; 0: one per core. cache: a folder
    that keeps large tensors, so that they are sent once; None keeps nothing.
    Raises ConfigError where that cannot be done.
    """
    start = rpc_function(
        b"ggml_backend_rpc_start_server",
        None,
        [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p],
    )
    at = endpoint(address)
    _require_free(at)
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
    handles = (ctypes.c_void_p * len(devices))(*(device.handle for device in devices))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing of Python runs in there
    start(
        at.encode(),
        None if cache is None else os.fsencode(cache),
        threads or default_threads(),
        len(devices),
        handles,
    )
    raise EngineError(f"llama.cpp could not listen at {at}; choose another --host or --port.")


def _require_free(at: str) -> None:
    host, _, port = at.rpartition(":")
    try:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, int(port)))
    except OSError as error:
        require(
            False,
            f"Nothing can listen at {at} ({error.strerror or error}); choose another --host or "
            "--port.",
        )
