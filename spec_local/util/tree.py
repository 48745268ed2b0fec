"""A tree of drafted tokens: several continuations that begin alike, verified in one evaluation.

Nodes are numbered, parents before children, and told by their parents alone; -1 is the root, the
last committed token. A target evaluates all of them at once, each seeing its own ancestors only:
tree attention (Miao et al., SpecInfer, arXiv 2305.09781).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

ROOT = -1

MOST_LEAVES = 16
"""Of any tree; each is a sequence of llama.cpp's, which reserves a row of logits for it."""


def path_to(parents: Sequence[int], node: int) -> tuple[int, ...]:
    """The nodes from the root's child down to that one."""
    path = list[int]()
    while node != ROOT:
        path.append(node)
        node = parents[node]
    return tuple(reversed(path))


def leaves(parents: Sequence[int]) -> list[int]:
    """The nodes that nothing follows, in their order."""
    inner = set(parents)
    return [node for node in range(len(parents)) if node not in inner]


def below(parents: Sequence[int], tops: Container[int]) -> set[int]:
    """All nodes under these, themselves left out."""
    found = set[int]()
    for node, parent in enumerate(parents):
        if parent in tops or parent in found:
            found.add(node)
    return found


def likely(parents: Sequence[int], chances: Sequence[float]) -> list[float]:
    """How likely each node's whole path is: the product of the chances along it."""
    paths = list[float]()
    for parent, chance in zip(parents, chances, strict=True):
        paths.append(chance if parent == ROOT else paths[parent] * chance)
    return paths


def likeliest(parents: Sequence[int], chances: Sequence[float], most: int) -> list[int]:
    """At most so many nodes, those with the likeliest paths, in an order for a cache.

    The chain that goes on with each first child comes first: what is accepted of it lies right
    after the text. Chances are at most 1 and siblings in order of theirs, so this is a tree.
    """
    paths = likely(parents, chances)
    ranked = sorted(range(len(parents)), key=lambda node: -paths[node])  # stable: parents first
    kept = sorted(ranked[:most])
    chain = [kept[place] for place in first_born(renumbered(parents, kept))]
    return chain + sorted(set(kept).difference(chain))


def with_leaves(parents: Sequence[int], chances: Sequence[float], most: int) -> list[int]:
    """The nodes left when the worst twigs are cut until there are no more than `most` leaves.

    A twig reaches from a leaf to where another branch begins. It is worth the tokens it adds in the
    mean: the sum of its paths' chances. With one leaf left this is the best chain.
    """
    paths, twigs = likely(parents, chances), _twigs(parents)
    kept = set(range(len(parents)))
    while len(twigs) > most:
        worst = min(twigs, key=lambda twig: sum(paths[node] for node in twig))
        kept.difference_update(worst)
        left = sorted(kept)
        twigs = [[left[node] for node in twig] for twig in _twigs(renumbered(parents, left))]
    return sorted(kept)


def first_born(parents: Sequence[int]) -> list[int]:
    """The chain of first children, from the root."""
    chain, last = list[int](), ROOT
    for node, parent in enumerate(parents):
        if parent == last:
            chain.append(node)
            last = node
    return chain


def _twigs(parents: Sequence[int]) -> list[list[int]]:
    """For each leaf the nodes that lead to it alone."""
    children = Counter(parents)
    found = list[list[int]]()
    for leaf in leaves(parents):
        twig, node = [leaf], parents[leaf]
        while node != ROOT and children[node] == 1:
            twig.append(node)
            node = parents[node]
        found.append(twig)
    return found


def renumbered(parents: Sequence[int], kept: Sequence[int]) -> tuple[int, ...]:
    """The parents of the kept nodes, which are a tree of their own, by their new numbers."""
    new = {old: place for place, old in enumerate(kept)}
    return tuple(new.get(parents[old], ROOT) for old in kept)
