"""Which part of an answer was drafted, as colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spec_local.util.terminal import visible

if TYPE_CHECKING:
    from rich.text import Text

    from spec_local.generation import Chunk
    from spec_local.llama.vocab import Vocabulary

DRAFTED = "green"


def tinted(chunk: Chunk, vocab: Vocabulary, style: str = DRAFTED) -> Text:
    """The text of a round, its accepted drafted tokens in that style, the target's own not."""
    from rich.text import Text

    text = visible(chunk.text)
    if not any(chunk.drafted):
        return Text(text)
    own = visible(vocab.piece(chunk.tokens[-1]).decode(errors="ignore"))
    if not (own and text.endswith(own)):  # held back, or a part of a character
        return Text(text, style=style)
    return Text.assemble((text.removesuffix(own), style), own)
