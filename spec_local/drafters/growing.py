"""A tree of a draft model's continuations, while it is drafted level by level (`tree.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from spec_local.drafters.shapes import Ranks, fixed_shape
from spec_local.engine.draft import Draft
from spec_local.engine.types import EvaluationSession, Pace
from spec_local.errors import NoTokenAllowed
from spec_local.sampling.types import Logits, Proposal, Sampler
from spec_local.util.tree import ROOT, first_born, likeliest, likely

SIBLINGS = 4
"""Most children of a node: the fifth choice of a draft model is right once in a hundred times."""

_LEAST = 0.1
"""Tokens that another level may add at most for it not to be drafted any more."""


@dataclass
class _Node:
    parent: int
    """Its place among the nodes; ROOT has none."""
    ranks: Ranks
    proposal: Proposal
    number: int = ROOT
    """In the draft model's tree, once it is evaluated."""
    sampler: Sampler | None = None


class Growing:
    """A tree that is being drafted: children after their parents, the likeliest sibling first."""

    def __init__(
        self,
        session: EvaluationSession,
        n_vocab: int,
        is_end: Callable[[int], bool],
        *,
        length: int,
        budget: int,
        cells: int,
    ) -> None:
        """The first as for `ModelDrafter`. length: of the context. budget: nodes of the draft.

        cells: so many nodes can be evaluated.
        """
        self._session, self._n_vocab, self._is_end = session, n_vocab, is_end
        self._length, self._budget, self._cells = length, budget, cells
        self._nodes: list[_Node] = []
        self._root: Sampler | None = None
        self._shape: frozenset[Ranks] | None = None
        """The nodes there may be, if that is fixed."""
        self._steps: list[tuple[int, float]] = []

    def read(self, missing: Sequence[int], sampler: Sampler) -> None:
        """What the draft model thinks may follow the context: the first level of the tree."""
        started = perf_counter()
        row = self._session.evaluate(missing)[-1]
        self._session.mark(self._budget - 1)
        self._root = sampler
        self._shape = fixed_shape(self._budget) if sampler.kind == "best" else None
        self._branch(ROOT, row, sampler)
        self._steps.append((len(missing), perf_counter() - started))

    def evaluate(self, level: list[int]) -> None:
        """Find the children of the nodes at these places, in one evaluation."""
        nodes, started, branching = self._nodes, perf_counter(), self._session.branches > 1
        tokens = [nodes[place].proposal.token for place in level]
        above = [self._number(nodes[place].parent) for place in level]
        rows = self._session.evaluate(tokens, len(tokens), above if branching else None)
        first = 1 + max(node.number for node in nodes)
        for number, (place, row) in enumerate(zip(level, rows, strict=True), start=first):
            node = nodes[place]
            node.number = number
            before = self._root if node.parent == ROOT else nodes[node.parent].sampler
            assert before is not None
            try:
                node.sampler = before.after(node.proposal.token)
            except NoTokenAllowed:  # a dead end; the target may never get there
                continue
            self._branch(place, row, node.sampler)
        self._steps.append((len(tokens), perf_counter() - started))

    def _branch(self, parent: int, row: Logits, sampler: Sampler) -> None:
        """Add the children of a node."""
        ranks = () if parent == ROOT else self._nodes[parent].ranks
        count = SIBLINGS if self._session.branches > 1 else 1
        if self._shape is not None:
            count = sum((*ranks, rank) in self._shape for rank in range(count))
        try:
            found = sampler.alternatives(row[: self._n_vocab], count)
        except NoTokenAllowed:  # the target's vocabulary may be larger: it goes on alone
            return
        self._nodes += [_Node(parent, (*ranks, i), each) for i, each in enumerate(found)]

    def next_level(self, pace: Pace | None) -> list[int]:
        """Where the nodes are that are evaluated next; none if that would add little."""
        nodes, parents, chances = self._nodes, *self._told()
        best, paths = likeliest(parents, chances, self._budget), likely(parents, chances)
        waiting = [
            place
            for place in (range(len(nodes)) if self._shape is not None else best)
            if nodes[place].number == ROOT and not self._is_end(nodes[place].proposal.token)
        ]
        if self._shape is not None:
            shape = self._shape
            return sorted(self._fitting([p for p in waiting if (*nodes[p].ranks, 0) in shape]))
        fitting = self._fitting(sorted(waiting, key=lambda place: -paths[place]))
        # A child can at most be as likely as its parent, and takes the place of the last.
        full = len(best) == self._budget
        least = min(paths[place] for place in best) if full else 0.0
        more = [paths[place] - least for place in fitting]
        if pace is not None:
            return sorted(fitting[: pace.level(more)])
        return sorted(fitting) if sum(more) > _LEAST else []

    def _fitting(self, waiting: list[int]) -> list[int]:
        """Those of them, from the first one on, that the draft model's session has room for."""
        nodes = self._nodes
        inner = {node.parent for node in nodes if node.number != ROOT} | {ROOT}
        count = sum(place not in inner for place, node in enumerate(nodes) if node.number != ROOT)
        chosen = list[int]()
        for place in waiting:
            parent = nodes[place].parent
            takes_its_place = parent not in inner  # a leaf goes on; all others are one leaf more
            if takes_its_place or count < self._session.branches:
                count += not takes_its_place
                inner.add(parent)
                chosen.append(place)
        evaluated = sum(node.number != ROOT for node in nodes)
        return chosen[: max(0, min(self._session.max_rows, self._cells - evaluated))]

    def _told(self) -> tuple[list[int], list[float]]:
        nodes = self._nodes
        return [node.parent for node in nodes], [node.proposal.confidence for node in nodes]

    def _number(self, place: int) -> int:
        return ROOT if place == ROOT else self._nodes[place].number

    def draft(self, name: str, pace: Pace | None) -> Draft:
        """The likeliest nodes, as many as are wanted; all of them where the shape is fixed."""
        parents, confidences = self._told()
        drawn_from = [each.proposal.distribution for each in self._nodes]
        whole = Draft(
            tuple(node.proposal.token for node in self._nodes),
            name,
            confidences=tuple(confidences),
            steps=tuple(self._steps),
            distributions=None if None in drawn_from else tuple(filter(None, drawn_from)) or None,
            parents=tuple(parents),
        )
        if whole.distributions is not None:
            return whole.spine_first()
        best = whole.first(self._budget)
        if pace is None:
            return best
        after = best.parents or ()
        return best.first(pace.nodes(best.confidences, after, len(first_born(after))))

    def path_of(self, context: Sequence[int]) -> list[int]:
        """The nodes that a context goes through, by number, as far as they are evaluated."""
        path, place = list[int](), ROOT
        for token in context[self._length :]:
            wanted = (place, token)
            found = (
                each
                for each, node in enumerate(self._nodes)
                if node.number != ROOT and (node.parent, node.proposal.token) == wanted
            )
            if (place := next(found, ROOT)) == ROOT:
                break
            path.append(self._nodes[place].number)
        return path if self._session.branches > 1 else []

    def close(self) -> None:
        """Free the samplers."""
        for node in self._nodes:
            if node.sampler is not None:
                node.sampler.close()
                node.sampler = None
