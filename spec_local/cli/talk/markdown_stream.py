"""Markdown as it comes: where a text may be cut so that what is before it never changes.

A block that is finished is drawn once and scrolls away like any other text; only the one that is
being written is drawn again and again. So nothing flickers, however long the answer gets.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")


def finished(text: str) -> int:
    """Length of the part of the text that whatever comes next cannot draw otherwise.

    It ends with a blank line outside code, or with the fence that closes a block of code.
    """
    end = at = 0
    fence = ""
    for line in text.splitlines(keepends=True):
        at += len(line)
        if not line.endswith("\n"):
            break
        found = _FENCE.match(line)
        if fence:
            if found and found[1].startswith(fence) and not line.strip().strip(fence[0]):
                fence, end = "", at
        elif found:
            fence = found[1]
        elif not line.strip():
            end = at
    return end
