"""One prompt at one temperature: all its turns, every heat, every repeat, every peer.

The first repeat begins with empty caches and tells the time to the first token. In the others the
target has the prompt still, while a draft model reads it anew: reading it is part of what drafting
costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from spec_local.bench import hindsight
from spec_local.bench.answers import Comparison, Where, peer_run, to_run
from spec_local.bench.bounds import Recorded
from spec_local.bench.field import Field
from spec_local.bench.peers import PeerAnswer
from spec_local.bench.plan import Plan
from spec_local.bench.race import Answer, race
from spec_local.bench.result import PLAIN, Run
from spec_local.bench.rivals import Rivals
from spec_local.bench.workloads import Prompt
from spec_local.llama.samplers import Samplers
from spec_local.loading import in_target_tokens
from spec_local.settings import Sampling


class Conversation:
    """Measures it; every turn goes on from what plain decoding answered first."""

    def __init__(
        self,
        plan: Plan,
        field: Field,
        peers: Rivals,
        prompt: Prompt,
        temperature: float,
        comparison: Comparison,
        advance: Callable[[int], None],
        turned: bool,
    ) -> None:
        """advance: told the number of answers written since. turned: peers in reverse order."""
        self._plan, self._field, self._peers, self._prompt = plan, field, peers, prompt
        self._sampling = Sampling(temperature=temperature, seed=plan.seed)
        self._comparison, self._advance, self._turned = comparison, advance, turned
        self._most = max(2, plan.tokens // len(prompt.turns))
        self._ours: dict[Where, list[Answer]] = {}
        self._theirs: dict[Where, list[PeerAnswer]] = {}
        self._contexts: list[list[int]] = []
        self.recorded: list[Recorded] = []

    def run(self) -> list[Run]:
        """Every contender's and peer's answers."""
        messages: list[dict[str, str]] = []
        plain = self._field.entrants[PLAIN].runner
        for turn in self._prompt.turns:
            messages.append({"role": "user", "content": turn})
            context = plain.tokenize(messages)
            said = self._race(context)
            if self._peers.running and self._sampling.greedy:
                self._ask_peers(context)
            self._record(context, said.tokens)
            messages.append({"role": "assistant", "content": said.text})
            self._contexts.append(context)
        ours = [to_run(where, turns, fresh=where[4] == 0) for where, turns in self._ours.items()]
        lengths = [len(context) for context in self._contexts]
        theirs = [
            peer_run(where, lengths, turns)
            for where, turns in self._theirs.items()
            if len(turns) == len(lengths)  # it may have failed on the way
        ]
        return ours + theirs

    def _where(self, contender: str, repeat: int, heat: int) -> Where:
        prompt = self._prompt
        temperature = self._sampling.temperature
        return (contender, prompt.workload, prompt.number, temperature, repeat, heat)

    def _race(self, context: list[int]) -> Answer:
        """All heats and repeats of a turn; the first answer of plain decoding."""
        before = len(self._contexts[-1]) if self._contexts else 0
        first: Answer | None = None
        for repeat, number, heat in self._plan.races(self._sampling.temperature):
            entrants = [self._field.entrants[contender.name] for contender in heat]
            for entrant in entrants:
                entrant.forget(before if repeat == 0 else len(context), before)
            race(entrants, context, self._most, self._sampling, turned=repeat % 2 == 1)
            plain = self._field.entrants[PLAIN].answer
            first = first or plain
            for entrant in entrants:
                where, answer = self._where(entrant.name, repeat, number), entrant.answer
                self._ours.setdefault(where, []).append(answer)
                if entrant.name != PLAIN:
                    self._compare(where, context, plain.tokens, answer.tokens, answer.widths)
            self._advance(len(entrants))
        assert first is not None
        return first

    def _ask_peers(self, context: list[int]) -> None:
        """One after the other, plain decoding among them; the order turns from prompt to prompt."""
        heat = len(self._plan.heats(self._sampling.temperature))
        plain = self._field.entrants[PLAIN]
        order = [PLAIN, *self._peers.running]
        found: dict[Where, PeerAnswer] = {}
        for name in reversed(order) if self._turned else order:
            where = self._where(name, 0, heat)
            if name == PLAIN:
                plain.forget(0, 0)
                race([plain], context, self._most, self._sampling, turned=False)
                self._ours.setdefault(where, []).append(plain.answer)
            else:
                answer = self._peers.answer(name, context, self._most, self._sampling)
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
        self._comparison.add(where, self._sampling, context, plain, answer, widths)

    def _record(self, context: list[int], answer: Sequence[int]) -> None:
        """Look at plain decoding's answer again, from every drafter."""
        if len(answer) < 2:
            return
        field, sampling = self._field, self._sampling
        with closing(Samplers(field.target)) as samplers:
            found = hindsight.record(field.target, samplers, sampling, context, answer)
            if field.draft is not None:
                draft = in_target_tokens(field.draft, field.target)
                found = hindsight.with_draft(found, draft, samplers, sampling, context, answer)
        self.recorded.append((self._prompt.workload, sampling.temperature, found))
