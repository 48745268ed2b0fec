"""What a benchmark measures: prompts, contenders, settings, and the order they come in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spec_local.bench.record.result import PLAIN, Contender
from spec_local.bench.run.contenders import heats
from spec_local.drafters import AUTO
from spec_local.errors import require
from spec_local.workloads.workloads import WorkloadPrompt


@dataclass(frozen=True, slots=True)
class Schedule:
    """What to measure."""

    prompts: Sequence[WorkloadPrompt]
    contenders: Sequence[Contender]
    """Plain decoding first."""
    tokens: int = 64
    """Most tokens of an answer; the turns of a conversation share them."""
    repeats: int = 2
    temperatures: Sequence[float] = (0.0, 0.8)
    everyone_sampled: bool = False
    """Above temperature 0 only plain decoding and auto run, unless this is set."""
    seed: int = 1
    most_seconds: float | None = None
    """After so long nothing new is begun; one prompt is measured, once, however long it takes."""

    def __post_init__(self) -> None:
        require(bool(self.prompts), "There is no prompt to run.")
        require(self.repeats >= 1, "At least one repeat is needed.")
        require(bool(self.temperatures), "At least one temperature is needed.")

    def heats(self, temperature: float) -> list[list[Contender]]:
        """Who runs side by side at a temperature."""
        everyone = temperature == 0 or self.everyone_sampled
        return heats([c for c in self.contenders if everyone or c.drafter in (PLAIN, AUTO)])

    def races(self, temperature: float) -> Iterator[tuple[int, int, list[Contender]]]:
        """Repeat, number of the heat, and who is in it."""
        for repeat in range(self.repeats):
            for number, heat in enumerate(self.heats(temperature)):
                yield repeat, number, heat

    def answers(self, peers: int) -> int:
        """How many answers will be written, turn by turn, with so many peers."""
        turns = sum(len(prompt.turns) for prompt in self.prompts)
        ours = sum(len(heat) for t in self.temperatures for _r, _n, heat in self.races(t))
        return turns * (ours + (peers + 1) * self.asks_peers) if peers else turns * ours

    @property
    def asks_peers(self) -> bool:
        """Peers answer greedily alone: sampled, they draw other random numbers, so other texts."""
        return 0.0 in self.temperatures
