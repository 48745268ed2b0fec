"""Is the text the same with a drafter? Counts identical outputs and explains the others. JSON.

    python scripts/identity.py --drafter lookup --drafter model -k 3

Outside of exact mode a verified row may differ in its last bits from the row that one token at a
time gives, and where two tokens are nearly tied that decides. For every output that differs this
prints the position and the margin there: by how much the plain draw won over the other token, in
logits over temperature plus noise (plain logits at temperature 0).
"""

import argparse
import json
from pathlib import Path

import numpy as np

from spec_local import Runner, Sampling
from spec_local.llama.session import Session
from spec_local.noise import keyed_gumbel

PROMPTS = Path(__file__).with_name("prompts.jsonl")


def main() -> None:
    arguments = parse()
    prompts = [json.loads(line) for line in PROMPTS.read_text().splitlines()]
    with Runner.load(target=arguments.target, draft=arguments.draft, drafter="model") as opened:
        target, draft = opened.target, opened.draft
        plain = Runner(target, "none")
        drafted = {
            name: Runner(target, name, draft=draft, k=arguments.k) for name in arguments.drafter
        }
        for temperature in arguments.temperature:
            sampling = Sampling(temperature=temperature, seed=arguments.seed)
            identical = dict.fromkeys(drafted, 0)
            for number, prompt in enumerate(prompts):
                messages = [{"role": "user", "content": prompt["prompt"]}]
                how = {"max_tokens": arguments.tokens, "sampling": sampling}
                context = plain.tokenize(messages)
                target.truncate(0)  # so that every run evaluates the prompt in the same batches
                expected = plain.complete(context, **how).tokens
                for name, runner in drafted.items():
                    target.truncate(0)
                    done = runner.complete(context, **how)
                    if done.tokens == expected:
                        identical[name] += 1
                        continue
                    found = first_difference(target, context, expected, done.tokens, sampling)
                    where = {"drafter": name, "temperature": temperature, "prompt": number}
                    print(json.dumps({**where, **found}), flush=True)
            counts = {name: f"{count}/{len(prompts)}" for name, count in identical.items()}
            print(json.dumps({"temperature": temperature, "identical": counts}), flush=True)


def first_difference(
    target: Session,
    prompt: list[int],
    expected: tuple[int, ...],
    found: tuple[int, ...],
    sampling: Sampling,
) -> dict[str, object]:
    """Where two outputs part, and how close the decision was when evaluated token by token."""
    at = next(i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b)
    context = [*prompt, *expected[:at]]
    target.truncate(0)
    row = target.evaluate(prompt)[-1]
    for token in expected[:at]:
        row = target.evaluate([token])[-1]
    pair = np.array([expected[at], found[at]], np.int32)
    scores = row[pair].astype(float)
    if sampling.temperature > 0:
        scores = scores / sampling.temperature + keyed_gumbel(sampling.seed, len(context), pair)
    return {"position": at, "margin": round(float(scores[0] - scores[1]), 4)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="qwen2.5-coder-1.5b", help="name or .gguf file")
    parser.add_argument("--draft", default="qwen2.5-coder-0.5b", help="name or .gguf file")
    parser.add_argument("--drafter", action="append", required=True)
    parser.add_argument("-k", type=int, default=3)
    parser.add_argument("--temperature", action="append", type=float, required=True)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
