"""Exact distributions of what a verification rule emits: every way its randomness can fall.

The rules ask a sampler for all randomness. Here the sampler answers from a path through the tree of
possible answers, and every path is walked, so the real code is integrated, not a copy of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product

import numpy as np

from spec_local.engine.draft import Draft
from spec_local.engine.types import Verifier
from spec_local.sampling.distribution import Distribution, Probabilities
from spec_local.sampling.types import Logits
from spec_local.util.tree import path_to

Text = tuple[int, ...]
Table = Callable[[Text], Probabilities]
"""From the tokens so far to the probabilities (n_vocab,) of the next one.

It may look at the last two tokens and at whether the number of tokens is even.
"""


class Dice:
    """Answers along one path; notes the other answers that were possible on the way."""

    def __init__(self, path: Text) -> None:
        self.path, self.probability = list(path), 1.0
        self.others: list[Text] = []
        self._asked = 0

    def choose(self, probabilities: Sequence[float]) -> int:
        possible = [i for i, p in enumerate(probabilities) if p > 0]
        if self._asked == len(self.path):
            self.others += [(*self.path, other) for other in possible[1:]]
            self.path.append(possible[0])
        choice = self.path[self._asked]
        self._asked += 1
        self.probability *= probabilities[choice]
        return choice


@lru_cache(maxsize=10_000)
def _softmax(row: bytes) -> Distribution:
    """Of logits as bytes: every path through the dice asks for the same few."""
    logits = np.frombuffer(row)
    return Distribution.of_logits(np.arange(len(logits), dtype=np.int32), logits)


class EnumeratedSampler:
    """A sampler without a chain, whose randomness is one path of dice."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice

    def distribution(self, row: Logits) -> Distribution:
        return _softmax(row.tobytes())

    def draw(self, row: Logits) -> int:
        return self.emit(self.distribution(row))

    def emit(self, distribution: Distribution) -> int:
        return int(distribution.ids[self._dice.choose(distribution.probabilities.tolist())])

    def chance(self, probability: float) -> bool:
        assert 0 <= probability <= 1
        return self._dice.choose([1 - probability, probability]) == 1

    def accept(self, token: int) -> None:
        pass

    def copy(self) -> EnumeratedSampler:
        return self

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Setting:
    """A rule, what it judges, and how long the drafts are."""

    rule: Verifier
    target: Table
    drafter: Table
    k: int
    with_probabilities: bool = True
    end: int | None = None
    """The token that ends a text."""
    takes: Callable[[Probabilities, int], bool] = lambda _q, _token: True
    """Whether a token drawn from q is part of the draft; if not, the draft ends before it."""
    parents: Text | None = None
    """Of a tree of k nodes, whose siblings are drawn without replacement; None drafts chains."""


def drafts(setting: Setting, text: Text) -> list[tuple[Draft, float]]:
    """Every draft that can follow the text, with its probability."""
    if setting.parents is not None:
        return _trees(setting, setting.parents, text)
    found: dict[tuple[Text, int | None], tuple[Draft, float]] = {}
    n_vocab = len(setting.drafter(text))
    for tokens in product(range(n_vocab), repeat=setting.k):
        tables = [setting.drafter((*text, *tokens[:i])) for i in range(setting.k)]
        probability = float(np.prod([q[x] for q, x in zip(tables, tokens, strict=True)]))
        if probability == 0:
            continue
        taken = [setting.takes(q, x) for q, x in zip(tables, tokens, strict=True)]
        length = taken.index(False) if False in taken else setting.k
        distributions = tuple(_distribution(q) for q in tables[:length])
        draft = Draft(
            tokens[:length], distributions=distributions if setting.with_probabilities else None
        )
        draft = draft.before_end(lambda token: token == setting.end)
        key = (draft.tokens, draft.end)  # shorter drafts are found several times
        found[key] = (draft, found.get(key, (draft, 0.0))[1] + probability)
    return list(found.values())


def _trees(setting: Setting, parents: Text, text: Text) -> list[tuple[Draft, float]]:
    found = []
    for tokens in product(range(len(setting.drafter(text))), repeat=len(parents)):
        probability, drawn_from = 1.0, list[Distribution]()
        for node, token in enumerate(tokens):
            before = [tokens[n] for n in path_to(parents, parents[node])]
            left = setting.drafter((*text, *before)).copy()
            left[[tokens[n] for n in range(node) if parents[n] == parents[node]]] = 0
            probability *= left[token] / left.sum()
            drawn_from.append(_distribution(left))
        if probability > 0:
            draft = Draft(
                tokens,
                confidences=(0.5,) * len(tokens),
                distributions=tuple(drawn_from) if setting.with_probabilities else None,
                parents=parents,
            )
            draft = draft.before_end(lambda token: token == setting.end)
            found.append((draft, probability))
    return found


def _distribution(probabilities: Probabilities) -> Distribution:
    return Distribution.of_weights(np.arange(len(probabilities), dtype=np.int32), probabilities)


def rounds(setting: Setting, text: Text) -> list[tuple[Text, float]]:
    """What one round emits after the text: all outcomes with their probabilities."""
    found = []
    for draft, drafted in drafts(setting, text):
        contexts = [text, *((*text, *_path(draft, node)) for node in range(len(draft.tokens)))]
        with np.errstate(divide="ignore"):
            rows = np.log(np.stack([setting.target(context) for context in contexts]))
        paths: list[Text] = [()]
        while paths:
            dice = Dice(paths.pop())
            verdict = setting.rule(rows, draft, EnumeratedSampler(dice))  # type: ignore[arg-type]
            paths += dice.others
            emitted = (*(draft.tokens[node] for node in draft.path(verdict)), verdict.token)
            found.append((emitted, drafted * dice.probability))
    return found


def _path(draft: Draft, node: int) -> Text:
    """The drafted tokens that lead to one, itself included."""
    parents = range(-1, node) if draft.parents is None else draft.parents
    return tuple(draft.tokens[each] for each in path_to(parents, node))


def expected_accepted(setting: Setting, text: Text = ()) -> float:
    """Mean number of accepted tokens of one round."""
    return sum((len(emitted) - 1) * p for emitted, p in rounds(setting, text))


def joint(setting: Setting, length: int, text: Text = ()) -> dict[Text, float]:
    """Distribution of the next `length` tokens, in as many rounds as that takes."""
    return _joint(setting, length, text[-(2 + len(text) % 2) :])  # all that tables look at


@cache
def _joint(setting: Setting, length: int, text: Text) -> dict[Text, float]:
    found: defaultdict[Text, float] = defaultdict(float)
    for emitted, probability in rounds(setting, text):
        part = emitted[:length]
        if len(part) == length or part[-1] == setting.end:
            found[part] += probability
            continue
        for rest, p in joint(setting, length - len(part), (*text, *part)).items():
            whole = (*part, *rest)
            found[whole] += probability * p
    return dict(found)


def joint_of_target(setting: Setting, length: int, text: Text = ()) -> dict[Text, float]:
    """The same by the target alone, token by token."""
    if length == 0 or text[-1:] == (setting.end,):
        return {(): 1.0}
    return {
        (token, *rest): float(probability * p)
        for token, probability in enumerate(setting.target(text))
        if probability > 0
        for rest, p in joint_of_target(setting, length - 1, (*text, token)).items()
    }
