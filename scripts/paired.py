"""Speed of a drafter against plain decoding: alternating runs in one process, medians, JSON.

    python scripts/paired.py --target TARGET --draft DRAFT --drafter model -k 3

Every prompt is run A B B A …; a ratio is formed of each neighbouring pair. Both sides find the same
prompt in the cache, so what is compared is the rounds after the first.
"""

import argparse
import json
import statistics
from pathlib import Path

from spec_local import LoadOptions, Runner, Sampling
from spec_local.generation import Completion

PROMPTS = Path(__file__).with_name("prompts.jsonl")


def main() -> None:
    arguments = parse()
    options = LoadOptions(n_threads=arguments.threads)
    lines = [json.loads(line) for line in PROMPTS.read_text().splitlines()]
    prompts = [p for p in lines if arguments.category in (None, p["category"])]
    sampling = Sampling(temperature=arguments.temperature)
    with Runner.load(
        target=arguments.target, draft=arguments.draft, drafter="model", options=options
    ) as opened:
        target, draft = opened.target, opened.draft
        plain = Runner(target, "none", sampling=sampling)
        drafted = Runner(target, arguments.drafter, draft=draft, k=arguments.k, sampling=sampling)
        results = []
        for prompt in prompts[: arguments.prompts]:
            messages = [{"role": "user", "content": prompt["prompt"]}]
            for runner in (plain, drafted):  # warm-up; the prompt stays cached
                runner.complete(messages, max_tokens=8)
            runs: list[tuple[Completion, Completion]] = []
            outside: list[float] = []  # share of a generation outside llama_decode
            for i in range(arguments.repeats):
                order = (plain, drafted) if i % 2 == 0 else (drafted, plain)
                pair = {}
                for runner in order:
                    before = target.decode_seconds + draft.decode_seconds
                    pair[runner] = runner.complete(messages, max_tokens=arguments.tokens)
                    inside = target.decode_seconds + draft.decode_seconds - before
                    if runner is drafted:
                        outside.append(1 - inside / pair[runner].stats.seconds)
                runs.append((pair[plain], pair[drafted]))
            results.append(report(prompt["category"], runs, outside))
            print(json.dumps(results[-1]), flush=True)
        every = [ratio for result in results for ratio in result["ratios"]]
        print(json.dumps({"median_ratio": round(statistics.median(every), 3), "pairs": len(every)}))
        drafted.close()


def report(
    category: str, runs: list[tuple[Completion, Completion]], outside: list[float]
) -> dict[str, object]:
    stats = runs[-1][1].stats
    ratios = [b.stats.tokens_per_second / a.stats.tokens_per_second for a, b in runs]
    return {
        "category": category,
        "tokens": stats.tokens,
        "identical": all(a.tokens == b.tokens for a, b in runs),
        "plain_tokens_per_second": round(
            statistics.median(a.stats.tokens_per_second for a, _b in runs), 2
        ),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
        "acceptance_rate": round(stats.acceptance_rate, 3),
        "mean_accepted_length": round(stats.mean_accepted_length, 3),
        "rounds": stats.rounds,
        "draft_evaluated_per_round": round(stats.draft_evaluated / max(1, stats.rounds - 1), 3),
        "share_outside_decodes": round(statistics.median(outside), 4),
        "sample_us_per_row": round(1e6 * stats.sample_seconds / max(1, stats.tokens), 1),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="qwen2.5-coder-1.5b", help="name or .gguf file")
    parser.add_argument("--draft", default="qwen2.5-coder-0.5b", help="name or .gguf file")
    parser.add_argument("--drafter", default="model")
    parser.add_argument("-k", type=int, default=3)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=None, help="use only the first so many")
    parser.add_argument("--category", default=None)
    parser.add_argument("--threads", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
