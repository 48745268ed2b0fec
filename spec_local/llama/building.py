"""The command that builds llama.cpp on this machine."""

from __future__ import annotations

from shlex import quote

LLAMA = "llama-cpp-python"
"""The package that llama.cpp is installed by."""


def building(flags: str, requirement: str = LLAMA) -> str:
    """flags: for CMake. requirement: the release, as pip takes it.

    Other packages stay as they are, and what somebody else has built is not taken.
    """
    return (
        f'CMAKE_ARGS="{flags}" pip install --force-reinstall --no-deps --no-cache-dir '
        f"--no-binary {LLAMA} {quote(requirement)}"
    )
