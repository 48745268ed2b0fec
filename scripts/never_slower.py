"""Is a drafter ever slower than plain decoding? Interleaved runs in one process, medians, JSON.

    python scripts/never_slower.py --target TARGET --draft DRAFT --json FILE

Plain and drafted generation of the same prompt run at the same time on two contexts of the target,
one round of either in turn, whichever has used less time so far: what else happens on the machine
meets both alike, even if its speed doubles from one second to the next. A ratio compares tokens
after the first one per second of rounds, from the first token until one of the two is done. Both
start from empty caches; the draft model reading the prompt counts as a cost.
"""

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from spec_local import LoadOptions, Runner, Sampling, Stats
from spec_local.generation import Generation
from spec_local.llama.session import Session
from spec_local.profile import ProfileStore

PROMPTS = Path(__file__).with_name("prompts.jsonl")
CATEGORIES = ("code edit", "code generation", "chat", "json", "summary")
TEMPERATURES = (0.0, 0.8)


def main() -> None:
    arguments = parse()
    lines = [json.loads(line) for line in PROMPTS.read_text().splitlines()]
    store = None if arguments.profiles is None else ProfileStore(arguments.profiles)
    temperatures = arguments.temperature or TEMPERATURES
    results: list[dict[str, object]] = []
    with (
        Runner.load(
            target=arguments.target,
            draft=arguments.draft,
            drafter="model",
            options=LoadOptions(n_threads=arguments.threads),
        ) as opened,
        Session(opened.target.model) as second,
    ):
        plain = Runner(second, "none")
        drafted = Runner(
            opened.target, arguments.drafter, draft=opened.draft, k=arguments.k, profiles=store
        )
        plain.complete("The first evaluations of a process are slow.", max_tokens=8)
        for category in arguments.category or CATEGORIES:
            prompts = [line["prompt"] for line in lines if line["category"] == category]
            for prompt in prompts[: arguments.prompts]:
                for temperature in temperatures:
                    sampling = Sampling(temperature=temperature, seed=1)
                    runs = [
                        race(plain, drafted, prompt, sampling, arguments.tokens, i % 2 == 1)
                        for i in range(arguments.repeats)
                    ]
                    where = {"category": category, "prompt": prompt[:40]}
                    results.append(where | {"temperature": temperature} | report(runs))
                    print(json.dumps(results[-1]), flush=True)
        for temperature in temperatures:
            here = [result for result in results if result["temperature"] == temperature]
            print(json.dumps({"temperature": temperature} | summary(here)))
        drafted.close()
        plain.close()
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


def race(
    plain: Runner,
    drafted: Runner,
    prompt: str,
    sampling: Sampling,
    tokens: int,
    drafted_first: bool,
) -> dict[str, float | bool | Stats]:
    """Run both in turns until one is done."""
    for session in (plain.target, drafted.target, drafted.draft):
        if isinstance(session, Session):
            session.truncate(0)
    texts: dict[Runner, list[int]] = {plain: [], drafted: []}
    running: dict[Runner, Generation] = {}
    for runner in (drafted, plain) if drafted_first else (plain, drafted):
        messages = [{"role": "user", "content": prompt}]
        running[runner] = runner.generate(messages, max_tokens=tokens, sampling=sampling)
        texts[runner] += next(running[runner]).tokens
    while all(generation.finish_reason is None for generation in running.values()):
        behind = min(running, key=lambda runner: running[runner].stats.decode_seconds)
        texts[behind] += next(running[behind]).tokens
    a, b = running[plain].stats, running[drafted].stats
    for generation in running.values():
        generation.close()
    shared = min(len(text) for text in texts.values())
    return {
        "ratio": b.tokens_per_second / a.tokens_per_second if a.tokens > 1 < b.tokens else 1.0,
        "first": b.prompt_seconds / a.prompt_seconds,
        "identical": texts[plain][:shared] == texts[drafted][:shared],
        "plain": a,
        "drafted": b,
    }


def report(runs: Sequence[dict[str, float | bool | Stats]]) -> dict[str, object]:
    """Ratios of one prompt and temperature, above 1 where drafting is faster."""
    plain, drafted = runs[-1]["plain"], runs[-1]["drafted"]
    assert isinstance(plain, Stats)
    assert isinstance(drafted, Stats)
    return {
        "ratio": round(statistics.median(float(str(run["ratio"])) for run in runs), 3),
        "ratios": [round(float(str(run["ratio"])), 3) for run in runs],
        "first_token_ratio": round(statistics.median(float(str(r["first"])) for r in runs), 3),
        "identical_so_far": all(run["identical"] for run in runs),
        "tokens": drafted.tokens,
        "plain_tokens_per_second": round(plain.tokens_per_second, 2),
        "estimated": round(drafted.speedup, 3),
        "acceptance_rate": round(drafted.acceptance_rate, 3),
        "mean_accepted_length": round(drafted.mean_accepted_length, 2),
        "draft_share": round(drafted.draft_seconds / drafted.seconds, 3),
    }


def summary(results: Sequence[dict[str, object]]) -> dict[str, object]:
    """Median by category, their geometric mean, the worst prompt, the time to first token."""
    by_category: dict[str, list[float]] = {}
    for result in results:
        by_category.setdefault(str(result["category"]), []).append(float(str(result["ratio"])))
    medians = {name: statistics.median(ratios) for name, ratios in by_category.items()}
    first = statistics.median(float(str(result["first_token_ratio"])) for result in results)
    return {name: round(median, 3) for name, median in medians.items()} | {
        "geometric mean": round(math.exp(statistics.mean(map(math.log, medians.values()))), 3),
        "worst prompt": min(min(ratios) for ratios in by_category.values()),
        "time to first token": round(first, 3),
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
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=3, help="of each category")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--profiles", type=Path, default=None, help="directory; none are kept else")
    parser.add_argument("--json", type=Path, default=None)
    return parser.parse_args()


if __name__ == "__main__":
    main()
