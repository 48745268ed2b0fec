"""Devices of other machines: llama.cpp's RPC backend, and how not to die with one of them.

llama.cpp ends the process where another machine is not there, is of another version or goes away
(GGML_ABORT in ggml/src/ggml-rpc/ggml-rpc.cpp). So each is asked first, in its own words, whether it
is there. And whatever may wait for one is called in a thread of its own (`watched`): should
llama.cpp give up there, the thread is left where it is, and who waits for it is told. From then on
this process can do nothing with other machines, and frees nothing that it has on them.
"""

from __future__ import annotations

import ctypes
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

from spec_local.errors import ConfigError, EngineError, require
from spec_local.llama.backend import libggml
from spec_local.util.apart import wait_for

RPC = "RPC"
"""ggml's name of this kind of device."""
WHERE = "GGML_BACKEND_PATH"
"""Environment variable of ggml's: a backend built apart, which is loaded if this build has none."""
_PATIENCE = 5.0
"""Seconds in which another machine has to answer."""
_HELLO, _REPLY = struct.Struct("<BQ24x"), struct.Struct("<QBBBB24x")
"""The first message to a server: command, bytes of what follows, what else this side could do. And
its answer: bytes of what follows, version."""
_SAYS_HELLO, _CAPABILITIES = 14, 24
_TOO_LATE = (
    "Another machine that this program computed on is lost, and llama.cpp cannot do without; start "
    "the program again."
)

logger = logging.getLogger("spec_local.llama.rpc")

Result = TypeVar("Result")

_lock = threading.Lock()
_servers: set[str] = set()
"""Those whose devices are known."""
_given_up = threading.Event()
_reason: list[str] = []
"""Why llama.cpp gave up."""
_idle: list[_Helper] = []
"""Threads that wait for work: each computes with a team of its own, so they are used again."""


def endpoint(text: str) -> str:
    """HOST:PORT as it is meant; raises ConfigError if it is none."""
    host, _, port = text.strip().rpartition(":")
    require(
        bool(host) and port.isdigit() and 0 < int(port) < 1 << 16,
        f"{text!r} is no server; give HOST:PORT, such as 192.168.1.20:50052.",
    )
    return f"{host}:{int(port)}"


def is_loopback(host: str) -> bool:
    """Whether that is this machine, by its name alone."""
    return host.startswith("127.") or host in ("localhost", "::1", "[::1]")


def lent_by(servers: Sequence[str]) -> bool:
    """Let llama.cpp know the devices of these servers; whether any were new.

    Raises ConfigError where llama.cpp is built without RPC, or one cannot be used.
    """
    with _lock:
        new = [each for each in dict.fromkeys(map(endpoint, servers)) if each not in _servers]
        if not new:
            return False
        add = _add_server()
        for each in new:
            _ask(each)
            found = watched(lambda each=each: add(each.encode()))  # type: ignore[misc]
            require(bool(found), f"The server {each} lends no device; start it with --device.")
            libggml.ggml_backend_register(ctypes.c_void_p(found))
            _servers.add(each)
            if not is_loopback(each.rpartition(":")[0]):
                logger.warning(
                    "note: what goes to and from %s is not encrypted, and it asks nobody for a "
                    "password; use it in a network you trust.",
                    each,
                )
        return True


def rpc_function(name: bytes, result: Any, arguments: Sequence[Any]) -> Callable[..., Any]:
    """A function of llama.cpp's RPC backend; raises ConfigError if this build has none."""
    by_name, load = libggml.ggml_backend_reg_by_name, libggml.ggml_backend_load
    find = libggml.ggml_backend_reg_get_proc_address
    for function in (by_name, load, find):
        function.restype = ctypes.c_void_p
    by_name.argtypes = load.argtypes = [ctypes.c_char_p]
    find.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    if not by_name(RPC.encode()) and (path := os.environ.get(WHERE)):
        load(os.fsencode(path))
    backend = by_name(RPC.encode())
    require(
        bool(backend),
        "llama.cpp is built without RPC here; docs/machines.md says how to build it with it.",
    )
    return ctypes.CFUNCTYPE(result, *arguments)(find(backend, name))


