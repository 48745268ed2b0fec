"""Continuations put together as one tree: what begins alike is drafted once."""

from __future__ import annotations

from collections.abc import Iterable

from spec_local.engine.draft import Draft
from spec_local.util.tree import ROOT


class Trie:
    """A tree of tokens that grows; siblings are put in the order of their confidences at last."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, int], int] = {}
        """By parent and token."""
        self._confidences: list[float] = []

    def __len__(self) -> int:
        return len(self._confidences)

    def add(self, parent: int, token: int, confidence: float) -> int:
        """The node of that token after that parent; of two guesses the surer one counts."""
        place = self._places.setdefault((parent, token), len(self._confidences))
        if place == len(self._confidences):
            self._confidences.append(confidence)
        else:
            self._confidences[place] = max(self._confidences[place], confidence)
        return place

    def add_chain(self, tokens: Iterable[tuple[int, float]], parent: int = ROOT) -> int:
        """Tokens after each other, each with its confidence; returns the last one's node."""
        for token, confidence in tokens:
            parent = self.add(parent, token, confidence)
        return parent

    def draft(self, drafter: str, budget: int) -> Draft:
        """The likeliest `budget` nodes; of siblings, at most one can be right: chances add to 1."""
        order, new = list[tuple[int, int]](), {ROOT: ROOT}
        by_parent: dict[int, list[tuple[int, int]]] = {}
        for (parent, token), place in self._places.items():
            by_parent.setdefault(parent, []).append((place, token))
        confidences, waiting = list[float](), [ROOT]
        while waiting:
            parent = waiting.pop()
            left = 1.0
            siblings = by_parent.get(parent, [])
            for place, token in sorted(siblings, key=lambda each: -self._confidences[each[0]]):
                chance = min(left, self._confidences[place])
                left -= chance
                new[place] = len(order)
                order.append((new[parent], token))
                confidences.append(chance)
                waiting.append(place)
        draft = Draft(
            tuple(token for _parent, token in order),
            drafter,
            confidences=tuple(confidences),
            parents=tuple(parent for parent, _token in order),
        )
        return draft.first(budget)
