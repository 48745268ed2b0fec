"""A sentence on what GPUs have of which model, and why no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spec_local.llama.fit import Asked, Placement, taken
from spec_local.llama.options import ALL


class PlacedModel(NamedTuple):
    """A model and where its layers are."""

    name: str
    asked: Asked
    placement: Placement

    @property
    def layers(self) -> int:
        """On GPUs, as `LoadOptions` counts them."""
        return ALL if self.placement.layers >= self.asked.demand.most else self.placement.layers

    @property
    def is_on_gpu(self) -> bool:
        """Whether any are."""
        return bool(self.asked.shares) and self.placement.layers > 0

    @property
    def has_all(self) -> bool:
        """Whether GPUs have what they can have of it."""
        best = self.asked.best
        return self.placement.layers >= best.layers and self.placement.cpu_moe <= best.cpu_moe

    def __str__(self) -> str:
        most, (layers, cpu_moe) = self.asked.demand.most, self.placement
        if not self.is_on_gpu:
            return f"nothing of {self.name}"
        if layers < most:
            without = " without experts" if cpu_moe else ""
            return f"{layers} of {most} layers of {self.name}{without}"
        if not cpu_moe:
            return f"all of {self.name}"
        first = "layer" if cpu_moe == 1 else f"{cpu_moe} layers"
        return f"all of {self.name} but the experts of its first {first}"


def said_of(models: Sequence[PlacedModel], free: Mapping[str, int | None], *, spare: int) -> str:
    """The sentence.

    free: bytes of each GPU, None where it does not tell; spare: those that are left free of all.
    """
    whole = sum((taken(each.asked, each.asked.best) for each in models), Counter[str]())
    get = "gets" if len(free) == 1 else "get"
    takes = "takes" if all(each.has_all for each in models) else "would take"
    there = _size(sum(each or 0 for each in free.values()))
    return (
        f"{_listing(list(free))}, with {there} free, {get} {_listing(list(map(str, models)))}; "
        f"everything {takes} {_size(sum(whole.values()))}, and {_size(spare)} are kept free."
    )


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def _listing(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
