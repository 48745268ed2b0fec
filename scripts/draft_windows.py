"""How much of a text must a draft model read? Its agreement with the target, by what it has read.

    python -m scripts.draft_windows --json docs/controller/windows.json
    python -m scripts.draft_windows --show docs/controller/windows.json

The target answers the first prompts of every bundled workload greedily: each alone, and all of them
in one long conversation. The draft model is led along each answer, having read only the last tokens
of what came before it; agreement is the share of the answer's tokens that it thinks likeliest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scripts.kept import measure_or_show
from spec_local.sampling.settings import Sampling
from spec_local.util.progress import no_progress
from spec_local.workloads.workloads import bundled

if TYPE_CHECKING:
    from spec_local.llama.messages import Message
    from spec_local.llama.session import Session

WINDOWS = (32, 64, 128, 256, 512)
ROWS = 32
GREEDY = Sampling(temperature=0)


class Found(NamedTuple):
    """Agreement along one answer."""

    setting: str
    """alone, or late: in a long conversation."""
    workload: str
    prompt: int
    """Tokens before the answer."""
    answer: int
    """Tokens of it."""
    windows: dict[str, float]
    """Agreement by tokens read; shorter prompts are read whole."""
    whole: float
    """Agreement when everything was read."""


def conversations(per_workload: int) -> Iterator[tuple[str, str, str]]:
    """Setting, workload and what the user says; a late one follows the one before it."""
    chosen = [prompt for prompt in bundled() if prompt.number < per_workload]
    for setting in ("alone", "late"):
        for prompt in chosen:
            yield setting, prompt.workload, prompt.turns[0]


def agreement(draft: Session, context: Sequence[int], answer: Sequence[int]) -> float:
    """Share of the answer that the draft model thinks likeliest, after this context."""
    draft.sync(context[:-1])
    missing = context[len(draft.tokens) : -1]
    if missing:
        draft.evaluate(missing)
    given, right = [context[-1], *answer[:-1]], list[bool]()
    for start in range(0, len(given), ROWS):
        chunk = given[start : start + ROWS]
        likeliest = draft.evaluate(chunk, len(chunk)).argmax(axis=1)
        right += (likeliest == np.array(answer[start : start + ROWS])).tolist()
    return fmean(right)


def measure(how: argparse.Namespace) -> Iterator[Found]:
    """Answer every prompt and lead the draft model along it."""
    # The table of a file needs no llama.cpp.
    from spec_local.llama.options import LoadOptions
    from spec_local.llama.session import Session
    from spec_local.models.loading import load_draft
    from spec_local.models.registry import load_registry
    from spec_local.runner import Runner

    options = LoadOptions(n_ctx=how.context)
    with Runner.load(target=how.target, drafter="lookup", options=options) as runner:
        model = load_draft(how.draft, runner.target.model, load_registry(), no_progress)
        with model, Session(model, n_ctx=how.context) as whole, Session(model) as window:
            spoken: list[Message] = []
            for setting, workload, text in conversations(how.prompts):
                before = spoken if setting == "late" else []
                messages: list[Message] = [*before, {"role": "user", "content": text}]
                context = runner.tokenize(messages)
                if len(context) + how.tokens >= how.context:
                    break
                said = runner.complete(context, max_tokens=how.tokens, sampling=GREEDY)
                spoken = [*messages, {"role": "assistant", "content": said.text}]
                if len(said.tokens) < 2:
                    continue
                by_window = {
                    str(width): agreement(window, context[-width:], said.tokens)
                    for width in WINDOWS
                }
                complete = agreement(whole, context, said.tokens)
                yield Found(setting, workload, len(context), len(said.tokens), by_window, complete)


def table(found: Sequence[Found]) -> list[str]:
    """A row for each setting and workload, then for each setting: means over the answers."""
    heads = ["answers", "tokens before", *(f"last {width}" for width in WINDOWS), "all"]
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for setting in ("alone", "late"):
        here = [each for each in found if each.setting == setting]
        for workload in [*dict.fromkeys(each.workload for each in here), ""]:
            answers = [each for each in here if workload in ("", each.workload)]
            shown = [fmean(each.windows[str(width)] for each in answers) for width in WINDOWS]
            shown.append(fmean(each.whole for each in answers))
            cells = [f"{round(fmean(each.prompt for each in answers)):,}"]
            cells += [f"{share:.2f}" for share in shown]
            name = workload or "**all**"
            rows.append(f"| {name}, {setting} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="qwen2.5-coder-1.5b", help="a name or a .gguf file")
    parser.add_argument("--draft", default="qwen2.5-coder-0.5b")
    parser.add_argument("--prompts", type=int, default=1, help="of each workload")
    parser.add_argument("--tokens", type=int, default=96, help="of each answer, at most")
    parser.add_argument("--context", type=int, default=4096)
    measure_or_show(parser, Found, measure, table)


if __name__ == "__main__":
    main()
