"""Which layers of a target draft best for it: looked for by measuring, within a time.

Subsets are judged in the loaded model, whose other layers are silenced (`llama/taps.py`); no file
is written for that. Where to begin is told by how much a layer turns what passes through it, the
block influence of ShortGPT (arXiv 2403.03853). Then single layers are left out or taken back in, as
long as that is expected to be faster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from statistics import fmean, median
from time import perf_counter

from spec_local.gguf.layer_keys import layer_count
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.llama.taps import LayerTaps
from spec_local.models.layers import Layers
from spec_local.models.loading import in_target_tokens, require_draft
from spec_local.models.own_answers import Answer, agreement, short_prompts, write_answers
from spec_local.util.progress import Progress

_CONTEXT = 1024
"""Tokens of context: of a prompt and its answer, and of what is timed."""
_PROMPTS, _TOKENS = 6, 40
"""Answers that subsets are chosen by, and tokens of each; as many others judge the one chosen."""
_WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 12, 16)
"""Tokens evaluated at once that are timed; all but one of them are drafted ones."""
_TEXT = (
    "The quick brown fox jumps over the lazy dog while 42 owls watch from the old oak tree. " * 8
)
_FILLED, _PASSES, _TURNS = 64, 6, 3
_SHARES = (7 / 8, 3 / 4, 1 / 2, 1 / 4)
"""Of the layers, kept in the subsets that are tried first."""


@dataclass(frozen=True, slots=True)
class Earns:
    """What a draft earns."""

    agreement: float
    """Share of the target's own tokens that it would have drafted."""
    milliseconds: float
    """Of one token."""
    speedup: float
    """Expected of the best number of drafted tokens, over plain decoding."""
    k: int
    """That number."""

    @property
    def per_millisecond(self) -> float:
        """Agreement for each millisecond."""
        return self.agreement / self.milliseconds


@dataclass(frozen=True, slots=True)
class Tried:
    """A subset of the layers."""

    kept: Layers
    earns: Earns


def expected_speedup(
    agreement: float, milliseconds: float, verify: Mapping[int, float]
) -> tuple[float, int]:
    """The most over all k of (1 - a^(k+1)) / ((1 - a) (V(k+1) + k c)), and that k.

    a: the agreement, as if each drafted token were right with that chance. c, V(w): what a token of
    the draft, and w of the target at once, take in tokens of plain decoding; `verify` has the
    target's milliseconds by width. Theorem 3.8 of Leviathan et al. (arXiv 2211.17192), where
    verifying several tokens takes as long as one.
    """
    found = []
    for width, seconds in verify.items():
        k = width - 1
        tokens = sum(agreement**i for i in range(width))  # (1 - a^(k+1)) / (1 - a)
        found.append((tokens * verify[1] / (seconds + k * milliseconds), k))
    return max((speedup, k) for speedup, k in found if k)


