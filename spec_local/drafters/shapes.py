"""The shape of a tree whose tokens are drawn: which children there are, whatever they are.

A shape that asked what was drawn would leave tokens out for what they are, or for what would follow
them, and what verification then emits would not have the target's distribution. So it is fixed by
the number of nodes alone: those whose paths are likeliest by how often a child of each rank is
right in the mean, as in Sequoia (Chen et al., arXiv 2402.12374).
"""

from __future__ import annotations

from functools import cache
from heapq import heappop, heappush

from spec_local.util.tree import MOST_LEAVES

Ranks = tuple[int, ...]
"""Which child a node is of its parent, and that of its own, from the root down; 0 is the first."""

_RIGHT = (0.75, 0.07, 0.03, 0.015)
"""How often the first, second … child is right, about (docs/drafters.md)."""


@cache
def fixed_shape(nodes: int) -> frozenset[Ranks]:
    """The so many likeliest nodes, with no more leaves than any session holds."""
    shape, leaves = set[Ranks](), 0
    waiting: list[tuple[float, Ranks]] = []

    def add_child(chance: float, ranks: Ranks) -> None:
        if ranks[-1] < len(_RIGHT):
            heappush(waiting, (-chance * _RIGHT[ranks[-1]], ranks))

    add_child(1.0, (0,))
    above: dict[Ranks, float] = {(): 1.0}
    while waiting and len(shape) < nodes:
        chance, ranks = heappop(waiting)
        parent, takes_its_place = ranks[:-1], ranks[-1] == 0 and len(ranks) > 1
        if leaves + (not takes_its_place) > MOST_LEAVES:
            continue
        leaves += not takes_its_place
        shape.add(ranks)
        above[ranks] = -chance
        add_child(-chance, (*ranks, 0))
        add_child(above[parent], (*parent, ranks[-1] + 1))
    return frozenset(shape)
