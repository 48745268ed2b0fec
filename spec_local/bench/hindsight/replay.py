"""What could have been reached: recorded answers, priced under every schedule without noise.

An answer is looked at once from every drafter: which tokens would have been right, with which
confidence, at every position. With that and the cost curves, every schedule can be priced without
running it (`control/simulation.py`): every static drafter and k, the controller, and two bounds.
The clairvoyant plan knows every position's calibrated acceptance in advance; the oracle also knows
which tokens are right, and drafts no others. Reading the prompt with the draft model counts for all
of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise

from spec_local.bench.hindsight.looking import LookedUp, look
from spec_local.bench.record.result import CURVE_CONTEXT
from spec_local.control.acceptance import Acceptance
from spec_local.control.constants import Tuning
from spec_local.control.controller import Controller
from spec_local.control.costs import MAX_WIDTH, CostCurve
from spec_local.control.drafter_state import DrafterState
from spec_local.control.simulation import (
    Looked,
    SimulatedMachine,
    Text,
    Track,
    clairvoyant,
    run,
    static,
)
from spec_local.drafters.model import ModelDrafter
from spec_local.engine.types import EvaluationSession
from spec_local.llama.sampler_factory import SamplerFactory
from spec_local.llama.session import Session
from spec_local.models.loading import in_target_tokens, own_words
from spec_local.sampling.distribution import top_probability
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits

KS = (1, 2, 3, 4, 6, 8, 12, 16)
_MOST = MAX_WIDTH - 1


@dataclass(frozen=True, slots=True)
class Recording:
    """One answer as target and drafters saw it, by position after the first token."""

    prompt_tokens: int
    certainty: tuple[float, ...]
    """How probable the target found its own best token."""
    looked: LookedUp
    drawn: tuple[tuple[bool, float], ...] = ()
    """Whether the token that the draft model would have drawn is right, and its confidence."""
    max_tokens: int | None = None
    """What the answer's length was limited to, which is all that a controller knows of it; None:
    it was cut off there."""

    @property
    def length(self) -> int:
        """Positions after the first token."""
        return len(self.certainty)


def record(
    target: Session,
    sampling: Sampling,
    context: Sequence[int],
    answer: Sequence[int],
    max_tokens: int | None = None,
) -> Recording:
    """Look at an answer from target and lookup; evaluates the answer in the target once."""
    with (
        closing(SamplerFactory(target)) as samplers,
        closing(samplers.open(sampling, context)) as sampler,
    ):
        looked = look(context, answer, sampler)
    certainty = _certainty(target, context, answer)
    return Recording(len(context), certainty, looked, max_tokens=max_tokens)


def _certainty(target: Session, context: Sequence[int], answer: Sequence[int]) -> tuple[float, ...]:
    target.sync(context)
    rest = context[len(target.tokens) :]
    if rest:
        target.evaluate(rest)
    written = answer[:-1]
    found: list[float] = []
    for start in range(0, len(written), MAX_WIDTH):
        part = written[start : start + MAX_WIDTH]
        found += [top_probability(row) for row in target.evaluate(part, rows=len(part))]
    return tuple(found)


def with_draft(
    recording: Recording,
    draft: Session,
    target: Session,
    sampling: Sampling,
    context: Sequence[int],
    answer: Sequence[int],
) -> Recording:
    """Look at the same answer from a draft model, which is led along it token by token."""
    session = in_target_tokens(draft, target)
    words = own_words(session, draft, target)
    if words is not None:
        drafter = ModelDrafter(session, target.n_vocab, target.model.vocab.is_end, words)
        written = _written_along(drafter, target, sampling, context, answer)
        return replace(recording, drawn=tuple(written))
    (drawn,) = led_along(
        session, target, sampling, context, answer, [lambda row: row[: target.n_vocab]]
    )
    return replace(recording, drawn=tuple(drawn))


def led_along(
    session: EvaluationSession,
    target: Session,
    sampling: Sampling,
    context: Sequence[int],
    answer: Sequence[int],
    views: Sequence[Callable[[Logits], Logits]],
) -> list[list[tuple[bool, float]]]:
    """What a draft model would have drawn after each token of an answer (`Recording.drawn`).

    session: its, in the target's token ids. views: from its logits to those that are drawn from;
    each gives an entry of the result.
    """
    drawn: list[list[tuple[bool, float]]] = [[] for _ in views]
    session.truncate(0)
    session.evaluate([*context, answer[0]][:-1])
    with (
        closing(SamplerFactory(target)) as samplers,
        closing(samplers.open(sampling, context)) as sampler,
    ):
        sampler.accept(answer[0])  # the first token is the target's own
        with closing(sampler.copy()) as own:
            for before, token in pairwise(answer):
                row = session.evaluate([before])[-1]
                for view, found in zip(views, drawn, strict=True):
                    own.follow(sampler)
                    proposal = own.propose(view(row))
                    found.append((proposal.token == token, proposal.confidence))
                sampler.accept(token)
    return drawn


def _written_along(
    drafter: ModelDrafter,
    target: Session,
    sampling: Sampling,
    context: Sequence[int],
    answer: Sequence[int],
) -> Iterator[tuple[bool, float]]:
    """`Recording.drawn` of a drafter that writes its own tokens: the first of the target's in that.

    Of two of its own, which are as many as a token of the target's seldom exceeds.
    """
    with (
        closing(SamplerFactory(target)) as samplers,
        closing(samplers.open(sampling, context)) as sampler,
        closing(drafter),
    ):
        drafter.begin(context, sampler)
        for at in range(1, len(answer)):
            sampler.accept(answer[at - 1])
            draft = drafter.propose([*context, *answer[:at]], 2)
            yield draft.tokens[:1] == (answer[at],), next(iter(draft.confidences), 0.0)


@dataclass(frozen=True, slots=True)
class Prices:
    """Speed-ups over plain decoding of one answer under every schedule."""

    static: Mapping[str, float]
    auto: float
    clairvoyant: float
    oracle: float


class Pricing:
    """Prices recorded answers of one pair with its cost curves, in the order they were written.

    One controller writes them all, as in a benchmark: it knows the costs and nothing of any text at
    first, learns from each answer, and stakes what those before have saved.
    """

    def __init__(
        self, target: CostCurve, draft: CostCurve | None, recordings: Sequence[Recording]
    ) -> None:
        """recordings: all there are; how confidence and acceptance go together is taken of them."""
        self._target, self._draft = target, draft
        drawn = [((c,), int(right)) for each in recordings for right, c in each.drawn]
        looked = [(c, right) for each in recordings for right, c in each.looked]
        self._rates = {"model": calibrated(drawn), "lookup": calibrated(looked)}
        states = {"lookup": DrafterState()}
        if draft is not None:
            states["model"] = DrafterState(_copy(draft))
        self._controller = Controller(_copy(target), states)

    def price(self, recording: Recording) -> Prices:
        """Prices of the next answer."""
        machine, text = self._machine(recording), self._text(recording)
        statics = {
            f"{drafter} {k}": static(drafter, k, machine, text, recording.length).speedup
            for drafter in text
            for k in KS
        }
        return Prices(
            static={"plain": 1.0} | statics,
            auto=self._controlled(recording),
            clairvoyant=clairvoyant(machine, text, recording.length).speedup,
            oracle=_oracle(machine, recording),
        )

    def _machine(self, recording: Recording) -> SimulatedMachine:
        row = self._target.row(CURVE_CONTEXT)
        if self._draft is None:
            return SimulatedMachine(row, draft=0.0, catch_up=0.0, prompt=recording.prompt_tokens)
        step = self._draft.seconds(1, CURVE_CONTEXT)
        catch_up = (self._draft.seconds(512, CURVE_CONTEXT) - step) / 511
        return SimulatedMachine(row, step, catch_up, recording.prompt_tokens)

    def _text(self, recording: Recording) -> Text:
        text: dict[str, Track | Looked] = {
            "lookup": Looked(
                [confidences for _right, confidences in recording.looked],
                [right for right, _confidences in recording.looked],
                self._rates["lookup"],
            )
        }
        if self._draft is not None:
            confidences = [confidence for _right, confidence in recording.drawn]
            rates = [self._rates["model"](confidence) for confidence in confidences]
            text["model"] = Track(rates, [right for right, _c in recording.drawn], confidences)
        return text

    def _controlled(self, recording: Recording) -> float:
        machine, text = self._machine(recording), self._text(recording)
        outcome = run(
            self._controller,
            machine,
            text,
            recording.length,
            recording.certainty,
            recording.max_tokens,
        )
        return outcome.speedup


def _copy(curve: CostCurve) -> CostCurve:
    return CostCurve.from_dict(curve.as_dict())


def calibrated(drafts: Iterable[tuple[Sequence[float], int]]) -> Callable[[float], float]:
    """From confidence to acceptance, over all drafts (confidences, right ones)."""
    acceptance = Acceptance(Tuning(pair_memory=1e9))  # every position counts alike
    for confidences, right in drafts:
        acceptance.observe(confidences[:right], confidences[right : right + 1])
    acceptance.begin()
    return acceptance.rate


def _oracle(machine: SimulatedMachine, recording: Recording) -> float:
    """Plain time / the least time of a schedule that knows which tokens are right."""
    length = recording.length
    looked = [right for right, _confidences in recording.looked]
    seconds = _least(machine, length, (looked, 0.0))
    if recording.drawn:
        modelled = [0] * (length + 1)  # right tokens in a row, by position
        for position in range(length - 1, -1, -1):
            modelled[position] = (modelled[position + 1] + 1) * recording.drawn[position][0]
        drafting = _least(machine, length, (looked, 0.0), (modelled, machine.draft))
        seconds = min(seconds, machine.prompt * machine.catch_up + drafting)
    return length * machine.verify[1] / seconds


def _least(machine: SimulatedMachine, length: int, *drafters: tuple[Sequence[int], float]) -> float:
    """The least seconds, given how many tokens are right by position and what one costs."""
    rest = [0.0] * (length + 1)
    for position in range(length - 1, -1, -1):
        rest[position] = machine.verify[1] + rest[position + 1]
        for right, step in drafters:
            for k in range(1, min(right[position], _MOST, length - 1 - position) + 1):
                seconds = machine.verify[k + 1] + k * step + rest[position + k + 1]
                rest[position] = min(rest[position], seconds)
    return rest[0]
