"""A tree of tokens in a cache: a sequence of llama.cpp's for each leaf, in one unified cache.

A cell of the cache knows which sequences it belongs to, and a token sees the cells of its own. So a
branch costs no copy of keys and values, and to keep one path is to strike sequences out
(`examples/lookahead` of llama.cpp goes about it in the same way). What is kept need not lie in the
cache in the order of the text any more; attention does not mind, but for rounding.

llama.cpp passes over all cells in every call, which is quick; what takes long is to put a cell into
a sequence or take it out, since each sequence also keeps its cells in order. So a sequence that is
not needed any more stays in the cells of the text, and the next tree adds those that came since.
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.llama.backend import lib
from spec_local.llama.model import Model
from spec_local.llama.state import SEQUENCE
from spec_local.util.tree import MOST_LEAVES, ROOT, path_to

_ANY = -1
"""Whatever sequence it is."""


def branches_of(model: Model, rows: int) -> int:
    """Most leaves of a tree in a context on that model that gives so many rows; 1: it is a chain.

    A recurrent state is one of the whole text, and what a sliding window has overwritten is gone.
    """
    can = not model.is_recurrent and not model.sliding_window and model.eyes is None
    return min(MOST_LEAVES, rows) if can else 1


class Branches:
    """The tree that hangs from the end of what a session holds; it has no nodes at first.

    While it has none, each other sequence holds the beginning of what `SEQUENCE` does, or all.
    """

    def __init__(self, memory: lib.llama_memory_t | None, most: int) -> None:
        """The memory of a context with so many sequences in one unified cache."""
        self._memory, self._most = memory, most
        # A recurrent state is taken back of one sequence only.
        self._every = _ANY if most > 1 else SEQUENCE
        self.tokens: list[int] = []
        """Of its nodes."""
        self._parents: list[int] = []
        self._sequence: dict[int, int] = {}
        """For each node one that it belongs to, with all nodes above it: if it can, `SEQUENCE`."""
        self._tips: dict[int, int] = {SEQUENCE: ROOT}
        """The last node of every sequence in use."""

    def __bool__(self) -> bool:
        return len(self._tips) > 1 or bool(self.tokens)

    def grow(
        self, tokens: Sequence[int], parents: Sequence[int], held: int
    ) -> tuple[list[int], list[list[int]]]:
        """Add nodes, to be evaluated next; their depths from 1 on, and the sequences of each.

        held: tokens in the memory already, without any node. Raises ValueError if there are too
        many leaves.
        """
        first = len(self.tokens)
        self.tokens += tokens
        self._parents += parents
        depths, sequences = list[int](), [list[int]() for _ in tokens]
        for node in range(first, len(self.tokens)):
            path = path_to(self._parents, node)
            depths.append(len(path))
            if node in self._parents:
                continue
            old, new = _parted(path, first)
            sequence = self._from(old[-1] if old else ROOT, held + len(old))
            self._tips[sequence] = node
            for each in new:
                self._sequence.setdefault(each, sequence)
                sequences[each - first].append(sequence)
        return depths, sequences

    def _from(self, stem: int, length: int) -> int:
        """A sequence that ends with that node: one that does already, or a copy up to there."""
        mine = next((seq for seq, tip in self._tips.items() if tip == stem), None)
        if mine is not None:
            return mine
        free = next((seq for seq in range(self._most) if seq not in self._tips), None)
        if free is None:
            raise ValueError(f"a tree of more than {self._most} leaves")
        self._tips[free] = stem
        source = SEQUENCE if stem == ROOT else self._sequence[stem]
        known = lib.llama_memory_seq_pos_max(self._memory, free) + 1
        if known < length:
            lib.llama_memory_seq_cp(self._memory, source, free, known, length)
        return free

    def keep(self, path: Sequence[int], held: int) -> list[int]:
        """Let the memory hold the nodes of a path after so many tokens; returns their tokens."""
        length, kept = held + len(path), [self.tokens[node] for node in path]
        source = self._sequence[path[-1]] if path else SEQUENCE
        self.remove_after(length)
        for sequence in self._tips if path else ():
            if sequence != source:
                lib.llama_memory_seq_rm(self._memory, sequence, held, length)
        if source != SEQUENCE:
            lib.llama_memory_seq_cp(self._memory, source, SEQUENCE, held, length)
        self.forget()
        return kept

    def remove_after(self, length: int) -> bool:
        """Leave no sequence more than so many tokens; False if this memory cannot go back there."""
        return lib.llama_memory_seq_rm(self._memory, self._every, length, -1)

    def forget(self) -> None:
        """There is no tree any more; its nodes are the caller's to remove."""
        self._tips = {SEQUENCE: ROOT}
        self._sequence.clear()
        self.tokens.clear()
        self._parents.clear()


def _parted(path: Sequence[int], first: int) -> tuple[list[int], list[int]]:
    """The nodes of a path that were there before, and those from `first` on."""
    old = [node for node in path if node < first]
    return old, [*path[len(old) :]]
