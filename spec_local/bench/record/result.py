"""What a benchmark found, as records: the form of its JSON file, described in docs/measuring.md.

Everything that is shown, drawn or compared is made from these and nothing else, so a file tells
what a terminal told. Times are seconds, sizes bytes. A field that is None was not measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spec_local.drafters import chosen_from, is_known
from spec_local.errors import ConfigError, require
from spec_local.util.files import read_text, write_text
from spec_local.util.records import record
from spec_local.util.several import as_tuple

SCHEMA = 1
"""Version of the file's form; raised when a field changes its meaning or goes away."""

CURVE_CONTEXT = 256
"""Tokens of context at which costs are compared."""

PLAIN = "none"
"""The contender everything is compared with."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that was measured; size in bytes."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The machine that measured, as far as the system tells."""

    cpu: str
    cores: int
    memory_bytes: int
    system: str
    devices: tuple[str, ...]
    threads: int
    features: str
    """llama.cpp's own description of its build and the processor."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for."""

    tokens: int
    """Most tokens of an answer; the turns of a conversation share them."""
    repeats: int
    per_workload: int
    """Prompts of each workload."""
    workloads: tuple[str, ...]
    temperatures: tuple[float, ...]
    seed: int
    load: Mapping[str, Any]
    """`LoadOptions`, field by field."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to write the same text."""

    name: str
    drafter: str
    """A drafter of spec-local, or the program measured beside it."""
    k: int | None = None
    """Tokens drafted per round; None where the contender decides."""
    policy: str = ""
    """What decides instead of a k, where that is a policy of the literature (`policies/`)."""
    flags: str = ""
    """How a peer was started."""
    error: str | None = None
    """Why a peer could not be measured; None if it was."""
    peak_rss: int | None = None
    """Most memory its process held; contenders of spec-local share one process."""
    version: str = ""

    @property
    def is_peer(self) -> bool:
        """Whether it is another program, not spec-local."""
        return not is_known(self.drafter) and not chosen_from(self.drafter)


@dataclass(frozen=True, slots=True)
class Run:
    """One contender's answer to one prompt; of several turns, their sums.

    Everything but `prompt_seconds` leaves out the first token of every turn, which is the prompt's.
    """

    contender: str
    workload: str
    prompt: int
    """Number of the prompt in its workload."""
    temperature: float
    repeat: int
    heat: int
    """Contenders with the same number ran side by side, and are compared with each other."""
    prompt_tokens: int
    prompt_seconds: float | None
    """Time to first token; None where the prompt was still in the cache."""
    tokens: int
    seconds: float
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    draft_seconds: float = 0.0
    verify_seconds: float = 0.0
    sample_seconds: float = 0.0
    overhead_seconds: float = 0.0
    """Time outside llama.cpp's evaluations: deciding, sampling, bookkeeping, text."""
    overhead_us: float | None = None
    """Microseconds of that in a round, the median over the rounds; None of a peer."""
    widths: Mapping[str, int] = field(default_factory=dict)
    """Evaluations of the target by their width."""
    offered_at: tuple[int, ...] = ()
    """Drafts that had a first, second, third … token."""
    accepted_at: tuple[int, ...] = ()
    """How many of those were accepted."""
    joules: float | None = None

    @property
    def tokens_per_second(self) -> float:
        """Tokens after the first, per second spent on them; 0.0 without any."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """A median of pairs with what it may be off by."""

    median: float
    low: float
    high: float
    """Least and greatest of the pairs."""
    pairs: int
    error: float | None = None
    """95 % of medians like this one are within a factor of e^±error; None with one repeat."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One contender in one workload at one temperature."""

    workload: str
    temperature: float
    contender: str
    speedup: Spread
    """Against plain decoding of spec-local, run by run."""
    tokens_per_second: float
    """Median."""
    first_token_ratio: float | None
    """Median of the time to first token against plain decoding's."""
    first_token_seconds: float | None
    acceptance_rate: float | None
    mean_accepted_length: float | None
    shares: Mapping[str, float]
    """Shares of the time: draft, verify, sampling, other; empty for peers, which do not tell."""
    overhead_us: float | None
    """Microseconds outside llama.cpp's evaluations, per round: the mean."""
    joules_per_token: float | None = None
    predicted: float | None = None
    """Speed-up by the formula of arXiv 2211.17192 with measured costs, for a fixed k."""
    own_speedup: float | None = None
    """Speed-up of a peer over its own plain decoding; None for contenders."""
    usual_overhead_us: float | None = None
    """The median over rounds instead, which no other process nor a slow round moves."""


