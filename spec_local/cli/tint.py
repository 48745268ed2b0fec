"""Which part of an answer was drafted, as colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spec_local.util.terminal import visible

if TYPE_CHECKING:
    from rich.text import Text

    from spec_local.generation import Chunk

DRAFTED = "green"


def tinted(chunk: Chunk, style: str = DRAFTED) -> Text:
    """The text of a round, what was drafted of it in that style, the target's own not."""
    from rich.text import Text

    return Text.assemble((visible(chunk.drafted_text), style), visible(chunk.own_text))
