"""A tree of a draft model's likeliest continuations, verified in one evaluation of the target.

Where the text may go several ways, a second guess for the next token can be worth more than a
tenth token of the first guess. The tree holds the nodes whose paths are likeliest, as in EAGLE-2
(Li et al., arXiv 2406.16858) and Sequoia (Chen et al., arXiv 2402.12374), and is drafted level by
level: the nodes that wait for their children are one evaluation of the draft model. So a tree
takes fewer evaluations than a chain of as many tokens, and more of the target's rows than a chain
as deep. It helps where rows cost the target little, as in large models and on GPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from spec_local.drafters.cache import FAILURES
from spec_local.drafters.model import ModelDrafter
from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.types import EvaluationSession, Pace
from spec_local.errors import ContextOverflow, NoTokenAllowed
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
    proposal: Proposal
    number: int = ROOT
    """In the draft model's tree, once it is evaluated."""
    sampler: Sampler | None = None


class TreeDrafter(ModelDrafter):
    """Drafts so many nodes, with as many evaluations as that takes; the target decides the path."""

    name = "tree"

    def __init__(
        self,
        session: EvaluationSession,
        n_vocab: int | None = None,
        is_end: Callable[[int], bool] = lambda _token: False,
    ) -> None:
        """As for a model that drafts a chain."""
        super().__init__(session, n_vocab, is_end)
        self._nodes: list[_Node] = []
        """Of the last tree: children after their parents, the likeliest sibling first."""
        self._length = 0
        """Of the context that it hangs from."""

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        cache, session, start = self.cache, self.cache.session, self._start(context)
        missing = context[len(context) - cache.behind(context, start) :]
        if cache.failed or any(token >= session.n_vocab for token in missing):
            return NO_DRAFT
        cache.move(start)
        budget = min(budget, cache.room(context))
        steps = list[tuple[int, float]]()
        self._nodes, self._length = [], len(context)
        try:
            if budget > 0:
                self._read(missing, budget, steps)
                while level := self._next_level(budget, pace):
                    self._evaluate(level, steps)
        except FAILURES as error:
            cache.fail(error)
        except ContextOverflow:
            cache.overflow()
        for node in self._nodes:
            if node.sampler is not None:
                node.sampler.close()
        draft = self._draft(steps).first(budget)
        if pace is None or draft.distributions is not None:
            return draft  # what was drawn must not be left out for what follows it
        parents = draft.parents or ()
        return draft.first(pace.nodes(draft.confidences, parents, len(first_born(parents))))

    def _read(self, missing: Sequence[int], budget: int, steps: list[tuple[int, float]]) -> None:
        """What the draft model thinks may follow the context: the first level of the tree."""
        started, session = perf_counter(), self.cache.session
        row = session.evaluate(missing)[-1]
        session.mark(budget - 1)
        self._branch(ROOT, row, self._followed())
        steps.append((len(missing), perf_counter() - started))

    def _evaluate(self, level: list[int], steps: list[tuple[int, float]]) -> None:
        """Find the children of the nodes at these places, in one evaluation."""
        session, nodes, started = self.cache.session, self._nodes, perf_counter()
        tokens = [nodes[place].proposal.token for place in level]
        above = [self._number(nodes[place].parent) for place in level]
        rows = session.evaluate(tokens, len(tokens), above if session.branches > 1 else None)
        first = 1 + max(node.number for node in nodes)
        for number, (place, row) in enumerate(zip(level, rows, strict=True), start=first):
            node = nodes[place]
            node.number = number
            before = self._sampler if node.parent == ROOT else nodes[node.parent].sampler
            assert before is not None
            node.sampler = before.after(node.proposal.token)
            self._branch(place, row, node.sampler)
        steps.append((len(tokens), perf_counter() - started))

    def _branch(self, parent: int, row: Logits, sampler: Sampler) -> None:
        """Add the children of a node."""
        siblings = SIBLINGS if self.cache.session.branches > 1 else 1
        try:
            found = sampler.alternatives(row[: self.n_vocab], siblings)
        except NoTokenAllowed:  # the target's vocabulary may be larger: it goes on alone
            return
        self._nodes += [_Node(parent, each) for each in found]

    def _next_level(self, budget: int, pace: Pace | None) -> list[int]:
        """Where the nodes are that are evaluated next; none if that would add little."""
        nodes, parents, chances = self._nodes, *self._shape()
        best, paths = likeliest(parents, chances, budget), likely(parents, chances)
        # A child can at most be as likely as its parent, and takes the place of the least likely.
        least = min((paths[place] for place in best), default=0.0) if len(best) == budget else 0.0
        waiting = [
            place
            for place in best
            if nodes[place].number == ROOT and not self.is_end(nodes[place].proposal.token)
        ]
        more = sum(paths[place] - least for place in waiting)
        if not (more > _LEAST if pace is None else waiting and pace.deeper(more)):
            return []
        waiting.sort(key=lambda place: -paths[place])
        return sorted(self._within(waiting)[: self.cache.session.max_rows])

    def _within(self, waiting: list[int]) -> list[int]:
        """Those that can be evaluated without more leaves than the draft model's session holds."""
        evaluated = [node for node in self._nodes if node.number != ROOT]
        inner = {node.parent for node in evaluated} | {ROOT}
        count = sum(place not in inner for place, n in enumerate(self._nodes) if n.number != ROOT)
        chosen = list[int]()
        for place in waiting:
            parent = self._nodes[place].parent
            takes_its_place = parent not in inner  # a leaf goes on; all others are one leaf more
            if takes_its_place or count < self.cache.session.branches:
                count += not takes_its_place
                inner.add(parent)
                chosen.append(place)
        return chosen

    def _shape(self) -> tuple[list[int], list[float]]:
        nodes = self._nodes
        return [node.parent for node in nodes], [node.proposal.confidence for node in nodes]

    def _number(self, place: int) -> int:
        return ROOT if place == ROOT else self._nodes[place].number

    def _draft(self, steps: list[tuple[int, float]]) -> Draft:
        parents, confidences = self._shape()
        drawn_from = [node.proposal.distribution for node in self._nodes]
        return Draft(
            tuple(node.proposal.token for node in self._nodes),
            self.name,
            confidences=tuple(confidences),
            steps=tuple(steps),
            distributions=None if None in drawn_from else tuple(filter(None, drawn_from)) or None,
            parents=tuple(parents),
        )

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        """Keep the nodes that the text goes through, as far as they are evaluated."""
        path, place = list[int](), ROOT
        for token in context[self._length :]:
            place = next(
                (
                    each
                    for each, node in enumerate(self._nodes)
                    if (node.parent, node.proposal.token) == (place, token) and node.number != ROOT
                ),
                len(self._nodes),
            )
            if place == len(self._nodes):
                break
            path.append(self._nodes[place].number)
        self._nodes = []
        with self.cache.surviving():
            self.cache.session.keep(path)
        super().observe(context, outcome)
