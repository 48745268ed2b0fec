"""A draft, what verification decides about it, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from spec_local.errors import require
from spec_local.sampling.distribution import Distribution
from spec_local.sampling.types import Logits
from spec_local.util.tree import (
    MOST_LEAVES,
    ROOT,
    below,
    first_born,
    leaves,
    likeliest,
    path_to,
    renumbered,
    with_leaves,
)


class Draft(NamedTuple):
    """Tokens a drafter proposes to follow the committed ones: a chain, or a tree (`tree.py`)."""

    tokens: tuple[int, ...] = ()
    drafter: str = ""
    """Name of the drafter the tokens come from."""
    confidences: tuple[float, ...] = ()
    """How sure the drafter is of each of `judged`, in [0, 1]; and of `refused`, if there is one."""
    refused: int | None = None
    """A token drafted after the others that was not found worth verifying."""
    steps: tuple[tuple[int, float], ...] = ()
    """Every evaluation of the draft model: its tokens, catch-up included, and its seconds."""
    distributions: tuple[Distribution, ...] | None = None
    """For each token, and `end`, what it was drawn from; None if the drafter does not draw."""
    end: int | None = None
    """An end-of-generation token drafted after the others: judged, but never evaluated."""
    parents: tuple[int, ...] | None = None
    """For each token the index of the one it follows, smaller than its own; ROOT follows the
    committed ones. Of siblings the one drawn first comes first. None: each follows the one before.
    Confidences and distributions are given that all before a token on its path are right."""
    ends: frozenset[int] = frozenset()
    """Indices of a tree's end-of-generation tokens, which nothing follows."""

    @property
    def evaluated(self) -> int:
        """Tokens the draft model evaluated."""
        return sum(tokens for tokens, _seconds in self.steps)

    @property
    def judged(self) -> tuple[int, ...]:
        """The tokens a verification rule decides about."""
        return self.tokens if self.end is None else (*self.tokens, self.end)

    def distribution(self, index: int) -> Distribution:
        """What the token at that index was drawn from; without probabilities, a point mass."""
        if self.distributions is None:
            return Distribution.point(self.judged[index])
        return self.distributions[index]

    def first(self, count: int) -> Draft:
        """The first `count` tokens of a chain that was looked up, not drawn.

        Of a tree the likeliest, with the likeliest chain at the beginning.
        """
        if self.parents is not None:
            assert self.distributions is None
            return self._of(likeliest(self.parents, self._chances, count))
        return Draft(self.tokens[:count], self.drafter, confidences=self.confidences[:count])

    def before_end(self, is_end: Callable[[int], bool]) -> Draft:
        """The draft up to its first end-of-generation token, which becomes `end`.

        Nothing follows an end token, and whether it is drawn shows in the row before it. It cannot
        simply be dropped: a draft cut short *because* of what was drawn next would be biased.
        """
        cut = next((i for i, token in enumerate(self.tokens) if is_end(token)), None)
        if cut is None:
            return self
        if self.parents is None:
            return self._replace(tokens=self.tokens[:cut], end=self.tokens[cut])
        # In a tree it stays among its siblings, for their order counts, and is evaluated in vain.
        ends = {i for i, token in enumerate(self.tokens) if is_end(token)}
        kept = self._of(sorted(set(range(len(self.tokens))) - below(self.parents, ends)))
        return kept._replace(ends=frozenset(i for i, t in enumerate(kept.tokens) if is_end(t)))

    def child(self, node: int, token: int) -> int | None:
        """The index of that token right after that node, or after the committed tokens (ROOT).

        None if it is not there, or ends the text, so that nothing can follow it.
        """
        if self.parents is None:
            follows = node + 1 < len(self.tokens) and self.tokens[node + 1] == token
            return node + 1 if follows else None
        found = (i for i in self.children(node) if self.tokens[i] == token)
        return next((i for i in found if i not in self.ends), None)

    def children(self, node: int) -> Sequence[int]:
        """Indices of the tokens right after that node, the one drawn first at the beginning."""
        if self.parents is None:
            return range(node + 1, min(node + 2, len(self.tokens)))
        return [i for i in range(node + 1, len(self.tokens)) if self.parents[i] == node]

    def path(self, verdict: Verdict) -> Sequence[int]:
        """Indices of the accepted tokens, in the order of the text."""
        if self.parents is None:
            return range(verdict.accepted)
        return path_to(self.parents, verdict.last)

    def in_place(self, path: Sequence[int]) -> Sequence[int]:
        """Of a tree's path what lies right after the text, as a chain would; () of a chain."""
        if self.parents is None:
            return ()
        return [node for place, node in enumerate(path) if node == place]

    def fitting(self, branches: int) -> Draft:
        """With at most so many leaves, as a session can hold; one is the best chain.

        A drawn token must not be left out for what it is, or for what would follow it. So where a
        session cannot hold every tree there is, the first of any siblings is left, whatever it is.
        """
        if self.parents is None:
            return self
        require(
            all(parent < node for node, parent in enumerate(self.parents)),
            "A drafted tree has a token before the one it follows; put parents first.",
        )
        if self.distributions is None:
            fits = self._of(with_leaves(self.parents, self._chances, branches))
        elif branches < MOST_LEAVES:
            fits = self._of(first_born(self.parents))
        else:
            fits = self
        return fits._replace(parents=None) if branches == 1 else fits

    @property
    def _chances(self) -> tuple[float, ...]:
        """The confidences; all the same of a drafter that has none."""
        return self.confidences or (1.0,) * len(self.tokens)

    def spine_first(self) -> Draft:
        """The same tree with the chain of first children at the beginning, where it is kept."""
        assert self.parents is not None
        chain = first_born(self.parents)
        return self._of([*chain, *sorted(set(range(len(self.tokens))).difference(chain))])

    def where(self, possible: Callable[[Sequence[int]], int]) -> Draft:
        """Without the tokens of a tree that cannot be, and all that follows them.

        possible: how many of the tokens of a path, from its first one, can be.
        """
        assert self.parents is not None
        paths = {leaf: path_to(self.parents, leaf) for leaf in leaves(self.parents)}
        kept = set[int]()
        for path in paths.values():
            kept.update(path[: possible([self.tokens[node] for node in path])])
        return self._of(sorted(kept))

    def _of(self, nodes: Sequence[int]) -> Draft:
        """Only these nodes, which are a tree of their own."""
        assert self.parents is not None
        drawn_from = self.distributions
        return self._replace(
            tokens=tuple(self.tokens[i] for i in nodes),
            confidences=tuple(self.confidences[i] for i in nodes) if self.confidences else (),
            distributions=None if drawn_from is None else tuple(drawn_from[i] for i in nodes),
            parents=renumbered(self.parents, nodes),
        )


NO_DRAFT = Draft()


class Verdict(NamedTuple):
    """What verification decided: the first `accepted` drafted tokens, then `token`.

    `token` is the recovered token after a rejection, the bonus token after full acceptance.
    """

    accepted: int
    token: int
    last: int = ROOT
    """In a tree, index of the last accepted token; ROOT if none was."""
    rechecked: bool = False
    """Whether the position of `token` was evaluated again, one token wide (`exact/guard.py`)."""
    guard_seconds: float = 0.0
    """Spent on that, and on finding out whether it is needed."""


class Outcome(NamedTuple):
    """What became of a round's draft, which may be empty."""

    draft: Draft
    verdict: Verdict
    rows: Logits
    """The target's logits (len(draft.tokens) + 1, n_vocab), of ROOT first; only a view."""
