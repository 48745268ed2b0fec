"""Certificates and exact modes in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spec_local.exact.modes import Exactness
    from spec_local.machine.certify import Certificate


def describe(exactness: Exactness | None) -> str:
    """How the target was evaluated, in a few words."""
    if exactness is None:
        return "evaluated freely, at any width."
    widths = ranges(exactness.widths.allowed)
    return f"exact ({exactness.mode}), evaluated at widths {widths} only."


def findings(certificate: Certificate) -> Iterator[str]:
    """What was found, sentence by sentence."""
    if not certificate.contexts:
        yield "Nothing to examine: this model's memory rolls back by evaluating again."
        return
    lengths = ", ".join(f"{context:,}" for context in certificate.contexts)
    base = certificate.base
    yield f"Evaluated after {lengths} tokens of context, against width {base}:"
    if not certificate.widths:
        yield f"Width {base} does not compute the same wherever a token stands in the batch."
        return
    for found, widths in groupby(certificate.differences, lambda width: _found(certificate, width)):
        yield f"widths {ranges(list(widths))}: {found}"


def _found(certificate: Certificate, width: int) -> str:
    if width in certificate.widths:
        return "identical, bit for bit"
    difference = certificate.differences[width]
    return f"logits differ by up to {difference:.2g}" if difference else "the cache differs"


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as people write them: 1-3, 5."""
    parts = list[list[int]]()
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
