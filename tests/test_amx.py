"""AMX is denied to llama.cpp and to nothing else; fakes of ggml and of Linux stand at the ends."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spec_local.llama import amx
from spec_local.llama.options import LoadOptions

ON_LINUX = pytest.mark.skipif(
    not amx._amx_is_possible(), reason="AMX can be the matter on Linux and x86-64 only"
)
CPU_FLAGS = Path("/proc/cpuinfo")
NEEDED_STACK = 11_000
"""Bytes of a signal stack below which Linux refuses AMX."""


@pytest.fixture(autouse=True)
def unwanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(amx.WANTED, raising=False)


def signal_stack() -> tuple[int | None, int, int]:
    """Address, flags and size of this thread's alternate signal stack."""
    stack = amx._Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack))
    return stack.pointer, stack.flags, stack.size


class FakeGgml:
    """A ggml whose CPU backend runs `decide` when it is asked for its extra buffer types."""

    def __init__(self, decide: Callable[[], None], missing: str = "") -> None:
        self.asked: list[int] = []
        device, registry = 11, 22

        def list_types(of: int) -> None:
            self.asked.append(of)
            decide()

        self._types = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(list_types)
        address = ctypes.cast(self._types, ctypes.c_void_p).value
        answers = {
            "ggml_backend_dev_by_name": ((b"CPU",), device),
            "ggml_backend_dev_backend_reg": ((device,), registry),
            "ggml_backend_reg_get_proc_address": (
                (registry, b"ggml_backend_dev_get_extra_bufts"),
                address,
            ),
        }
        for name, (expected, answer) in answers.items():
            setattr(self, name, self._function(expected, None if name == missing else answer))

    @staticmethod
    def _function(expected: tuple[Any, ...], answer: int | None) -> Callable[..., int | None]:
        def function(*arguments: Any) -> int | None:
            assert arguments == expected
            assert len(vars(function)["argtypes"]) == len(arguments)
            assert vars(function)["restype"] is ctypes.c_void_p
            return answer

        return function


@ON_LINUX
def test_ggml_decides_on_a_stack_too_small_and_in_silence() -> None:
    seen: list[tuple[int, bool]] = []

    def decide() -> None:
        _, flags, size = signal_stack()
        assert flags == 0
        seen.append((size, os.path.samestat(os.fstat(2), os.stat(os.devnull))))

    ggml = FakeGgml(decide)
    stack, stderr = signal_stack(), os.fstat(2)
    amx.deny_amx(ggml)
    assert ggml.asked == [11]
    (size, silent), *more = seen
    assert size < NEEDED_STACK
    assert silent
    assert not more
    assert signal_stack() == stack
    assert os.path.samestat(os.fstat(2), stderr)


@ON_LINUX
@pytest.mark.parametrize(
    "missing",
    [
        "ggml_backend_dev_by_name",
        "ggml_backend_dev_backend_reg",
        "ggml_backend_reg_get_proc_address",
    ],
)
def test_a_library_without_such_types_is_left_alone(missing: str) -> None:
    ggml = FakeGgml(lambda: None, missing)
    amx.deny_amx(ggml)
    assert ggml.asked == []


@ON_LINUX
def test_an_error_leaves_everything_as_it_was() -> None:
    stack, stderr = signal_stack(), os.fstat(2)
    with pytest.raises(AttributeError):
        amx.deny_amx(SimpleNamespace())
    assert signal_stack() == stack
    assert os.path.samestat(os.fstat(2), stderr)


@pytest.mark.parametrize(
    ("platform", "machine"), [("darwin", "x86_64"), ("linux", "aarch64"), ("win32", "x86_64")]
)
def test_elsewhere_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, platform: str, machine: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine), raising=False)
    monkeypatch.setattr(ctypes, "CDLL", None)
    amx.deny_amx(SimpleNamespace())
    assert not amx.amx_is_permitted()


@ON_LINUX
@pytest.mark.parametrize(("value", "asked"), [("1", []), ("0", [11]), ("", [11])])
def test_the_user_can_want_it(
    monkeypatch: pytest.MonkeyPatch, value: str, asked: list[int]
) -> None:
    monkeypatch.setenv("SPEC_LOCAL_AMX", value)
    ggml = FakeGgml(lambda: None)
    amx.deny_amx(ggml)
    assert ggml.asked == asked


@ON_LINUX
@pytest.mark.parametrize(
    ("mask", "failed", "permitted"),
    [(1 << 18 | 0b111, 0, True), (0b111, 0, False), (1 << 18, -1, False)],
)
def test_what_linux_permits(
    monkeypatch: pytest.MonkeyPatch, mask: int, failed: int, permitted: bool
) -> None:
    def syscall(number: int, request: int, answer: Any) -> int:
        assert (number, request) == (158, 0x1022)  # arch_prctl, ARCH_GET_XCOMP_PERM
        answer._obj.value = mask
        return failed

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(syscall=syscall))
    assert amx.amx_is_permitted() is permitted


@pytest.mark.skipif(
    not CPU_FLAGS.exists() or " amx_tile" not in CPU_FLAGS.read_text(), reason="no AMX here"
)
def test_linux_refuses_it_on_the_small_stack() -> None:
    code = (
        "import ctypes; from spec_local.llama import amx\n"
        "ask = lambda: ctypes.CDLL(None).syscall(158, 0x1023, 18)\n"  # ARCH_REQ_XCOMP_PERM
        "with amx._small_signal_stack(): print(ask(), amx.amx_is_permitted())\n"
        "print(ask(), amx.amx_is_permitted())"
    )
    assert output_of(code) == ["-1 False", "0 True"]


@pytest.mark.llama
def test_llama_cpp_gets_no_permission() -> None:
    code = (
        "from spec_local.llama.amx import amx_is_permitted\n"
        "from spec_local.llama.backend import repacks\n"
        "print(amx_is_permitted(), repacks(None))"
    )
    assert output_of(code) == ["False True"]


@pytest.mark.llama
def test_permitted_amx_turns_rearranged_weights_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from spec_local.llama import backend

    monkeypatch.setattr(backend.lib, "llama_print_system_info", lambda: b"CPU : AMX_INT8 = 1 | ")
    monkeypatch.setattr(backend, "amx_is_permitted", lambda: True)
    assert [backend.repacks(wanted) for wanted in (None, True, False)] == [False, True, False]
    monkeypatch.setenv("SPEC_LOCAL_AMX", "1")
    assert [backend.repacks(wanted) for wanted in (None, True, False)] == [True, True, False]


@pytest.mark.llama
def test_a_profile_without_amx_is_not_used_with_it(
    monkeypatch: pytest.MonkeyPatch, tiny: Path
) -> None:
    from spec_local.llama.identity import identity

    denied = identity(tiny, LoadOptions())
    monkeypatch.setenv("SPEC_LOCAL_AMX", "1")
    assert identity(tiny, LoadOptions()) != denied


def output_of(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
