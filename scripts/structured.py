"""Structured output on real prompts: does it validate, is it the same drafted, what does it cost?

    python scripts/structured.py --drafter lookup --drafter model -k 2

Every schema is answered under several seeds, plainly and with each drafter. The answers of the
first seeds are generated again without their grammar, to as many tokens: the ratio is of
milliseconds per round, without and with, so that a different text does not matter. JSON.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import jsonschema

from spec_local import Runner, Sampling
from spec_local.generation import Completion

SCHEMAS = Path(__file__).with_name("schemas.jsonl")


def main() -> None:
    """Measure and print."""
    arguments = parse()
    cases = [json.loads(line) for line in SCHEMAS.read_text().splitlines()]
    with Runner.load(target=arguments.target, draft=arguments.draft, drafter="model") as opened:
        target, draft = opened.target, opened.draft
        runners = {
            name: Runner(target, name, draft=draft, k=arguments.k)
            for name in dict.fromkeys(["none", *arguments.drafter])
        }
        valid, answers, identical = 0, 0, dict.fromkeys(arguments.drafter, 0)
        ratios: dict[str, list[float]] = {name: [] for name in runners}
        for seed in range(arguments.seeds):
            temperature = 0.0 if seed == 0 else arguments.temperature
            for case in cases:
                structured = Sampling(
                    temperature=temperature, seed=seed, json_schema=json.dumps(case["schema"])
                )
                texts = {}
                for name, runner in runners.items():
                    prompt = runner.tokenize([{"role": "user", "content": case["prompt"]}])
                    forget(runner)
                    answer = runner.complete(
                        prompt, max_tokens=arguments.tokens, sampling=structured
                    )
                    texts[name] = answer.text
                    if seed < arguments.timed_seeds:
                        ratios[name].append(speed_ratio(runner, prompt, answer, structured))
                answers += 1
                valid += validates(texts["none"], case["schema"])
                for name in identical:
                    identical[name] += texts[name] == texts["none"]
            print(json.dumps({"answers": answers, "valid": valid, "identical": identical}))
        for name, found in ratios.items():
            deciles = [round(ratio, 4) for ratio in statistics.quantiles(found, n=10)]
            spread = {"10%": deciles[0], "median": deciles[4], "90%": deciles[8]}
            print(json.dumps({"drafter": name, "speed_with_to_without_grammar": spread}))


def speed_ratio(
    runner: Runner, prompt: list[int], answer: Completion, structured: Sampling
) -> float:
    """Speed of the structured answer's rounds relative to those without a grammar."""
    free = replace(structured, json_schema=None)
    forget(runner)
    other = runner.complete(prompt, max_tokens=answer.stats.tokens, sampling=free)
    return seconds_per_round(other) / seconds_per_round(answer)


def forget(runner: Runner) -> None:
    """Empty the caches, so that every run evaluates the prompt, on target and draft, alike."""
    for session in filter(None, (runner.target, runner.draft)):
        session.truncate(0)


def seconds_per_round(done: Completion) -> float:
    """Seconds per round after the prompt."""
    return done.stats.decode_seconds / max(1, done.stats.rounds - 1)


def validates(text: str, schema: dict[str, object]) -> bool:
    """Whether the text is JSON that the schema accepts; prints why not."""
    try:
        jsonschema.validate(json.loads(text), schema)
    except (ValueError, jsonschema.ValidationError) as error:
        print(json.dumps({"invalid": text, "because": str(error).splitlines()[0]}))
        return False
    return True


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="qwen2.5-coder-1.5b", help="name or .gguf file")
    parser.add_argument("--draft", default="qwen2.5-coder-0.5b", help="name or .gguf file")
    parser.add_argument("--drafter", action="append", required=True)
    parser.add_argument("-k", type=int, default=2)
    parser.add_argument("--temperature", type=float, default=0.8, help="of all seeds but the first")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--timed-seeds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=300)
    return parser.parse_args()


if __name__ == "__main__":
    main()
