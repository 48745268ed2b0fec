"""Functions of llama.cpp's staging header (src/llama-ext.h), which a build may lack.

They are C++, so their exported names are mangled, by one rule on Linux and macOS and by another on
Windows; and they may change with every release. What uses them asks first whether they are there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from spec_local.errors import ModelFileError
from spec_local.llama.backend import lib

_LIBRARY = vars(lib.llama_cpp)["_lib"]
_CONTEXT = ctypes.c_void_p
_FLOATS = ctypes.POINTER(ctypes.c_float)
_SIGNATURES: dict[str, tuple[str, str, list[Any], Any]] = {
    # By name: the parameters as GCC and Clang mangle them, result and parameters as MSVC does.
    "llama_set_embeddings_nextn": (
        "P13llama_contextbb",
        "XPEAUllama_context@@_N1@Z",
        [_CONTEXT, ctypes.c_bool, ctypes.c_bool],
        None,
    ),
    "llama_get_embeddings_nextn": (
        "P13llama_context",
        "PEAMPEAUllama_context@@@Z",
        [_CONTEXT],
        _FLOATS,
    ),
    "llama_set_nextn_layer_offset": (
        "P13llama_contexti",
        "XPEAUllama_context@@H@Z",
        [_CONTEXT, ctypes.c_int32],
        None,
    ),
    "llama_set_embeddings_layer_inp": (
        "P13llama_contextjb",
        "XPEAUllama_context@@I_N@Z",
        [_CONTEXT, ctypes.c_uint32, ctypes.c_bool],
        None,
    ),
    "llama_get_embeddings_layer_inp": (
        "P13llama_contextj",
        "PEAMPEAUllama_context@@I@Z",
        [_CONTEXT, ctypes.c_uint32],
        _FLOATS,
    ),
}

STATES = ("llama_set_embeddings_nextn", "llama_get_embeddings_nextn")
MTP = (*STATES, "llama_set_nextn_layer_offset")
"""What multi-token prediction layers need."""
EAGLE = (*STATES, "llama_set_embeddings_layer_inp", "llama_get_embeddings_layer_inp")
"""What a head of another file needs."""


def lacks(names: Iterable[str]) -> list[str]:
    """Which of these functions the build lacks."""
    return [name for name in names if _found(name) is None]


def call(name: str, *arguments: Any) -> Any:
    """Call one of them; raises ModelFileError where the build lacks it."""
    function = _found(name)
    if function is None:
        raise ModelFileError(
            f"This build of llama.cpp lacks {name}; install the release of llama-cpp-python that "
            "spec-local asks for."
        )
    return function(*arguments)


@cache
def _found(name: str) -> Callable[..., Any] | None:
    gcc, msvc, parameters, result = _SIGNATURES[name]
    for symbol in (name, f"_Z{len(name)}{name}{gcc}", f"?{name}@@YA{msvc}"):
        if (function := getattr(_LIBRARY, symbol, None)) is not None:
            function.argtypes, function.restype = parameters, result
            return function  # type: ignore[no-any-return]
    return None
