"""Is a drafter ever slower than plain decoding? Alternating runs in one process, medians, JSON.

    python scripts/never_slower.py --target TARGET --draft DRAFT --temperature 0 --json FILE

Every prompt is run A B B A …, each run from empty caches, and a ratio is formed of each pair of
neighbours: of seconds per token after the first one, in which the draft model reading the prompt is
included, and of the time to first token.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from spec_local import LoadOptions, Runner, Sampling
from spec_local.generation import Completion
from spec_local.profile import ProfileStore

PROMPTS = Path(__file__).with_name("prompts.jsonl")
CATEGORIES = ("code edit", "code generation", "chat", "json", "summary")


def main() -> None:
    arguments = parse()
    options = LoadOptions(n_threads=arguments.threads)
    lines = [json.loads(line) for line in PROMPTS.read_text().splitlines()]
    store = None if arguments.profiles is None else ProfileStore(arguments.profiles)
    results = []
    with Runner.load(
        target=arguments.target, draft=arguments.draft, drafter="model", options=options
    ) as opened:
        target, draft = opened.target, opened.draft
        plain = Runner(target, "none")
        drafted = Runner(target, arguments.drafter, draft=draft, k=arguments.k, profiles=store)

        def run(runner: Runner, prompt: str, temperature: float) -> Completion:
            for session in filter(None, (target, draft)):
                session.truncate(0)
            return runner.complete(
                [{"role": "user", "content": prompt}],
                max_tokens=arguments.tokens,
                sampling=Sampling(temperature=temperature, seed=1),
            )

        run(plain, "Say hello.", 0.0)  # the first evaluations of a process are slow
        for category in arguments.category or CATEGORIES:
            prompts = [line["prompt"] for line in lines if line["category"] == category]
            for prompt in prompts[: arguments.prompts]:
                for temperature in arguments.temperature or (0.0, 0.8):
                    pairs = []
                    for i in range(arguments.repeats):
                        order = (plain, drafted) if i % 2 == 0 else (drafted, plain)
                        done = {runner: run(runner, prompt, temperature) for runner in order}
                        pairs.append((done[plain], done[drafted]))
                    results.append(
                        {"category": category, "prompt": prompt[:40], "temperature": temperature}
                        | report(pairs)
                    )
                    print(json.dumps(results[-1]), flush=True)
        for temperature in arguments.temperature or (0.0, 0.8):
            print(json.dumps({"temperature": temperature} | summary(results, temperature)))
        drafted.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def report(pairs: Sequence[tuple[Completion, Completion]]) -> dict[str, object]:
    """Ratios of one prompt and temperature, above 1 where drafting is faster."""
    stats = pairs[-1][1].stats
    speed = [b.stats.tokens_per_second / a.stats.tokens_per_second for a, b in pairs]
    first = [b.stats.prompt_seconds / a.stats.prompt_seconds for a, b in pairs]
    return {
        "tokens": stats.tokens,
        "identical": all(a.tokens == b.tokens for a, b in pairs),
        "plain_tokens_per_second": round(
            statistics.median(a.stats.tokens_per_second for a, _b in pairs), 2
        ),
        "ratio": round(statistics.median(speed), 3),
        "ratios": [round(ratio, 3) for ratio in speed],
        "estimated": round(stats.speedup, 3),
        "first_token_ratio": round(statistics.median(first), 3),
        "acceptance_rate": round(stats.acceptance_rate, 3),
        "mean_accepted_length": round(stats.mean_accepted_length, 2),
    }


def summary(results: Sequence[dict[str, object]], temperature: float) -> dict[str, object]:
    """Median by category, the worst prompt, and the time to first token."""
    here = [result for result in results if result["temperature"] == temperature]
    by_category: dict[str, list[float]] = {}
    for result in here:
        by_category.setdefault(str(result["category"]), []).append(float(str(result["ratio"])))
    return {name: round(statistics.median(ratios), 3) for name, ratios in by_category.items()} | {
        "worst prompt": min(min(ratios) for ratios in by_category.values()),
        "time to first token": round(
            statistics.median(float(str(result["first_token_ratio"])) for result in here), 3
        ),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="qwen2.5-coder-1.5b", help="name or .gguf file")
    parser.add_argument("--draft", default="qwen2.5-coder-0.5b", help="name or .gguf file")
    parser.add_argument("--drafter", default="auto")
    parser.add_argument("-k", type=int, default=None)
    parser.add_argument("--temperature", type=float, action="append", help="repeatable; 0 and 0.8")
    parser.add_argument("--category", action="append", help="repeatable; the five by default")
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=3, help="of each category")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--profiles", type=Path, default=None, help="directory; none are kept else")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