@dataclass(frozen=True, slots=True)
class Overall:
    """A contender over all workloads: geometric mean of the speed-ups."""

    temperature: float
    contender: str
    speedup: float
    worst: float
    """Slowest workload."""
    worst_workload: str
    error: float | None
    verdict: str
    """faster, slower, or same: whether the difference is more than noise."""
    own_speedup: float | None = None


@dataclass(frozen=True, slots=True)
class Bound:
    """What could have been reached on a workload, priced on the recorded texts without noise."""

    workload: str
    temperature: float
    best_static: str
    best_static_speedup: float
    auto: float
    """The controller, replayed."""
    clairvoyant: float
    oracle: float
    statics: Mapping[str, float]
    """Every static drafter and k."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first token at which an answer left that of plain decoding."""

    contender: str
    workload: str
    prompt: int
    temperature: float
    repeat: int
    at: int
    """Token of the answer (of its turn), from 0."""
    width: int | None
    """Tokens verified together in that evaluation; None of a peer."""
    margin: float | None
    """How far plain decoding preferred its own token, in logits (after noise, if sampled); None if
    it could not draw the other one at all."""


@dataclass(frozen=True, slots=True)
class Lossless:
    """A contender's answers against those of plain decoding."""

    contender: str
    temperature: float
    identical: int
    answers: int


@dataclass(frozen=True, slots=True)
class Result:
    """A whole benchmark."""

    schema: int
    made: str
    """Time of day it ended, UTC."""
    seconds: float
    command: str
    commit: str
    """Commit of spec-local's repository; empty when it is installed from elsewhere."""
    versions: Mapping[str, str]
    machine: MachineFacts
    target: ModelFile
    draft: ModelFile | None
    settings: Settings
    curves: Mapping[str, Mapping[str, float]]
    """Seconds of an evaluation by its width, for target and draft (a second one is `draft-2`), at
    256 tokens of context."""
    contenders: tuple[Contender, ...]
    runs: tuple[Run, ...]
    cells: tuple[Cell, ...]
    overall: tuple[Overall, ...]
    bounds: tuple[Bound, ...]
    lossless: tuple[Lossless, ...]
    divergences: tuple[Divergence, ...]
    peak_rss: int
    more_drafts: tuple[ModelFile, ...] = ()
    """Those beside `draft`, which alone the bounds are of."""

    @property
    def drafts(self) -> tuple[ModelFile, ...]:
        """All draft models."""
        return (*as_tuple(self.draft), *self.more_drafts)

    def cells_of(self, contender: str, temperature: float) -> list[Cell]:
        """One contender's cells at one temperature, workload by workload."""
        return [c for c in self.cells if (c.contender, c.temperature) == (contender, temperature)]

    def save(self, path: Path) -> None:
        """Write the JSON file; raises ConfigError if that cannot be."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read a JSON file; raises ConfigError for anything that is not one of this schema."""
        try:
            document = json.loads(read_text(path))
        except (ValueError, RecursionError):
            raise ConfigError(f"{path} is not a JSON file.") from None
        document = document if isinstance(document, dict) else {}
        require(
            "candidates" not in document,
            f"{path} is a ranking of draft models; give a result of spec-local bench --json.",
        )
        schema = document.get("schema")
        if schema != SCHEMA:
            raise ConfigError(
                f"{path} is not a benchmark of schema {SCHEMA}; write it again with "
                "spec-local bench --json."
            )
        return record(cls, document, path.name)
