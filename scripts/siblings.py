"""Where in a draft model's order the target's token stands, and how sure to be of each sibling.

    python -m scripts.siblings TARGET DRAFT --json docs/drafters/siblings.json
    python -m scripts.siblings --show docs/drafters/siblings.json

The target answers the first prompt of each workload, at two temperatures; at every position of an
answer the draft model ranks tokens by log q + g, with the target's own noise g, or 0 at temperature
0. A power b makes of these scores z the confidences exp(b z) / Σ exp(b z); the best one is that
under which the target's tokens are likeliest. Tokens beyond the ranks kept count as 0.02.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spec_local import Runner, Sampling
from spec_local.llama.sampler_factory import SamplerFactory
from spec_local.models.loading import in_target_tokens
from spec_local.sampling.sampler import TokenSampler
from spec_local.sampling.types import Logits
from spec_local.workloads.workloads import bundled

RANKS = 6
TOKENS, SEED = 64, 5
TEMPERATURES = (0.0, 0.8)
POWERS = (0.7, 1.0, 1.5, 2.0, 3.0)
_ELSEWHERE = 0.02


def ranked(sampler: TokenSampler, row: Logits, greedy: bool) -> tuple[list[int], list[float]]:
    """The draft's first tokens and the logarithms of their confidences."""
    found = sampler.alternatives(row, RANKS)
    return [each.token for each in found], [float(np.log(each.confidence)) for each in found]


def positions(runner: Runner, messages: list[Any], sampling: Sampling) -> Iterator[dict[str, Any]]:
    """For every position of an answer the rank of its token, or -1, and the scores."""
    assert runner.draft is not None
    prompt = runner.tokenize(messages)
    answer = runner.complete(messages, max_tokens=TOKENS, sampling=sampling).tokens
    session = in_target_tokens(runner.draft, runner.target)
    session.truncate(0)
    factory = SamplerFactory(runner.target)
    sampler = factory.open(sampling, prompt)
    before: list[int] = list(prompt)
    for token in answer:
        row = session.evaluate(before)[-1]
        order, scores = ranked(sampler, row, sampling.greedy)
        rank = order.index(token) if token in order else -1
        yield {"rank": rank, "scores": [round(score, 3) for score in scores]}
        sampler.accept(token)
        before = [token]
    sampler.close()
    factory.close()


def measure(target: str, draft: str) -> dict[str, list[dict[str, Any]]]:
    """All positions, by temperature."""
    found: dict[str, list[dict[str, Any]]] = {f"{each:g}": [] for each in TEMPERATURES}
    with Runner.load(target=target, draft=draft, drafter="model") as runner:
        first = {prompt.workload: prompt for prompt in reversed(bundled())}
        for prompt in first.values():
            for temperature in TEMPERATURES:
                sampling = Sampling(temperature=temperature, seed=SEED)
                messages = [{"role": "user", "content": prompt.turns[0]}]
                found[f"{temperature:g}"] += positions(runner, messages, sampling)
    return found


def shares(found: list[dict[str, Any]]) -> list[float]:
    """How often the target's token has each rank."""
    return [sum(each["rank"] == rank for each in found) / len(found) for rank in range(RANKS)]


def likelihood(found: list[dict[str, Any]], power: float) -> float:
    """Mean logarithm of the confidence that the target's tokens were given."""
    logs = []
    for each in found:
        weights = np.exp(power * np.array(each["scores"]))
        weights *= (1 - _ELSEWHERE) / weights.sum()
        logs.append(np.log(weights[each["rank"]] if each["rank"] >= 0 else _ELSEWHERE))
    return float(np.mean(logs))


def table(data: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: the ranks, and which power is the best."""
    names = ["first", "second", "third", "fourth to sixth"]
    lines = [f"| temperature | positions | {' | '.join(names)} | best power |", "|---" * 7 + "|"]
    for temperature, found in data.items():
        each = shares(found)
        cells = [f"{share:.0%}" for share in (*each[:3], sum(each[3:]))]
        best = max(POWERS, key=lambda power: likelihood(found, power))
        lines.append(f"| {temperature} | {len(found)} | {' | '.join(cells)} | {best:g} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, or draw the table again from what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=Path)
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())))
        return
    data = measure(*options.models)
    options.json.write_text(json.dumps(data) + "\n")
    print(table(data))


if __name__ == "__main__":
    main()
