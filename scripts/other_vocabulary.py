"""What a draft with another vocabulary is worth, drafting in common tokens or in its own.

    python -m scripts.other_vocabulary --draft smollm2-135m --json docs/drafts/other-vocabulary.json
    python -m scripts.other_vocabulary --show docs/drafts/other-vocabulary.json

The target answers the first prompt of every bundled workload, 64 tokens, at temperature 0 and 0.8.
Under keyed verification these answers are the same whatever drafts. So every way of drafting is led
along them, round by round: what is drafted where the last round ended, and how much of that the
answer has. Where the text is *read again*, the draft's tokenizer divides all of it anew in every
round, going back where that changes tokens; else each token of the target's is read for itself. All
but the first draft are compared in the two ways that are in use.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

import numpy as np

from scripts.kept import measure_or_show
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.own_words import OwnWords
from spec_local.engine.draft import Outcome, Verdict
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.sampler_factory import SamplerFactory
from spec_local.llama.session import Session
from spec_local.models.loading import in_target_tokens, load_model
from spec_local.models.other_vocabulary import shared_vocabulary
from spec_local.models.registry import load_registry
from spec_local.models.retelling import Retelling
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits
from spec_local.util.prefix import common_prefix
from spec_local.util.progress import no_progress
from spec_local.workloads.workloads import bundled

K, TOKENS, TEMPERATURES = 3, 64, (0.0, 0.8)
WAYS = ("common", "own", "common, read again", "own, read again")
IN_USE = WAYS[:2]


class Found(NamedTuple):
    """One way, along one answer."""

    draft: str
    shared: float
    """Of the draft's tokens, how many the target has."""
    text: float
    """Of the target's tokens of the prompts, how many the draft has."""
    way: str
    temperature: float
    workload: str
    tokens: int
    """After the first one, which is always the target's own."""
    rounds: int
    drafted: int
    accepted: int
    steps: int
    """Evaluations of the draft model."""


class Answer(NamedTuple):
    """What the target wrote."""

    workload: str
    temperature: float
    context: list[int]
    tokens: tuple[int, ...]


class ReadAgain:
    """A session in the target's tokens that reads the text as the draft's tokenizer divides it."""

    def __init__(self, inner: Session, target: Model) -> None:
        """inner: of a draft whose `shared` is of this target."""
        shared = inner.model.shared
        assert shared is not None
        self.n_ctx, self.max_rows, self.branches = inner.n_ctx, inner.max_rows, 1
        self.n_vocab = target.vocab.n_tokens
        self.tokens: list[int] = []
        self.own_row: Logits = np.empty(0, np.float32)
        self._inner, self._spelled = inner, target.vocab.spelled
        self._columns = np.array(sorted(shared.to_target.items()))
        self._row = np.full((1, self.n_vocab), -np.inf, np.float32)

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        """One row."""
        self.tokens += tokens
        text = b"".join(map(self._spelled, self.tokens)).decode(errors="ignore")
        read = self._inner.model.vocab.tokenize(text, add_special=True, parse_special=True)
        self._inner.sync(read[:-1])
        self.own_row = self._inner.evaluate(read[len(self._inner.tokens) :])[-1]
        self._row[0, self._columns[:, 1]] = self.own_row[self._columns[:, 0]]
        return self._row

    def extend(self, token: int) -> Logits:
        """Evaluate a token of the draft's own."""
        self.own_row = self._inner.evaluate([token])[-1]
        return self.own_row

    def keep(self, path: Sequence[int]) -> None:
        """There is no tree."""

    def mark(self, depth: int) -> None:
        """Nothing: the draft's memory is no running state."""

    def truncate(self, length: int) -> None:
        """Forget tokens; the draft does when the text is read again."""
        del self.tokens[length:]

    def sync(self, tokens: Sequence[int]) -> int:
        """Keep the common prefix."""
        self.truncate(common_prefix(self.tokens, tokens))
        return len(self.tokens)


def drafter(way: str, draft: Session, target: Session) -> ModelDrafter:
    """Drafts that way."""
    mine, theirs, shared = target.model.vocab, draft.model.vocab, draft.model.shared
    assert shared is not None
    again = ReadAgain(draft, target.model)
    session = again if way.endswith("again") else in_target_tokens(draft, target)
    words = OwnWords(session, Retelling(mine, theirs, shared)) if way.startswith("own") else None  # type: ignore[arg-type]
    return ModelDrafter(session, mine.n_tokens, mine.is_end, words)


