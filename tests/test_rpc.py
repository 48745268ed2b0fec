"""Devices of other machines: real servers on this one, near and far, absent, odd and dying."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripts.build_rpc import NAME
from scripts.rpc_delays import server, table
from scripts.slow_link import slow_link
from spec_local import ConfigError, LoadOptions
from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.llama import devices
from spec_local.llama.backend import libggml
from spec_local.llama.devices import Device, chosen, device_array, gpus
from spec_local.llama.rpc import RPC, WHERE, endpoint, is_loopback

pytestmark = pytest.mark.llama

BUILT = Path(os.environ.get(WHERE) or Path(sys.prefix, "rpc", NAME))
"""llama.cpp's RPC backend, if it was built apart (`scripts/build_rpc.py`)."""
ENVIRONMENT = {**os.environ, WHERE: str(BUILT)} if BUILT.is_file() else dict(os.environ)
PATIENCE = 60.0
PROMPT = "abc abc abc abc"


def has_rpc() -> bool:
    libggml.ggml_backend_reg_by_name.restype = ctypes.c_void_p
    libggml.ggml_backend_reg_by_name.argtypes = [ctypes.c_char_p]
    return BUILT.is_file() or bool(libggml.ggml_backend_reg_by_name(RPC.encode()))


needs_rpc = pytest.mark.skipif(
    not has_rpc(), reason="llama.cpp has no RPC here; scripts/build_rpc.py builds it."
)


# ---- what is meant ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "host", "host:", ":5", "host:0", "host:65536", "host:x"])
def test_a_server_is_a_host_and_a_port(text: str) -> None:
    with pytest.raises(ConfigError, match="give HOST:PORT"):
        endpoint(text)


def test_what_a_server_is_called() -> None:
    assert endpoint(" Box:050052 ") == "Box:50052"
    assert endpoint("[::1]:7") == "[::1]:7"
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "[::1]", "10.0.0.1")] == [
        True,
        True,
        True,
        False,
    ]


def test_several_may_be_named_as_in_llama_cpp() -> None:
    machine = MachineOptions(rpc=["a:1,b:2", "c:3"])
    options = load_options(machine)
    assert options.rpc == ("a:1", "b:2", "c:3")
    assert options.for_draft().rpc == ()


LENT = Device(9, "RPC0", "RPC", "box:50052", 1)
CARDS = (
    Device(1, "CUDA0", "CUDA", "a card", 1),
    LENT,
    Device(8, "RPC1", "RPC", "other:50052", 1),
    Device(4, "CPU", "CPU", "a processor", 0),
)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "devices", lambda: CARDS)
    monkeypatch.setattr(devices, "lent_by", lambda _servers: False)


@pytest.mark.usefixtures("cards")
def test_lent_devices_are_the_targets_alone_and_come_first() -> None:
    with_rpc = LoadOptions(rpc=("box:50052",))
    assert [each.name for each in gpus(with_rpc)] == ["RPC0", "CUDA0"]
    assert [each.name for each in gpus(with_rpc.for_draft())] == ["CUDA0"]
    assert [each.name for each in chosen(())] == ["CUDA0", "CPU"]
    cpu = LoadOptions(devices=("cpu",), rpc=("box:50052",))
    assert [each.name for each in gpus(cpu)] == ["RPC0"]


@pytest.mark.usefixtures("cards")
def test_others_are_told_not_to_take_them() -> None:
    alone = device_array(LoadOptions())
    assert alone is not None
    assert list(alone) == [1, None]
    both = device_array(LoadOptions(rpc=("box:50052",)))
    assert both is not None
    assert list(both) == [9, 1, None]


def test_the_table_predicts_from_what_was_measured_without_delay() -> None:
    plain = {"plain_round": 0.1, "drafted_round": 0.2, "length": 3.0}
    rows = [
        {"delay_ms": 0.0, **plain, "plain_speed": 10.0, "drafted_speed": 15.0},
        {"delay_ms": 100.0, **plain, "plain_round": 0.3, "plain_speed": 3.3, "drafted_speed": 7.5},
    ]
    assert table({"rows": rows}).splitlines()[2:] == [
        "| 0 | 10.00 | 15.00 | 1.50 | 1.50 |",
        "| 100 | 3.30 | 7.50 | 2.27 | 2.25 |",  # two trips of 0.1 s: 0.3 · 3 / 0.4
    ]


# ---- real servers -------------------------------------------------------------------------------


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "spec_local", *arguments]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def generated(
    target: Path, *options: str, rpc: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(
            *("generate", "-m", str(target), "-c", "512", "--raw", "--ban-token", "2"),
            *("--max-tokens", "40", "--temperature", "0.7", "--seed", "5"),
            *(() if rpc is None else ("--rpc", rpc)),
            *options,
            PROMPT,
        ),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE * 2,
    )


