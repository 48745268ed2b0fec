"""Is the text the same? Plain decoding and every drafter write the same answers, on real prompts.

Plain decoding writes each answer first, from an empty cache. Every drafter then answers the same
prompt, and its tokens are compared one by one. In an exact mode it finds in the cache what whoever
came before has left there, because that must not matter either; otherwise it begins empty too, so
that only drafting can make a difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from spec_local.bench.run.divergence import first_difference, margin
from spec_local.bench.run.race import Answer
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.workloads.workloads import WorkloadPrompt

Advance = Callable[[int], None]
"""Told how many answers were written since."""


@dataclass(frozen=True, slots=True)
class TextDifference:
    """Where a drafter's answer first differs from plain decoding's."""

    drafter: str
    workload: str
    prompt: int
    turn: int
    temperature: float
    seed: int
    at: int
    """Tokens of the answer before it."""
    plain: str
    """What plain decoding writes there."""
    other: str
    margin: float | None
    """Logits by which plain decoding prefers its own (`lossless.margin`)."""
    width: int
    """Tokens evaluated in the round that wrote it."""


@dataclass(slots=True)
class Tally:
    """Answers of one drafter at one temperature."""

    answers: int = 0
    identical: int = 0
    tokens: int = 0
    """Compared with plain decoding's."""
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    rechecked: int = 0
    """Near ties evaluated again."""
    guard_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class Verification:
    """Writes the answers and compares them; what was compared stays if it is interrupted."""

    plain: Runner
    drafting: Mapping[str, Runner]
    """Runners on the same session as the plain one, by the name of the drafter."""
    prompts: Sequence[WorkloadPrompt]
    temperatures: Sequence[float]
    seeds: Sequence[int]
    tokens: int
    """Most tokens of an answer."""
    advance: Advance = lambda _answers: None
    tallies: dict[tuple[str, float], Tally] = field(default_factory=dict)
    differences: list[TextDifference] = field(default_factory=list)
    plain_answers: int = 0
    plain_tokens: int = 0
    _digest: Any = field(default_factory=lambda: hashlib.sha256())

    def run(self) -> None:
        """Every prompt at every temperature with every seed; greedy ones need one seed."""
        for prompt in self.prompts:
            for temperature in self.temperatures:
                for seed in self.seeds if temperature else self.seeds[:1]:
                    self._converse(prompt, Sampling(temperature=temperature, seed=seed))

    @property
    def answers(self) -> int:
        """How many there will be, plain decoding's among them."""
        turns = sum(len(prompt.turns) for prompt in self.prompts)
        settings = sum(len(self.seeds) if temperature else 1 for temperature in self.temperatures)
        return turns * settings * (1 + len(self.drafting))

    @property
    def digest(self) -> str:
        """SHA-256 of plain decoding's tokens, answer by answer, to compare with other runs."""
        return str(self._digest.hexdigest())

    def _converse(self, prompt: WorkloadPrompt, sampling: Sampling) -> None:
        messages: list[dict[str, str]] = []
        for turn, said in enumerate(prompt.turns):
            messages.append({"role": "user", "content": said})
            context = self.plain.tokenize(messages)
            self.plain.target.truncate(0)
            expected = self._answer(self.plain, context, sampling)
            self.plain_answers += 1
            self.plain_tokens += len(expected.tokens)
            self._digest.update(repr(expected.tokens).encode())
            for name, runner in self.drafting.items():
                if runner.exact is None:
                    runner.target.truncate(0)
                answer = self._answer(runner, context, sampling)
                self._count(name, sampling.temperature, expected, answer)
                at = first_difference(expected.tokens, answer.tokens)
                if at is not None or len(answer.tokens) != len(expected.tokens):
                    at = min(len(answer.tokens), len(expected.tokens)) if at is None else at
                    self.differences.append(
                        self._difference(
                            name, prompt, turn, sampling, context, expected, answer, at
                        )
                    )
            messages.append({"role": "assistant", "content": expected.text})

    def _answer(self, runner: Runner, context: Sequence[int], sampling: Sampling) -> Answer:
        answer = Answer()
        for chunk in runner.generate(context, max_tokens=self.tokens, sampling=sampling):
            answer.add(chunk)
        self.advance(1)
        return answer

    def _count(self, name: str, temperature: float, expected: Answer, answer: Answer) -> None:
        tally = self.tallies.setdefault((name, temperature), Tally())
        tally.answers += 1
        tally.identical += answer.tokens == expected.tokens
        tally.tokens += len(answer.tokens)
        tally.rounds += answer.stats.rounds
        tally.drafted += answer.stats.drafted
        tally.accepted += answer.stats.accepted
        tally.rechecked += answer.stats.rechecked
        tally.guard_seconds += answer.stats.guard_seconds
        tally.seconds += answer.stats.decode_seconds

    def _difference(
        self,
        name: str,
        prompt: WorkloadPrompt,
        turn: int,
        sampling: Sampling,
        context: Sequence[int],
        expected: Answer,
        answer: Answer,
        at: int,
    ) -> TextDifference:
        target = self.plain.target
        both = at < min(len(expected.tokens), len(answer.tokens))
        distance = None
        if both:
            distance = margin(target, sampling, context, expected.tokens, answer.tokens, at)
        target.truncate(0)  # it was evaluated in batches that no exact mode makes
        return TextDifference(
            name,
            prompt.workload,
            prompt.number,
            turn,
            sampling.temperature,
            sampling.seed,
            at,
            self._piece(expected.tokens, at),
            self._piece(answer.tokens, at),
            distance,
            answer.widths[at] if at < len(answer.widths) else 1,
        )

    def _piece(self, tokens: Sequence[int], at: int) -> str:
        vocab = self.plain.target.model.vocab
        return vocab.piece(tokens[at]).decode(errors="replace") if at < len(tokens) else ""

    def as_dict(self) -> dict[str, Any]:
        """Everything found, ready for JSON."""
        return {
            "prompts": len(self.prompts),
            "temperatures": list(self.temperatures),
            "seeds": list(self.seeds),
            "most_tokens": self.tokens,
            "plain": {
                "answers": self.plain_answers,
                "tokens": self.plain_tokens,
                "sha256": self.digest,
            },
            "drafters": [
                {"drafter": name, "temperature": temperature, **asdict(tally)}
                for (name, temperature), tally in self.tallies.items()
            ],
            "differences": [asdict(each) for each in self.differences],
        }