def _add_server() -> Callable[[bytes], int | None]:
    """llama.cpp's function that takes a server; from then on it does not end the process."""
    add = rpc_function(b"ggml_backend_rpc_add_server", ctypes.c_void_p, [ctypes.c_char_p])
    libggml.ggml_set_abort_callback.restype = ctypes.c_void_p
    libggml.ggml_set_abort_callback.argtypes = [_Aborts]
    libggml.ggml_set_abort_callback(_told_of_aborts)
    return add


def _ask(server: str) -> None:
    """Say hello to it; raises ConfigError unless it answers as a server does."""
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PATIENCE) as connection:
            answer = b""
            with connection.makefile("rb") as answers, suppress(ConnectionError):  # if it hangs up
                connection.sendall(_HELLO.pack(_SAYS_HELLO, _CAPABILITIES))
                answer = answers.read(_REPLY.size)
    except TimeoutError:
        raise ConfigError(
            f"{server} does not answer in {_PATIENCE:g} seconds; it may serve another program, one "
            "at a time, or not be an RPC server of llama.cpp."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{server} cannot be reached ({error.strerror or error}); start "
            "`spec-local rpc-server` there, or check the address."
        ) from None
    size = _REPLY.unpack(answer)[0] if len(answer) == _REPLY.size else 0
    require(
        size == _REPLY.size - 8,
        f"{server} does not answer as an RPC server of this llama.cpp does; install the same "
        "version of spec-local and llama-cpp-python on both machines.",
    )


class _Helper(threading.Thread):
    """A thread for one work after the other, which may be left in the middle of one."""

    def __init__(self) -> None:
        super().__init__(name="other machines", daemon=True)
        self._works: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self.start()

    def do(self, work: Callable[[], Result]) -> Future[Result]:
        """Begin it."""
        future: Future[Result] = Future()
        self._works.put((work, future))
        return future

    def run(self) -> None:
        while True:
            work, future = self._works.get()
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)


def watched(
    work: Callable[[], Result], interrupted: Callable[[BaseException], None] | None = None
) -> Result:
    """What the work returns, which may wait for other machines.

    interrupted: told of what interrupts the wait; None: that is raised when the work has ended.
    Raises what the work raises, EngineError if llama.cpp gave up meanwhile, or had before.
    """
    if isinstance(threading.current_thread(), _Helper):
        return work()
    if _given_up.is_set():
        raise EngineError(_TOO_LATE)
    helper = _idle.pop() if _idle else _Helper()
    interruptions: list[BaseException] = []
    future = helper.do(work)
    wait_for(future, interrupted or interruptions.append, _given_up.is_set)
    if not future.done():
        raise EngineError(_lost())
    _idle.append(helper)
    if interruptions:
        raise interruptions[0]
    return future.result()


def is_lost() -> bool:
    """Whether llama.cpp has given up."""
    return _given_up.is_set()


def freed(free: Callable[[Any], None], handle: Any) -> None:
    """Free what is on other machines; nothing, should one be lost."""
    with suppress(EngineError):
        watched(lambda: free(handle))


def _gives_up(message: bytes) -> None:
    """llama.cpp would end the process now: instead its thread waits here for ever."""
    said = message.decode(errors="replace")
    if "ggml-rpc" not in said:
        os.write(2, message + b"\n")  # as without us
        return
    _reason.append(said)
    _given_up.set()
    while True:
        threading.Event().wait()


_Aborts = ctypes.CFUNCTYPE(None, ctypes.c_char_p)
_told_of_aborts = _Aborts(_gives_up)


def _lost() -> str:
    """Who is lost, and what to do."""
    if "handshake" in _reason[0]:
        return (
            "Another machine runs another version of llama.cpp; install the same version of "
            "llama-cpp-python on both."
        )
    gone = [server for server in sorted(_servers) if not _is_there(server)]
    who = " and ".join(gone) or "A server"
    return (
        f"{who} went away while it computed, and llama.cpp cannot go on without; start the program "
        "again when it is back."
    )


def _is_there(server: str) -> bool:
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 1.0).close()
    except OSError:
        return False
    return True
