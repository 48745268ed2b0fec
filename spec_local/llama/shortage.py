"""Whose memory is short, by what ggml says where it has no room for a buffer."""

from __future__ import annotations

import re
from collections.abc import Iterable

_BUFFER = re.compile(r"allocate (\S+) buffer")
"""As in `failed to allocate CUDA0 buffer of size 1`: the type of buffer, by its name."""
_OF_MACHINE = re.compile(r"CPU|AMX|.*_Host$")
"""The processor's own types, and those of it that a GPU reads quickly."""


def is_of_machine(errors: Iterable[str]) -> bool:
    """Whether it is the machine's own, and no GPU's. errors: the lines that llama.cpp logged."""
    named = (found[1] for line in errors if (found := _BUFFER.search(line)))
    return any(_OF_MACHINE.match(name) for name in named)
