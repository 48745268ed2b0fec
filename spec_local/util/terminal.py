"""What a model wrote, made safe to show: it may move no cursor, ring no bell, set no title."""

from __future__ import annotations

_KEPT = "\n\t"
_PICTURES = 0x2400
"""Unicode's Control Pictures begin here, in the order of ASCII's control characters."""
_SYMBOLS = {
    **{code: chr(_PICTURES + code) for code in range(0x20) if chr(code) not in _KEPT},
    0x7F: "␡",
    **dict.fromkeys(range(0x80, 0xA0), "�"),  # C1: some terminals take them for ESC and a letter
}


def visible(text: str) -> str:
    """The text with every control character but newline and tab shown as a symbol.

    A carriage return before a newline is left out. ECMA-48 has what the others could do.
    """
    return text.replace("\r\n", "\n").translate(_SYMBOLS)