class LayerSearch:
    """Knows a target's answers and costs, and tries subsets of its layers; a context manager."""

    def __init__(
        self, target: Path, source: Path, progress: Progress, beside: Sequence[Path] = ()
    ) -> None:
        """Writes the answers and times the target, which takes a part of a minute or more.

        source: the file whose layers are tried: the target's, or that quantized once more. beside:
        drafts that will be judged. Raises VocabularyMismatch if one of them cannot draft for the
        target, other SpecLocalErrors for models that cannot be used.
        """
        self._progress = progress
        options = LoadOptions(n_ctx=_CONTEXT)
        with ExitStack() as stack:
            model = stack.enter_context(Model(target, options, progress))
            for path in beside:
                with Model(path, progress=progress, vocab_only=True) as draft:
                    require_draft(model, draft, all_tokens=True)
            self._target = stack.enter_context(Session(model, max_rows=_TOKENS))
            # The machine's speed may change meanwhile: everything is timed at several moments.
            rounds = [_milliseconds(self._target, _WIDTHS)]
            prompts = short_prompts(model, 2 * _PROMPTS)
            share = partial(progress, f"ask {target.stem}")
            is_end = model.vocab.is_end
            answers = write_answers(self._target, prompts, _TOKENS, is_end, share)
            self._choosing, self._judging = answers[::2], answers[1::2]
            rounds.append(_milliseconds(self._target, _WIDTHS))

            if source != target:
                model = stack.enter_context(Model(source, options, progress))
            self.layers = layer_count(model.header)
            with Session(model) as plain:
                one_token = self._cost(plain)
            width = model.header.hyperparameter("embedding_length")
            model.taps = self._taps = LayerTaps(width)
            self._silenced = stack.enter_context(Session(model, max_rows=_TOKENS))
            self._costs = self._layer_costs(one_token)
            self._rest = max(0.0, one_token - sum(self._costs))
            passed = self._taps.measure()
            self._agreement(range(self.layers), self._choosing)
            self.influence = [fmean(passed.turned[layer]) for layer in range(self.layers)]
            """How much each layer turns what passes through it."""
            rounds.append(_milliseconds(self._target, _WIDTHS))
            self.verify = _joined(rounds)
            """What evaluating so many tokens at once takes the target, in milliseconds."""
            self._stack = stack.pop_all()

    def _cost(self, session: Session) -> float:
        """What one token takes, in tokens of the target, with which it is timed in turn."""
        return median(
            _milliseconds(session, (1,))[1] / _milliseconds(self._target, (1,))[1]
            for _ in range(_TURNS)
        )

    def _layer_costs(self, one_token: float) -> list[float]:
        """What each layer takes of a token, which takes `one_token` in all; both as `_cost` has it.

        Being seen takes a layer some time as well, which is left out.
        """
        passed = self._taps.measure()
        seen = _milliseconds(self._silenced, (1,))[1]
        self._taps.check()
        scale = one_token / (1e-3 * seen)
        return [scale * median(passed.seconds[layer][1:]) for layer in range(self.layers)]

    def run(self, seconds: float) -> Iterator[Tried]:
        """Subsets as they are tried, until the time is over or no step is better; one at least."""
        tried: dict[Layers, float] = {}
        started = perf_counter()
        for kept in self._subsets(tried):
            earns = self._earns(
                self._agreement(kept, self._choosing),
                self._rest + sum(self._costs[layer] for layer in kept),
            )
            tried[kept] = earns.speedup
            yield Tried(kept, earns)
            spent = perf_counter() - started
            if spent >= seconds:
                return
            self._progress("search the layers", spent / seconds)

    def _subsets(self, tried: Mapping[Layers, float]) -> Iterator[Layers]:
        """What to try next, each once: sizes first, then steps from the best so far."""
        for kept in self._first():
            if kept not in tried:
                yield kept
        while fresh := [each for each in self._steps(_best(tried)) if each not in tried]:
            best = _best(tried)
            for kept in fresh:
                yield kept
                if _best(tried) != best:
                    break

    def _first(self) -> Iterator[Layers]:
        """Of each size the layers with most influence, and those of early exit.

        The first layer is always kept: it turns what comes from the embedding by far the most.
        """
        others = sorted(range(1, self.layers), key=lambda layer: -self.influence[layer])
        ranked = [0, *others]
        sizes = [self.layers - 1, *(round(share * self.layers) for share in _SHARES), 1]
        for size in dict.fromkeys(size for size in sizes if 0 < size < self.layers):
            yield tuple(sorted(ranked[:size]))
            yield tuple(range(size))

    def _steps(self, kept: Layers) -> list[Layers]:
        """One layer fewer or more: first without what has least influence, with what has most."""
        ranked = sorted(range(1, self.layers), key=lambda layer: self.influence[layer])
        fewer = [tuple(i for i in kept if i != layer) for layer in ranked if layer in kept]
        more = [tuple(sorted({*kept, layer})) for layer in ranked[::-1] if layer not in kept]
        mixed = [step for pair in zip_longest(fewer, more) for step in pair if step]
        return [step for step in mixed if len(step) < self.layers]

    def judge(self, draft: Path) -> Earns:
        """What a draft earns on answers that nothing was chosen by; its file is loaded."""
        with (
            Model(draft, LoadOptions(n_ctx=_CONTEXT), self._progress) as model,
            Session(model, max_rows=_TOKENS) as session,
        ):
            self._progress(f"judge {draft.stem}", 0.0)
            own = in_target_tokens(session, self._target)
            right = agreement(own, self._judging, self._target.n_vocab)
            return self._earns(right, self._cost(session))

    def _agreement(self, kept: Collection[int], answers: Sequence[Answer]) -> float:
        self._taps.silence(set(range(self.layers)) - set(kept))
        found = agreement(self._silenced, answers, self._target.n_vocab)
        self._taps.check()
        return found

    def _earns(self, right: float, cost: float) -> Earns:
        milliseconds = cost * self.verify[1]
        return Earns(right, milliseconds, *expected_speedup(right, milliseconds, self.verify))

    def close(self) -> None:
        """Free the models."""
        self._stack.close()

    def __enter__(self) -> LayerSearch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _best(tried: Mapping[Layers, float]) -> Layers:
    return max(tried, key=lambda kept: tried[kept])


def _milliseconds(session: Session, widths: Sequence[int]) -> dict[int, float]:
    """What so many tokens at once take; the widths are gone through again and again."""
    tokens = session.model.vocab.tokenize(_TEXT, add_special=False, parse_special=False)
    times: dict[int, list[float]] = {width: [] for width in widths}
    session.truncate(0)
    session.evaluate(tokens[:_FILLED])
    session.mark(max(widths))
    for width in [*widths] * _PASSES:
        started = perf_counter()
        session.evaluate(tokens[:width], rows=width)
        times[width].append(perf_counter() - started)
        session.truncate(_FILLED)
    # The first evaluation of a width also makes its compute graph.
    return {width: 1e3 * median(seconds[1:]) for width, seconds in times.items()}


def _joined(rounds: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Of rounds at several moments what a width usually takes, in single tokens of its round."""
    one = median(each[1] for each in rounds)
    return {width: one * median(each[width] / each[1] for each in rounds) for width in rounds[0]}