@needs_rpc
def test_a_target_on_two_servers_writes_what_it_writes_here(tiny: Path, tiny_draft: Path) -> None:
    plain = generated(tiny, "--drafter", "none")
    assert plain.returncode == 0, plain.stderr
    with server(env=ENVIRONMENT) as (first, _), server(env=ENVIRONMENT) as (second, _):
        rpc = f"127.0.0.1:{first},127.0.0.1:{second}"
        for drafting in (
            ("--drafter", "none"),
            ("-d", str(tiny_draft), "--drafter", "model"),
            ("-d", str(tiny_draft), "--drafter", "tree"),
            ("--drafter", "lookup"),
        ):
            found = generated(tiny, *drafting, rpc=rpc)
            assert found.returncode == 0, found.stderr
            assert found.stdout == plain.stdout


@needs_rpc
def test_distance_changes_no_text(tiny: Path, tiny_draft: Path) -> None:
    plain = generated(tiny, "--drafter", "none")
    with server(env=ENVIRONMENT) as (port, _), slow_link(port, 4) as far:
        found = generated(tiny, "-d", str(tiny_draft), "--drafter", "model", rpc=f"127.0.0.1:{far}")
    assert found.stdout == plain.stdout, found.stderr


@needs_rpc
def test_nobody_there(tiny: Path) -> None:
    found = generated(tiny, rpc=f"127.0.0.1:{free_port()}")
    assert found.returncode == 1
    assert (
        "cannot be reached (Connection refused); start `spec-local rpc-server` there"
        in found.stderr
    )
    assert "Traceback" not in found.stderr


@needs_rpc
def test_something_else_there(tiny: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=refuse, daemon=True).start()
        found = generated(tiny, rpc=f"127.0.0.1:{port}")
    assert found.returncode == 1
    assert "does not answer as an RPC server of this llama.cpp does" in found.stderr


@needs_rpc
@pytest.mark.parametrize("how", ["generate", "python"])
def test_a_server_that_dies_in_mid_answer_ends_the_answer_and_nothing_else(
    tiny: Path, how: str
) -> None:
    with server(env=ENVIRONMENT) as (port, process), slow_link(port, 20) as far:
        rpc = f"127.0.0.1:{far}"
        if how == "generate":
            client = command(
                *("generate", "-m", str(tiny), "-c", "2048", "--raw", "--ban-token", "2"),
                *("--max-tokens", "1000", "--drafter", "none", "--rpc", rpc, PROMPT),
            )
        else:
            client = [sys.executable, "-c", PROGRAM, str(tiny), rpc]
        with subprocess.Popen(
            client, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running:
            assert running.stdout is not None
            assert running.stdout.read(1)  # it writes
            process.send_signal(signal.SIGKILL)
            told, complained = running.communicate(timeout=PATIENCE)
    if how == "generate":
        assert running.returncode == 1, (told, complained)
        assert "went away while it computed" in complained
        assert "Traceback" not in complained
    else:
        assert running.returncode == 0, complained
        assert json.loads(told.splitlines()[-1]) == ["went away", "start the program again", 8]


PROGRAM = """
import json, sys
from spec_local import EngineError, LoadOptions, Runner
def said(words, **how):
    try:
        with Runner.load(target=sys.argv[1], drafter="none", **how) as runner:
            for chunk in runner.generate("abc", max_tokens=1000):
                print(chunk.text or ".", flush=True)
    except EngineError as error:
        return words if words in str(error) else str(error)
far = LoadOptions(n_ctx=2048, rpc=(sys.argv[2],))
first = said("went away", options=far)
second = said("start the program again", options=far)
with Runner.load(target=sys.argv[1], drafter="none", options=LoadOptions(n_ctx=512)) as runner:
    written = len(runner.complete("abc", max_tokens=8).tokens)
print("\\n" + json.dumps([first, second, written]))
"""
"""Two tries on a server that dies, then one on this machine, which must still be possible."""


@needs_rpc
def test_a_server_says_what_it_lends_and_ends_with_ctrl_c() -> None:
    port = free_port()
    with subprocess.Popen(
        command("rpc-server", "--port", str(port), "--device", "cpu"),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Lending CPU (")
        taken = subprocess.run(
            command("rpc-server", "--port", str(port)),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
    assert taken.returncode == 1
    assert f"Nothing can listen at 127.0.0.1:{port}" in taken.stderr


def test_without_rpc_the_way_to_build_it_is_said(tiny: Path) -> None:
    if has_rpc() and not BUILT.is_file():
        pytest.skip("llama.cpp has RPC here.")
    without = {name: value for name, value in os.environ.items() if name != WHERE}
    for wanted in (("generate", "-m", str(tiny), "--rpc", "127.0.0.1:1", "x"), ("rpc-server",)):
        done = subprocess.run(
            command(*wanted), env=without, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "llama.cpp is built without RPC here; docs/machines.md says how" in done.stderr