def answers(target: str) -> Iterator[Answer]:
    """What the target writes, with whatever drafts fastest."""
    with Runner.load(target=target, drafter="lookup", options=LoadOptions(n_ctx=1024)) as runner:
        for prompt in bundled():
            if prompt.number > 0:
                continue
            asked = [{"role": "user", "content": prompt.turns[0]}]
            for temperature in TEMPERATURES:
                sampling = Sampling(temperature=temperature)
                done = runner.complete(asked, max_tokens=TOKENS, sampling=sampling)
                context = runner.tokenize(asked)
                yield Answer(prompt.workload, temperature, context, tuple(done.tokens))


def led_along(
    answer: Answer, drafting: ModelDrafter, samplers: SamplerFactory
) -> tuple[int, int, int, int]:
    """Rounds, drafted and accepted tokens, and evaluations of the draft model."""
    rounds = drafted = accepted = steps = 0
    settings = Sampling(temperature=answer.temperature)
    with closing(samplers.open(settings, answer.context)) as sampler, closing(drafting):
        sampler.accept(answer.tokens[0])  # the first token is the target's own
        context, rest = [*answer.context, answer.tokens[0]], answer.tokens[1:]
        drafting.begin(context, sampler)
        while rest:
            draft = drafting.propose(context, min(K, len(rest)))
            right = common_prefix(draft.tokens, rest)
            new, rest = rest[: right + 1], rest[right + 1 :]
            for token in new:
                sampler.accept(token)
            context.extend(new)
            verdict = Verdict(right, new[-1])
            drafting.observe(context, Outcome(draft, verdict, np.empty((0, 0), np.float32)))
            rounds, steps = rounds + 1, steps + len(draft.steps)
            drafted, accepted = drafted + len(draft.tokens), accepted + right
    return rounds, drafted, accepted, steps


def measure(how: argparse.Namespace) -> Iterator[Found]:
    """Every draft in every way."""
    written, registry = [*answers(how.target)], load_registry()
    with ExitStack() as opened:
        small = LoadOptions(n_ctx=256)  # it evaluates nothing
        target = opened.enter_context(load_model(how.target, registry, small, no_progress))
        mine = opened.enter_context(Session(target))
        samplers = opened.enter_context(closing(SamplerFactory(mine)))
        for number, name in enumerate(how.draft):
            with load_model(name, registry, LoadOptions(n_ctx=4096), no_progress) as model:
                model.shared = shared_vocabulary(target.vocab, model.vocab)
                model.token_map = None  # a trimmed one has another vocabulary, too
                assert model.shared is not None
                shares = (model.shared.share_of_draft, model.shared.share_of_text)
                for way in WAYS if number == 0 else IN_USE:
                    with Session(model) as draft:
                        for answer in written:
                            draft.truncate(0)
                            done = led_along(answer, drafter(way, draft, mine), samplers)
                            length = len(answer.tokens) - 1
                            yield Found(
                                model.path.stem,
                                *shares,
                                way,
                                answer.temperature,
                                answer.workload,
                                length,
                                *done,
                            )


class Sum(NamedTuple):
    """Several answers together."""

    rate: float
    """Acceptance rate."""
    length: float
    """Mean accepted length."""
    steps: float
    """Evaluations of the draft model in a round."""


def add_up(found: Sequence[Found]) -> Sum:
    """Of all together."""
    rounds = sum(each.rounds for each in found)
    rate = sum(each.accepted for each in found) / sum(each.drafted for each in found)
    return Sum(
        rate,
        sum(each.tokens for each in found) / rounds,
        sum(each.steps for each in found) / rounds,
    )


def table(found: Sequence[Found]) -> list[str]:
    """Markdown: every draft and way, then the first draft's workloads in the ways in use."""
    lines = [
        "| draft | its tokens that the target has | of text | drafts in | temperature 0 | 0.8 |",
        "|---|---|---|---|---|---|",
    ]
    for draft, way in dict.fromkeys((each.draft, each.way) for each in found):
        mine = [each for each in found if (each.draft, each.way) == (draft, way)]
        cells = [f"{mine[0].shared:.1%}", f"{mine[0].text:.1%}", way]
        for temperature in TEMPERATURES:
            done = add_up([each for each in mine if each.temperature == temperature])
            cells.append(f"{done.rate:.3f}, {done.length:.2f} with {done.steps:.2f}")
        lines.append(f"| {' | '.join([draft, *cells])} |")
    lines += ["", "| workload | " + " | ".join(map(str, IN_USE)) + " |", "|---|---|---|"]
    for workload in dict.fromkeys(each.workload for each in found):
        cells = [workload]
        for way in IN_USE:
            key = (found[0].draft, way, workload)
            done = add_up([each for each in found if (each.draft, each.way, each.workload) == key])
            cells.append(f"{done.rate:.2f}, {done.length:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Measure, or show what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="qwen2.5-coder-1.5b", help="name or .gguf file")
    parser.add_argument("--draft", action="append", help="name or .gguf file; repeatable")
    measure_or_show(parser, Found, measure, table)


if __name__ == "__main__":
    main()
