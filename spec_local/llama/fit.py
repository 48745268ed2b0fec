"""How many layers fit on the GPUs: of the drafts first, then of their target.

A draft is read for every token that it drafts, a target once a round; so a layer of a draft left to
the processor costs more than one of the target with as many bytes. Where a target has experts,
those of its first layers go before whole layers do: of experts few are read for a token, of all
else everything.

Nothing here knows llama.cpp but for one rule of it: on the GPUs are the last layers, with the
output as one more behind them, and a GPU has a contiguous part of these by its share of all
(`load_tensors` in src/llama-model.cpp). All sizes are bytes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Demand:
    """What a model needs."""

    layers: tuple[int, ...]
    """For each layer its weights and its part of the cache."""
    output: int
    """What follows the last layer."""
    experts: tuple[int, ...]
    """For each layer how much of that are weights of experts."""
    compute: int
    """Buffers on every GPU that has any layer."""
    largest: int
    """The largest matrix, which the first GPU has a copy of while it reads a prompt for the
    processor."""

    @property
    def most(self) -> int:
        """Layers that can be on GPUs; the output is one of them."""
        return len(self.layers) + 1

    @property
    def with_experts(self) -> int:
        """The first so many layers have all the experts."""
        return max((i + 1 for i, size in enumerate(self.experts) if size), default=0)


class Placement(NamedTuple):
    """Where a model's layers are kept."""

    layers: int
    """So many, the last ones, are on GPUs."""
    cpu_moe: int = 0
    """The first so many leave their experts to the processor."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A model, and what is not to be decided."""

    demand: Demand
    shares: Mapping[str, float]
    """Each GPU that it may use, in llama.cpp's order, and its proportion of the layers."""
    layers: int | None = None
    """None: as many as fit."""
    cpu_moe: int | None = None
    """None: as few as need be."""

    @property
    def best(self) -> Placement:
        """What it would get if there were room for everything."""
        return Placement(
            self.demand.most if self.layers is None else self.layers, self.cpu_moe or 0
        )


def fit(
    target: Asked, drafts: Sequence[Asked], room: Mapping[str, int]
) -> tuple[Placement, Placement]:
    """Where the target's layers go, and where those of the drafts do, of each draft as many.

    room: how much may be used of each GPU. What is given is taken as it is, whether it fits or not.
    """
    used = Counter[str]()
    if target.layers is not None:
        used += taken(target, target.best)
    drafting, used = _first_fitting(drafts, _counts(drafts), used, room)
    if target.layers is not None:
        return target.best, drafting
    return _first_fitting([target], _choices(target), used, room)[0], drafting


def taken(asked: Asked, placement: Placement) -> Counter[str]:
    """How much of each GPU a model takes if it is placed so; layers that it was given stay."""
    demand, used = asked.demand, Counter[str]()
    layers = placement.layers if asked.layers is None else asked.layers
    count, names = min(layers, demand.most), list(asked.shares)
    if not count or not names:
        return used
    first, whole = demand.most - count, sum(asked.shares.values())
    bounds = [bound / whole for bound in accumulate(asked.shares.values())]
    sizes = [
        size - (experts if layer < placement.cpu_moe else 0)
        for layer, (size, experts) in enumerate(zip(demand.layers, demand.experts, strict=True))
    ]
    for place, size in enumerate([*sizes, demand.output][first:]):
        used[names[bisect_right(bounds, place / count)]] += size
    for name in used:
        used[name] += demand.compute
    if first or placement.cpu_moe:
        used[next(iter(used))] += demand.largest
    return used


def _first_fitting(
    models: Sequence[Asked],
    choices: Iterator[Placement],
    used: Counter[str],
    room: Mapping[str, int],
) -> tuple[Placement, Counter[str]]:
    """The first choice with which all of them fit beside what is used; and what is used then."""
    for placement in choices:
        own = sum((taken(each, placement) for each in models), Counter[str]())
        if all(used[name] + size <= room[name] for name, size in own.items()):
            break
    return placement, used + own


def _counts(drafts: Sequence[Asked]) -> Iterator[Placement]:
    """From all layers of the deepest draft to none; where they are given, the most of them."""
    given = [draft.layers for draft in drafts if draft.layers is not None]
    most = max((draft.demand.most for draft in drafts), default=0)
    return map(Placement, [max(given)] if given else range(most, -1, -1))


def _choices(target: Asked) -> Iterator[Placement]:
    """The best first: all layers with fewer and fewer experts, then fewer and fewer layers."""
    most, experts = target.demand.most, target.demand.with_experts
    kept = range(experts + 1) if target.cpu_moe is None else [target.cpu_moe]
    yield from (Placement(most, cpu_moe) for cpu_moe in kept)
    yield from (Placement(layers, kept[-1]) for layers in range(most - 1, -1, -1))
