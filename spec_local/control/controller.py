"""The controller: who drafts in the next round, how much, and whether anyone does.

One round with k drafted tokens emits 1 + Σ_{i≤k} Π_{j≤i} a_j tokens in the mean and takes
V(k + 1) + D(k) seconds. What a round costs is time in which other rounds could emit tokens, at the
rate r they lately did. So the controller takes the drafter and the k with the greatest

    gain = Σ_{i≤k} Π_{j≤i} a_j  -  r · (V(k + 1) - V(1) + D(k))

over all widths, since V is neither smooth nor monotone. Not to draft has gain 0.

An account (`budget.py`) guards the promise never to be slower. Two things are decided outside it,
because nothing can be earned before them. Calibration: a few wider rounds in the first answer on a
machine of which nothing is known. And that the draft model reads the prompt: it must be expected
to pay for itself more than once, and how well it would draft is foreseen from how sure the target
itself is of this text (`acceptance.py`): the less there is to gain, the longer that is looked at.

This module knows no model, no tokens and no clock: it is told costs and verdicts, so that
`simulation.py` can put it on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from operator import mul

from spec_local.control.budget import Account
from spec_local.control.constants import Tuning
from spec_local.control.costs import MAX_WIDTH, CostCurve
from spec_local.control.drafter_state import Source
from spec_local.control.plan import CALIBRATION, PLAIN, UNJUDGED, Judged, Offer, Plan
from spec_local.control.stopping import DraftPace
from spec_local.control.widths import ANY, Widths


@dataclass(slots=True)
class Controller:
    """Plans every round from what the rounds before have cost and earned."""

    target: CostCurve
    sources: Mapping[str, Source]
    tuning: Tuning = field(default_factory=Tuning)
    widths: Widths = ANY
    """At which the target may be evaluated; costs are those after padding."""
    account: Account = field(init=False)
    _emitted: int = 0
    _max_tokens: int = 0
    _recent_tokens: float = 1.0
    _recent_cost: float = 1.0
    _since_plain: int = 0

    def __post_init__(self) -> None:
        self.account = Account(self.tuning)

    def begin(self, max_tokens: int, kind: str = "") -> None:
        """A generation of at most so many tokens begins.

        kind: of the drafters' confidences; what is known of one kind says nothing of another.
        """
        self._emitted, self._max_tokens, self._since_plain = 0, max_tokens, 0
        self._recent_tokens = self._recent_cost = self.tuning.first_rounds
        self.account = Account(self.tuning)
        for source in self.sources.values():
            source.begin(kind)

    def plan(self, offers: Sequence[Offer], context: int, room: int) -> Plan:
        """The best of the offers for a round of at most `room` drafted tokens, or none of them."""
        room = min(room, self.widths.widest - 1)
        if room < 1 or not self.target.has(1, context):
            return PLAIN
        row = self.widths.costs(self.target.row(context))
        missing = self._width_to_measure(row, context)
        if missing and missing <= room + 1 and self._since_plain == 0:  # next to a plain round
            return Plan(CALIBRATION, missing - 1)
        if self._since_plain >= self.tuning.recheck_rounds and self.widths.narrowest == 1:
            return PLAIN
        best, best_gain = PLAIN, self.tuning.margin
        for offer in offers:
            for gain, plan in self._choices(offer, row, context, room):
                if gain > best_gain:
                    best, best_gain = plan, gain
        best = self._beyond_the_known(best, offers, row, room)
        if best is PLAIN:
            probes = (self._probe(offer, row, context, room) for offer in offers)
            best = next((probe for probe in probes if probe is not None), PLAIN)
        return best

    def plain_seconds(self, context: int) -> float:
        """What one token costs in plain decoding at present; 0.0 before it is known."""
        return self.target.row(context)[1]

    def _width_to_measure(self, row: Sequence[float], context: int) -> int:
        """The next width of the first calibration, 0 if none is needed."""
        for number, (wanted, bound) in enumerate(self.tuning.calibration, start=1):
            if wanted > self.widths.widest:
                break
            width = self.widths.at_least(wanted)
            if not self.target.has(width, context):
                return width if self._emitted >= number * self.tuning.calibration_gap else 0
            if row[width] > bound * row[1]:
                break
        return 0

    def _beyond_the_known(
        self, plan: Plan, offers: Sequence[Offer], row: Sequence[float], room: int
    ) -> Plan:
        """A draft that ends at the widest width measured goes on to twice that, if it can.

        Wider ones are only extrapolated, and pessimistically; nobody would ever look there.
        """
        widest = self.target.widest
        if plan is PLAIN or plan.pace is not None or plan.k + 1 != widest:
            return plan
        offered = next(o.confidences for o in offers if o.drafter == plan.drafter) or ()
        k = min(2 * widest - 1, len(offered), room)
        survivals = self.sources[plan.drafter].survivals(offered[:k])
        bearable = self.account.is_worth(row[k + 1] / row[1] - 1.0, survivals)
        return Plan(plan.drafter, k) if bearable else plan

    def _rate(self, row: Sequence[float]) -> float:
        """Tokens per second that the coming rounds will bring: what they lately brought."""
        return max(1.0, self._recent_tokens / self._recent_cost) / row[1]

    def _choices(
        self, offer: Offer, row: Sequence[float], context: int, room: int
    ) -> Iterator[tuple[float, Plan]]:
        """What could be done with one offer, each with its gain."""
        if offer.confidences is not None:
            return self._drafted(offer, row, room)
        return self._to_draft(offer, row, context, room)

    def _drafted(
        self, offer: Offer, row: Sequence[float], room: int
    ) -> Iterator[tuple[float, Plan]]:
        """Every k of a draft that is there."""
        rate = self._rate(row)
        survivals = self.sources[offer.drafter].survivals((offer.confidences or ())[:room])
        for k, expected in enumerate(accumulate(survivals), start=1):
            gain = expected - rate * (row[k + 1] - row[1])
            if gain > 0:
                risk = self.account.risk(row[k + 1] / row[1] - 1.0, survivals[:k])
                yield gain - risk, Plan(offer.drafter, k)

    def _to_draft(
        self, offer: Offer, row: Sequence[float], context: int, room: int
    ) -> Iterator[tuple[float, Plan]]:
        """Drafting token by token, as far as its failure can be borne."""
        source, rate = self.sources[offer.drafter], self._rate(row)
        if source.asleep > 0:
            return
        step, first, reading = source.seconds(self.target, offer.behind, context)
        caution = self._caution if not source.started else 1.0
        survivals = list(accumulate(repeat(source.acceptance.typical, room), mul))
        limit = 0
        for k in range(1, room + 1):
            price = (row[k + 1] + first + (k - 1) * step) / row[1] - 1.0
            catch_up = reading / row[1] if source.started else 0.0
            if self.account.bears(price + catch_up) and self.account.is_worth(price, survivals[:k]):
                limit = k
        if limit:
            pace = DraftPace(source.acceptance, row, step, rate, limit)
            gain = pace.value + rate * (row[1] - (first - step))
            # What is invested is shared by the tokens to come; a round emits about 2 + gain.
            gain -= rate * caution * reading / self._rest * (2.0 + gain)
            source.asleep = self.tuning.sleep_tokens if gain < 0 else 0
            yield gain, Plan(offer.drafter, limit, pace)

    def _probe(self, offer: Offer, row: Sequence[float], context: int, room: int) -> Plan | None:
        """Try a drafter that is thought useless, if it may have become useful and can be paid for.

        A drafter that drafts for free needs no probe: it is watched all the time.
        """
        source, tuning = self.sources[offer.drafter], self.tuning
        if source.cost is None or source.idle < tuning.retry_tokens * 2**source.failures:
            return None
        step, first, reading = source.seconds(self.target, offer.behind, context)
        best, best_value, survival, expected = 0, 0.0, 1.0, 0.0
        for k in range(1, min(room, tuning.probe_tokens) + 1):
            survival *= tuning.hope
            expected += survival
            seconds = row[k + 1] + first + (k - 1) * step
            saved = 1.0 - seconds / row[1] / (1.0 + expected)  # per token, should hope come true
            price = (seconds + reading) / row[1] - 1.0
            value = tuning.chance * 0.5**source.failures * saved * self._rest - price
            if value > best_value and self.account.bears(price):
                best, best_value = k, value
        if best == 0:
            return None
        pace = DraftPace(source.acceptance, row, step, 1.0 / row[1], best, probe=True)
        return Plan(offer.drafter, best, pace)

    @property
    def _caution(self) -> float:
        """How many times over reading the prompt must be expected to pay for itself."""
        return self.tuning.caution * (1.0 + self.tuning.hesitation / max(1, self._emitted))

    @property
    def _rest(self) -> int:
        """Tokens the answer is expected to have left."""
        expected = self.tuning.expected_rest + self._emitted
        return max(1, min(expected, self._max_tokens - self._emitted))

    def learn(
        self,
        *,
        tokens: int,
        width: int,
        context: int,
        evaluate_seconds: float,
        source: str = "",
        steps: Sequence[tuple[int, float]] = (),
        judged: Mapping[str, Judged] | None = None,
        certainty: float | None = None,
        other_seconds: float = 0.0,
    ) -> None:
        """A round is over: `tokens` emitted by evaluating `width` tokens after `context`.

        steps: (tokens, seconds) of each evaluation of the draft model in it.
        judged: by drafter, also of those that were not asked to submit.
        certainty: how likely the target found its own best token at the first position.
        other_seconds: what the round took beyond evaluating and sampling, deciding above all.
        """
        first_round = self._emitted == 0
        is_prompt = first_round and width > 1
        if not is_prompt:
            width = self.widths.at_least(width)
        if not is_prompt or width > MAX_WIDTH:  # a prompt asks for one row only
            self._observe_speed(width, context, evaluate_seconds)
        judged = judged or {}
        for name, known in self.sources.items():
            verdict = judged.get(name, UNJUDGED)
            known.acceptance.observe(verdict.confidences, verdict.accepted, verdict.rejected)
            if certainty is not None:
                known.see(certainty, verdict.confidences)
        drafting = self.sources[source].learn_drafting(steps, context) if steps else 0.0
        plain = self.target.row(context)[self.widths.narrowest]
        self._emitted += tokens
        if first_round or plain <= 0:
            return
        self._since_plain = 0 if width == 1 else self._since_plain + 1
        # The shape tells what this width costs; the clock also tells what else the machine did.
        cost = (self.target.seconds(width, context) + drafting + other_seconds) / plain
        keep = 1.0 - 1.0 / self.tuning.rate_rounds
        self._recent_tokens = self._recent_tokens * keep + tokens
        self._recent_cost = self._recent_cost * keep + cost
        saved = 0.0 if source == CALIBRATION else tokens - cost
        self.account.settle(tokens, saved)
        for name, known in self.sources.items():
            known.keep_books(name == source, saved, tokens)

    def _observe_speed(self, width: int, context: int, seconds: float) -> None:
        """The target's cost; if the machine's speed has changed, so it has for the drafts."""
        known, before = self.target.has(width, context), self.target.scale
        self.target.observe(width, context, seconds)
        for source in self.sources.values():
            if known and source.cost is not None:
                source.cost.rescale(self.target.scale - before)
