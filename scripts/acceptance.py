"""How many drafted tokens each verification rule accepts, on real prompts. One JSON line a cell.

    python scripts/acceptance.py --temperature 0.3 --temperature 0.7 --temperature 1

Beside the three rules two other ways of drafting are measured, both judged by the keyed rule:
`greedy` takes the draft model's most probable tokens, as llama.cpp's speculative decoding does, and
`unpenalized` drafts without the target's penalties.

Texts differ from rule to rule, and with them how predictable they are. `expected` compares without
that noise: along one text, at the same positions and for the same drafts, the probabilities of
acceptance that each rule's formula gives.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast
from unittest.mock import patch

import numpy as np

from spec_local import Runner, Sampling
from spec_local.drafters.model import ModelDrafter
from spec_local.engine.draft import Draft, Verdict
from spec_local.engine.speculate import FixedK
from spec_local.engine.verify import (
    VERIFIERS,
    acceptance,
    keep_probability,
    rejection,
    weigh_prefixes,
)
from spec_local.llama.sampler_factory import SamplerFactory
from spec_local.llama.session import Session
from spec_local.sampling.distribution import Distribution, on_common_support
from spec_local.sampling.sampler import TokenSampler
from spec_local.sampling.types import Logits, Sampler
from spec_local.workloads.workloads import bundled

RULES = ("keyed", "rejection", "block")


class OtherDraws(ModelDrafter):
    """Drafts by other settings than the target's."""

    def __init__(self, session: Session, target: Session, **changes: Any) -> None:
        super().__init__(session, target.n_vocab, target.model.vocab.is_end)
        self._sampler_factory = SamplerFactory(target)
        self._changes = changes

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        """As `ModelDrafter.begin`, with a sampler of the other settings."""
        super().begin(context, sampler)
        settings = replace(sampler._sampling, **self._changes)  # type: ignore[attr-defined]
        self._sampler = cast(Sampler, OtherSampler(self._sampler_factory, settings, context))


class OtherSampler:
    """Opens a new sampler at the end of the context whenever it is told to follow."""

    def __init__(
        self, samplers: SamplerFactory, settings: Sampling, context: Sequence[int]
    ) -> None:
        self._open: Callable[[], TokenSampler] = lambda: samplers.open(settings, context)
        self._inner = self._open()
        self.propose = self._inner.propose

    def follow(self, _other: Sampler) -> None:
        """Open anew at the end of the context."""
        self.close()
        self._inner = self._open()
        self.propose = self._inner.propose

    def close(self) -> None:
        """Free the sampler."""
        self._inner.close()


class Expected:
    """The rejection rule, noting what each rule would have made of the same draft."""

    def __init__(self) -> None:
        self.of_token: list[tuple[float, float, float]] = []
        """At every judged position, the acceptance of one token: rejection, keyed, greedy."""
        self.of_draft: list[tuple[float, float]] = []
        """For every whole draft, accepted tokens: rejection, block."""

    def __call__(self, rows: Logits, draft: Draft, sampler: Sampler) -> Verdict:
        """Judge like `rejection`."""
        if draft.judged:
            weights, targets = weigh_prefixes(rows, draft, sampler)
            self._note_draft(draft, weights, targets)
        verdict = rejection(rows, draft, sampler)
        for i in range(min(verdict.accepted + 1, len(draft.judged))):
            _ids, p, q = on_common_support(targets[i], draft.distribution(i))
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = np.fmax(p[None] / p[:, None], q[None] / q[:, None]).sum(axis=1)
            keyed = float((1 / ratios[np.isfinite(ratios)]).sum())
            self.of_token.append((float(np.minimum(p, q).sum()), keyed, float(p[q.argmax()])))
        return verdict

    def _note_draft(self, draft: Draft, weights: list[float], targets: list[Distribution]) -> None:
        by_rejection, reached, none_longer = 0.0, 1.0, 1.0
        for i, token in enumerate(draft.judged[: len(targets)]):
            reached *= acceptance(targets[i], draft.distribution(i), token)
            by_rejection += reached
        by_block = 0.0
        for length in range(len(weights) - 1, 0, -1):
            none_longer *= 1 - keep_probability(weights, targets, draft, length)
            by_block += 1 - none_longer
        self.of_draft.append((by_rejection, by_block))

    def summary(self) -> dict[str, object]:
        """Means over positions and drafts, ready for JSON."""
        token, draft = np.mean(self.of_token, axis=0), np.mean(self.of_draft, axis=0)
        names = ("rejection", "keyed", "greedy")
        return {
            "positions": len(self.of_token),
            "acceptance_of_one_token": dict(zip(names, token.round(4).tolist(), strict=True)),
            "drafts": len(self.of_draft),
            "accepted_of_a_draft": dict(
                zip(("rejection", "block"), draft.round(4).tolist(), strict=True)
            ),
        }


