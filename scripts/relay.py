"""Would it pay if one drafter's draft went on with the other's? Recorded answers, priced.

    python scripts/relay.py TARGET docs/controller/answers.json docs/benchmarks/Q8_0.json

Each answer is written under three sets of drafts, at the costs that a benchmark measured: those of
lookup and the draft model alone; also lookup's with the model's behind them; also the model's with
lookup's behind them. `bound` is the least expected time of all plans that know every confidence
beforehand. `greedy` takes the draft of the greatest gain in every round, as the controller does,
and is priced by what was really right. Both are speed-ups over plain decoding, geometric means.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any, cast

from spec_local.bench.hindsight.looking import AnyToken, look
from spec_local.bench.hindsight.replay import calibrated
from spec_local.bench.record.result import Result
from spec_local.control.costs import MAX_WIDTH
from spec_local.llama.model import Model
from spec_local.llama.template import ChatTemplate
from spec_local.models.download import pulled
from spec_local.models.registry import load_registry
from spec_local.prompt import rendered_tokens
from spec_local.sampling.types import Sampler
from spec_local.util.progress import no_progress
from spec_local.workloads.workloads import bundled, choose

SHORTEST = 60
"""Answers of fewer tokens say little about the rounds between their first and their last."""
CATCH_UP = 0.05
"""What the draft model takes for a token that it reads, in tokens that it drafts."""
RELAYS = ("none", "lookup, model", "model, lookup")

Piece = list[tuple[float, float]]
"""By drafted token, its chance of being accepted and what drafting it costs, in plain tokens."""


@dataclass(frozen=True)
class Answer:
    """One answer, as both drafters see it from every position."""

    looked: list[list[float]]
    looked_right: list[int]
    drawn: list[float]
    drawn_right: list[bool]

    def accepted(self, position: int, model: int, lookup: int, model_first: bool) -> int:
        """Accepted tokens of a draft of so many tokens of each."""
        if model_first:
            right = self._model(position, model)
            whole = right == model and lookup > 0
            return right + (min(lookup, self.looked_right[position + model]) if whole else 0)
        right = min(lookup, self.looked_right[position])
        return right + (self._model(position + right, model) if right == lookup else 0)

    def _model(self, position: int, most: int) -> int:
        run = self.drawn_right[position : position + most]
        return next((i for i, right in enumerate(run) if not right), len(run))


@dataclass(frozen=True)
class Costs:
    """In plain tokens: evaluating w tokens at once, and drafting one."""

    verify: Sequence[float]
    draft: float


def drafts(
    answer: Answer, position: int, costs: Costs, relay: str
) -> Iterator[tuple[Piece, int, bool]]:
    """Every draft from a position, with where its second drafter begins and whether the model was
    the first; each may be cut anywhere."""
    room = min(MAX_WIDTH - 1, len(answer.drawn) - position)
    lookup = [(rate, 0.0) for rate in answer.looked[position][:room]]
    model = [(rate, costs.draft) for rate in answer.drawn[position : position + room]]
    yield lookup, len(lookup), False
    yield model, len(model), True
    if relay == "lookup, model":
        for first in range(1, min(len(lookup) + 1, room)):
            rate, price = model[first]
            read = (rate, price * (1 + CATCH_UP * first))
            yield [*lookup[:first], read, *model[first + 1 :]], first, False
    if relay == "model, lookup":
        for first in range(1, room):
            rest = [(rate, 0.0) for rate in answer.looked[position + first][: room - first]]
            if rest:
                yield [*model[:first], *rest], first, True


def bound(answer: Answer, costs: Costs, relay: str) -> float:
    """The least expected time, by dynamic programming from the end."""
    length = len(answer.drawn)
    rest = [0.0] * (length + MAX_WIDTH + 1)
    for position in range(length - 1, -1, -1):
        best = 1.0 + rest[position + 1]
        for draft, _first, _model_first in drafts(answer, position, costs, relay):
            survival, after, price = 1.0, 0.0, 0.0
            for k, (rate, step) in enumerate(draft, start=1):
                after += survival * (1.0 - rate) * rest[position + k]
                survival *= rate
                price += step
                time = costs.verify[k + 1] + price + after + survival * rest[position + k + 1]
                best = min(best, time)
        rest[position] = best
    return rest[0]


def greedy(answer: Answer, costs: Costs, relay: str, rate: float) -> float:
    """The time if every round takes the greatest gain at that rate of tokens a plain token."""
    position, time = 0, 0.0
    while position < len(answer.drawn):
        gain, spent, accepted = 0.0, 1.0, 0
        for draft, first, model_first in drafts(answer, position, costs, relay):
            survival, expected, price = 1.0, 0.0, 0.0
            for k, (chance, step) in enumerate(draft, start=1):
                survival *= chance
                expected += survival
                price += step
                cost = costs.verify[k + 1] + price
                if expected - rate * (cost - 1.0) > gain:
                    gain, spent = expected - rate * (cost - 1.0), cost
                    one, other = min(k, first), max(0, k - first)
                    model, lookup = (one, other) if model_first else (other, one)
                    accepted = answer.accepted(position, model, lookup, model_first)
        position += accepted + 1
        time += spent
    return time


def speedups(answers: Sequence[Answer], costs: Costs, relay: str) -> dict[str, float]:
    """Both figures; the rate that greedy works at is the one that it reaches."""
    lengths = [len(answer.drawn) for answer in answers]
    rate, times = 1.5, [0.0]
    for _ in range(4):
        times = [greedy(answer, costs, relay, max(1.0, rate)) for answer in answers]
        rate = sum(lengths) / sum(times)
    least = [bound(answer, costs, relay) for answer in answers]
    return {
        name: round(geometric_mean(n / t for n, t in zip(lengths, found, strict=True)), 3)
        for name, found in (("bound", least), ("greedy", times))
    }


def read_answers(target: Model, record: list[dict[str, Any]]) -> list[Answer]:
    """The recorded answers, looked up anew; confidences become rates as over all of them."""
    template = ChatTemplate(target)
    prompts = {
        prompt.workload: template.render([{"role": "user", "content": prompt.turns[0]}])
        for prompt in choose(bundled(), [], 1)
    }
    looked = [
        look(
            rendered_tokens(prompts[each["workload"]], target.vocab),
            each["tokens"],
            cast(Sampler, AnyToken()),
        )
        for each in record
    ]
    of_lookup = calibrated((sure, right) for text in looked for right, sure in text)
    of_model = calibrated(((c,), int(right)) for each in record for right, c in each["drawn"])
    return [
        Answer(
            [[of_lookup(c) for c in sure] for _right, sure in text],
            [right for right, _sure in text],
            [of_model(c) for _right, c in each["drawn"]],
            [bool(right) for right, _c in each["drawn"]],
        )
        for text, each in zip(looked, record, strict=True)
        if len(text) >= SHORTEST
    ]


def main() -> None:
    """Price them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help="a model's name or a .gguf file")
    parser.add_argument("answers", type=Path, help="the record of scripts/fit_constants.py")
    parser.add_argument("benchmarks", type=Path, nargs="+", help="results of spec-local bench")
    arguments = parser.parse_args()
    record = json.loads(arguments.answers.read_text())["answers"]
    with Model(pulled(arguments.target, load_registry(), no_progress), vocab_only=True) as target:
        answers = read_answers(target, record)
    found = {}
    for path in arguments.benchmarks:
        curves = Result.load(path).curves
        plain = curves["target"]["1"]
        verify = [0.0, *(curves["target"][str(w)] / plain for w in range(1, MAX_WIDTH + 1))]
        costs = Costs(verify, curves["draft"]["1"] / plain)
        found[path.stem] = {relay: speedups(answers, costs, relay) for relay in RELAYS}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
