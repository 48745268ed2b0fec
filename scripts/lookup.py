"""What lookup is worth: in recorded answers, and in answers that are given again. As JSON.

    python scripts/lookup.py recorded TARGET docs/controller/answers.json
    python scripts/lookup.py again TARGET --tokens 100

`recorded` counts what lookup finds in recorded answers, where the record has what the lookup of
that time found. `again` lets a target answer every bundled prompt again: from its remembered
answer, with that answer predicted, and with the prompt changed.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from difflib import SequenceMatcher
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any, cast

from spec_local.bench.hindsight.looking import AnyToken, look, mean_accepted_length
from spec_local.drafters.library import Library
from spec_local.drafters.past_answers import PastAnswers
from spec_local.generation import Completion
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.llama.template import ChatTemplate
from spec_local.models.download import pulled
from spec_local.models.registry import PairSpec, load_registry
from spec_local.pair import open_pair
from spec_local.prompt import rendered_tokens
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Sampler
from spec_local.util.progress import no_progress
from spec_local.workloads.workloads import bundled, choose

KS = (3, 8, 32)
THANKS = " Thank you."
"""What changes a prompt."""


def contexts(target: Model) -> dict[str, list[int]]:
    """The first prompt of every workload."""
    template = ChatTemplate(target)
    return {
        prompt.workload: rendered_tokens(
            template.render([{"role": "user", "content": prompt.turns[0]}]), target.vocab
        )
        for prompt in choose(bundled(), [], 1)
    }


def recorded(target: Model, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean accepted length by k: of the drafts in the record, and of those made now."""
    prompts, any_token = contexts(target), cast(Sampler, AnyToken())
    found = {
        "before": [answer["looked"] for answer in answers],
        "now": [
            look(prompts[answer["workload"]], answer["tokens"], any_token) for answer in answers
        ],
    }
    rights = {
        when: [[right for right, _ in each] for each in texts] for when, texts in found.items()
    }
    return {
        when: {str(k): round(mean(mean_accepted_length(each, k) for each in texts), 3) for k in KS}
        for when, texts in rights.items()
    }


def figures(done: Completion) -> dict[str, float]:
    """What was drafted and accepted, and tokens a round."""
    stats = done.stats
    length = round(len(done.tokens) / stats.rounds, 2)
    return {"drafted": stats.drafted, "accepted": stats.accepted, "tokens a round": length}


def again(spec: PairSpec, tokens: int, k: int) -> Iterator[dict[str, Any]]:
    """Every bundled prompt's first turn, answered five times at two temperatures."""
    with open_pair(spec, ["lookup"]) as pair, Session(pair.target) as target:
        for prompt in choose(bundled(), [], 1):
            for temperature in (0.0, 0.8):
                sampling = Sampling(temperature=temperature, seed=1)
                said = prompt.turns[0]
                with TemporaryDirectory() as directory:
                    past = PastAnswers(Path(directory) / "answers", "target")

                    def answer(
                        text: str,
                        past: PastAnswers | None = None,
                        prediction: str | None = None,
                        sampling: Sampling = sampling,
                    ) -> Completion:
                        runner = Runner(target, "lookup", k=k, library=Library(past=past))
                        with closing(runner):
                            messages = [{"role": "user", "content": text}]
                            return runner.complete(
                                messages,
                                max_tokens=tokens,
                                sampling=sampling,
                                prediction=prediction,
                            )

                    first = answer(said, past)
                    repeated = answer(said, past)
                    predicted = answer(said, prediction=first.text)
                    changed = answer(said + THANKS)
                    helped = answer(said + THANKS, past)
                same = SequenceMatcher(None, first.tokens, changed.tokens, autojunk=False)
                yield {
                    "workload": prompt.workload,
                    "temperature": temperature,
                    "tokens": len(first.tokens),
                    "identical": first.tokens == repeated.tokens == predicted.tokens
                    and changed.tokens == helped.tokens,
                    "first": figures(first),
                    "given again": figures(repeated),
                    "predicted": figures(predicted),
                    "alike": round(same.ratio(), 2),
                    "changed, without": figures(changed),
                    "changed, remembered": figures(helped),
                }


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["recorded", "again"])
    parser.add_argument("target", help="a model's name or a .gguf file")
    parser.add_argument("answers", nargs="?", type=Path, help="for recorded: the record")
    parser.add_argument("--tokens", type=int, default=100, help="for again: of an answer")
    parser.add_argument("-k", type=int, default=8, help="for again: drafted per round")
    arguments = parser.parse_args()
    if arguments.what == "again":
        found: Any = []
        for cell in again(PairSpec(arguments.target), arguments.tokens, arguments.k):
            print(cell, file=sys.stderr)
            found.append(cell)
    else:
        path = pulled(arguments.target, load_registry(), no_progress)
        with Model(path, vocab_only=True) as target:
            found = recorded(target, json.loads(arguments.answers.read_text())["answers"])
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
