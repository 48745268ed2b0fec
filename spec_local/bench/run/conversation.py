"""One prompt at one temperature: all its turns, every heat, every repeat, every peer.

The first repeat begins with empty caches and tells the time to the first token. In the others the
target has the prompt still, while a draft model reads it anew: reading it is part of what drafting
costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spec_local.bench.peers.specs import PeerAnswer
from spec_local.bench.record.result import PLAIN, Run
from spec_local.bench.run.opened import Field
from spec_local.bench.run.race import Answer, race
from spec_local.bench.run.recording import LosslessCheck, Where, peer_run, to_run
from spec_local.bench.run.running_peers import RunningPeers
from spec_local.bench.run.schedule import Schedule
from spec_local.sampling.settings import Sampling
from spec_local.workloads.workloads import WorkloadPrompt


class Conversation:
    """Measures it; every turn goes on from what plain decoding answered first."""

    def __init__(
        self,
        schedule: Schedule,
        field: Field,
        prompt: WorkloadPrompt,
        temperature: float,
        *,
        peers: RunningPeers | None = None,
        turned: bool = False,
        advance: Callable[[int], None] = lambda _answers: None,
        is_late: Callable[[], bool] = lambda: False,
    ) -> None:
        """turned: the last contender begins, and the last peer.

        advance: told the number of answers written since. is_late: whether there is no time for
        further repeats.
        """
        self._schedule, self._field, self._peers, self.prompt = schedule, field, peers, prompt
        self.sampling = Sampling(temperature=temperature, seed=schedule.seed)
        self._advance, self._turned, self._is_late = advance, turned, is_late
        self._repeats = schedule.repeats
        """Fewer when it got late during the first turn: all turns have as many."""
        self.check = LosslessCheck(field.target)
        self.most_tokens = max(2, schedule.tokens // len(prompt.turns))
        self._ours: dict[Where, list[Answer]] = {}
        self._theirs: dict[Where, list[PeerAnswer]] = {}
        self.said: list[tuple[list[int], list[int]]] = []
        """By turn, the tokens of the prompt, and of what plain decoding answered."""

    def run(self) -> list[Run]:
        """Every contender's and peer's answers."""
        messages: list[dict[str, str]] = []
        plain = self._field.running[PLAIN].runner
        for turn in self.prompt.turns:
            messages.append({"role": "user", "content": turn})
            context = plain.tokenize(messages)
            said = self._race(context)
            if self._peers is not None and self._peers.running and self.sampling.greedy:
                self._ask_peers(self._peers, context)
            messages.append({"role": "assistant", "content": said.text})
            self.said.append((context, said.tokens))
        ours = [to_run(where, turns, fresh=where[4] == 0) for where, turns in self._ours.items()]
        lengths = [len(context) for context, _answer in self.said]
        theirs = [
            peer_run(where, lengths, turns)
            for where, turns in self._theirs.items()
            if len(turns) == len(lengths)  # it may have failed on the way
        ]
        return ours + theirs

    def _where(self, contender: str, repeat: int, heat: int) -> Where:
        prompt = self.prompt
        temperature = self.sampling.temperature
        return (contender, prompt.workload, prompt.number, temperature, repeat, heat)

    def _race(self, context: list[int]) -> Answer:
        """All heats and repeats of a turn; the first answer of plain decoding."""
        before = len(self.said[-1][0]) if self.said else 0
        first: Answer | None = None
        for repeat, number, heat in self._schedule.races(self.sampling.temperature):
            if number == 0 and repeat > 0 and not self.said and self._is_late():
                self._repeats = repeat
            if repeat >= self._repeats:
                break
            running = [self._field.running[contender.name] for contender in heat]
            for contender in running:
                contender.forget(target=before if repeat == 0 else len(context), draft=0)
            turned = (repeat % 2 == 1) != self._turned
            race(running, context, self.most_tokens, self.sampling, turned)
            plain = self._field.running[PLAIN].answer
            first = first or plain
            for contender in running:
                where, answer = self._where(contender.name, repeat, number), contender.answer
                self._ours.setdefault(where, []).append(answer)
                if contender.name != PLAIN:
                    self._compare(where, context, plain.tokens, answer.tokens, answer.widths)
            self._advance(len(running))
        assert first is not None
        return first

    def _ask_peers(self, peers: RunningPeers, context: list[int]) -> None:
        """One after the other, plain decoding among them; the order turns from prompt to prompt."""
        heat = len(self._schedule.heats(self.sampling.temperature))
        plain = self._field.running[PLAIN]
        order = [PLAIN, *peers.running]
        found: dict[Where, PeerAnswer] = {}
        for name in reversed(order) if self._turned else order:
            where = self._where(name, 0, heat)
            if name == PLAIN:
                plain.forget(target=0, draft=0)
                race([plain], context, self.most_tokens, self.sampling, turned=False)
                self._ours.setdefault(where, []).append(plain.answer)
            else:
                answer = peers.answer(name, context, self.most_tokens, self.sampling)
                if answer is not None:
                    found[where] = answer
            self._advance(1)
        for where, answer in found.items():
            self._theirs.setdefault(where, []).append(answer)
            self._compare(where, context, plain.answer.tokens, answer.tokens)

    def _compare(
        self,
        where: Where,
        context: Sequence[int],
        plain: Sequence[int],
        answer: Sequence[int],
        widths: Sequence[int] = (),
    ) -> None:
        self.check.add(where, self.sampling, context, plain, answer, widths)
