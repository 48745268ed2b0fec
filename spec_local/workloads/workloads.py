"""The prompts a benchmark runs: the project's own, or the user's.

The project's are in `workloads.toml`, nine kinds of work people give to a model on their own
machine. Random tokens are never used: they are neither drafted nor written like text.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spec_local.errors import ConfigError, require
from spec_local.util.files import read_text
from spec_local.util.records import read_toml, record


@dataclass(frozen=True, slots=True)
class WorkloadPrompt:
    """What a user says, turn by turn."""

    workload: str
    turns: tuple[str, ...]
    number: int = 0
    """In its workload."""

    def __post_init__(self) -> None:
        require(bool(self.turns), "a prompt needs a turn.")
        require(all(turn.strip() for turn in self.turns), "a turn is empty.")


def bundled() -> list[WorkloadPrompt]:
    """The project's own prompts, at least four of each workload."""
    document = read_toml(Path(__file__).with_name("workloads.toml"))
    prompts = [
        record(WorkloadPrompt, entry, f"workloads.toml: prompt[{i}]")
        for i, entry in enumerate(document["prompt"])
    ]
    return _numbered(prompts)


def read_prompts(*paths: Path) -> list[WorkloadPrompt]:
    """Prompts from files: JSONL as Spec-Bench's question.jsonl has it, else one text prompt.

    A line of Spec-Bench (arXiv 2401.07851) is an object with `category` and `turns`; the category
    becomes the workload. Raises ConfigError naming the line that is wrong.
    """
    return _numbered([prompt for path in paths for prompt in _read(path)])


def _read(path: Path) -> list[WorkloadPrompt]:
    text = read_text(path)
    require(bool(text.strip()), f"{path} is empty; write a prompt into it.")
    if path.suffix not in (".jsonl", ".json"):
        return [WorkloadPrompt(path.stem, (text,))]
    lines = [(i, line) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return [_question(line, f"{path}, line {i}") for i, line in lines]


def _question(line: str, where: str) -> WorkloadPrompt:
    try:
        question: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise ConfigError(f"{where}: this is not JSON.") from None
    require(isinstance(question, dict), f"{where} must be an object with category and turns.")
    known = {key: question[key] for key in ("category", "turns") if key in question}
    known["workload"] = known.pop("category", "prompts")
    return record(WorkloadPrompt, known, where)


def _numbered(prompts: Sequence[WorkloadPrompt]) -> list[WorkloadPrompt]:
    counts: dict[str, int] = {}
    numbered = []
    for prompt in prompts:
        number = counts[prompt.workload] = counts.get(prompt.workload, -1) + 1
        numbered.append(replace(prompt, number=number))
    return numbered


def choose(
    prompts: Sequence[WorkloadPrompt], workloads: Sequence[str], per_workload: int | None
) -> list[WorkloadPrompt]:
    """Prompts of the named workloads, all if none is named; at most so many of each.

    Raises ConfigError for a workload that is not there.
    """
    there = list(dict.fromkeys(prompt.workload for prompt in prompts))
    for name in workloads:
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(there)}."
        require(name in there, f"There is no workload {name!r}; {hint}")
    wanted = dict.fromkeys(workloads or there)
    most = len(prompts) if per_workload is None else per_workload
    return [p for name in wanted for p in prompts if p.workload == name and p.number < most]
