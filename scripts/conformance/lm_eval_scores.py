"""lm-eval against the server: what it scores is what a plain evaluation of the same tokens says.

    pip install '.[test,conformance]'
    python -m scripts.conformance.lm_eval_scores smollm2-135m

Three tasks made here, of questions that need no download: choices, which lm-eval tells apart by the
log-probabilities of an echoed prompt; the perplexity of the same sentences; and answers, written by
/v1/completions and by /v1/chat/completions. lm-eval tokenizes through the server, by the endpoints
that vLLM has for it, so it needs no tokenizer either. With other servers for comparison: `--url`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import lm_eval
import numpy as np

from scripts.serve_load import serving
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.models.download import pull
from spec_local.models.registry import load_registry

FACTS = [
    json.loads(line)
    for line in Path(__file__).with_name("facts.jsonl").read_text("utf-8").splitlines()
]
_CHOICES = "facts"
_PERPLEXITY = "sentences"
_ANSWERS = "answers"
_ASKED = {
    "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(FACTS)},
    "test_split": "test",
    "doc_to_text": "{{question}}",
}
TASKS: dict[str, dict[str, Any]] = {
    _CHOICES: {
        **_ASKED,
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    _PERPLEXITY: {
        **_ASKED,
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{question}}{{choices[answer]}}",
        "metric_list": [{"metric": "word_perplexity"}],
    },
    _ANSWERS: {
        **_ASKED,
        "output_type": "generate_until",
        "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 12, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}


class Scored(NamedTuple):
    """A continuation, and its log-likelihood by lm-eval."""

    context: str
    continuation: str
    logprob: float
    greedy: bool


def evaluated(url: str, name: str, tasks: Sequence[str], *, chat: bool = False) -> dict[str, Any]:
    """What lm-eval finds, by its own name for it; url: of the server, without /v1."""
    endpoint = "chat/completions" if chat else "completions"
    arguments: dict[str, Any] = {"model": name, "base_url": f"{url}/v1/{endpoint}"}
    if not chat:
        arguments["tokenizer_backend"] = "remote"
    found = lm_eval.simple_evaluate(
        model="local-chat-completions" if chat else "local-completions",
        model_args=arguments,
        tasks=[{"task": task, **TASKS[task]} for task in tasks],
        apply_chat_template=chat,
        bootstrap_iters=0,
    )
    assert found is not None
    return dict(found)


def scored(samples: Sequence[dict[str, Any]]) -> Iterator[Scored]:
    """Every continuation of a task's samples."""
    for sample in samples:
        for (context, continuation), ((logprob, greedy),) in zip(
            sample["arguments"], sample["resps"], strict=True
        ):
            yield Scored(context, continuation, float(logprob), greedy in (True, "True"))


def log_likelihood(session: Session, asked: Scored) -> tuple[float, bool]:
    """By one plain evaluation of context and continuation, in float64, and whether it is greedy."""
    whole, context = (
        session.model.vocab.tokenize(text, add_special=False, parse_special=True)
        for text in (asked.context + asked.continuation, asked.context)
    )
    session.truncate(0)
    logits = session.evaluate(whole[:-1], rows=len(whole) - 1).astype(np.float64)
    logprobs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    judged = range(len(context) - 1, len(whole) - 1)
    return (
        float(sum(logprobs[i, whole[i + 1]] for i in judged)),
        all(int(logits[i].argmax()) == whole[i + 1] for i in judged),
    )


def compared(path: Path, samples: Sequence[dict[str, Any]]) -> tuple[float, int]:
    """The greatest difference of a log-likelihood, and how many disagree on being greedy."""
    worst, disagreeing = 0.0, 0
    with Model(path) as model, Session(model, n_ctx=512, max_rows=256) as session:
        for each in scored(samples):
            logprob, greedy = log_likelihood(session, each)
            worst = max(worst, abs(logprob - each.logprob))
            disagreeing += greedy != each.greedy
    return worst, disagreeing


def main() -> None:
    """Evaluate, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of a model")
    parser.add_argument("--url", help="of a server that runs; without it one is started")
    how = parser.parse_args()
    if how.url:
        report(how.name, how.url)
        return
    with serving(how.name, ["--temperature", "0"]) as (url, _process):
        report(how.name, url.removesuffix("/v1"))


def report(name: str, url: str) -> None:
    """Print what a server gets, beside the runner."""
    texts = evaluated(url, name, [_CHOICES, _PERPLEXITY, _ANSWERS])
    chats = evaluated(url, name, [_ANSWERS], chat=True)
    worst, disagreeing = compared(pull(name, load_registry()), texts["samples"][_CHOICES])
    print("| task | figure | value |\n|---|---|---:|")
    for by, results in (("", texts["results"]), (" (chat)", chats["results"])):
        for task, figures in results.items():
            for figure, value in figures.items():
                if isinstance(value, float):
                    print(f"| {task}{by} | {figure.split(',')[0]} | {value:.4f} |")
    count = sum(len(fact["choices"]) for fact in FACTS)
    print(f"| {_CHOICES} | continuations scored | {count} |")
    print(f"| {_CHOICES} | greatest difference of a log-likelihood | {worst:.2g} |")
    print(f"| {_CHOICES} | otherwise greedy | {disagreeing} |")


if __name__ == "__main__":
    main()