def main() -> None:
    """Measure and print."""
    arguments = parse()
    prompts = [prompt.turns[0] for prompt in bundled()]
    with Runner.load(
        target=arguments.target, draft=arguments.draft, drafter="model", k=arguments.k
    ) as runner:
        target, draft, own = runner.target, runner.draft, runner.speculator
        assert draft is not None
        others = {
            "greedy": {"temperature": 0.0, "repeat_penalty": 1.0, "xtc_probability": 0.0},
            "unpenalized": {"repeat_penalty": 1.0},
        }
        speculators = {
            way: FixedK(OtherDraws(draft, target, **changes), arguments.k)
            for way, changes in others.items()
        }
        for temperature in arguments.temperature:
            for way in arguments.way:
                sampling = Sampling(
                    temperature=temperature,
                    top_k=0,
                    top_p=0.95,
                    min_p=0.0,
                    repeat_penalty=arguments.repeat_penalty,
                    acceptance=way
                    if way in RULES
                    else "rejection"
                    if way == "expected"
                    else "keyed",
                )
                runner.speculator = speculators.get(way, own)
                expected = Expected()
                noting = {"rejection": expected} if way == "expected" else {}
                with patch.dict(VERIFIERS, noting):
                    found = measure(runner, prompts, sampling, arguments.tokens, arguments.length)
                    runs = list(found)
                where = {"way": way, "temperature": temperature, "k": arguments.k}
                where["repeat_penalty"] = arguments.repeat_penalty
                figures = expected.summary() if way == "expected" else add_up(runs)
                print(json.dumps({**where, **figures}), flush=True)


def measure(
    runner: Runner, prompts: Sequence[str], sampling: Sampling, tokens: int, length: int
) -> Iterator[Any]:
    """Statistics of generations over all prompts, with new seeds until there are enough tokens."""
    done, seed = 0, 0
    while done < tokens:
        for prompt in prompts:
            messages = [{"role": "user", "content": prompt}]
            setting = replace(sampling, seed=seed)
            stats = runner.complete(messages, max_tokens=length, sampling=setting).stats
            done += stats.tokens
            yield stats
        seed += 1


def add_up(runs: list[Any]) -> dict[str, object]:
    """Counts and rates of many generations, ready for JSON."""
    drafted, accepted = sum(s.drafted for s in runs), sum(s.accepted for s in runs)
    rounds, tokens = sum(s.rounds - 1 for s in runs), sum(s.tokens - 1 for s in runs)
    return {
        "tokens": tokens,
        "drafted": drafted,
        "acceptance_rate": round(accepted / drafted, 4),
        "mean_accepted_length": round(tokens / rounds, 4),
    }


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="qwen2.5-coder-1.5b", help="name or .gguf file")
    parser.add_argument("--draft", default="qwen2.5-coder-0.5b", help="name or .gguf file")
    parser.add_argument("-k", type=int, default=3)
    parser.add_argument("--temperature", action="append", type=float, required=True)
    parser.add_argument(
        "--way", action="append", choices=[*RULES, "greedy", "unpenalized", "expected"]
    )
    parser.add_argument("--repeat-penalty", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=2000, help="at least so many per cell")
    parser.add_argument("--length", type=int, default=128, help="at most so many per text")
    arguments = parser.parse_args()
    arguments.way = arguments.way or [*RULES, "greedy"]
    return arguments


if __name__ == "__main__":
    main()
