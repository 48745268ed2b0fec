"""The controller: who drafts in the next round, how much, and whether anyone does.

One round with k drafted tokens emits 1 + Σ_{i≤k} Π_{j≤i} a_j tokens in the mean and takes
V(k + 1) + D(k). What a round costs is time in which other rounds could emit tokens, at the rate r
they lately did. So the controller takes the drafter and the k with the greatest

    gain = Σ_{i≤k} Π_{j≤i} a_j  -  r · (V(k + 1) - V(1) + D(k))

over all widths, since V is neither smooth nor monotone. Not to draft has gain 0. Maximising gain at
the present rate maximises the rate in the long run (renewal reward: Dinkelbach, Management Science
13, 1967). Every cost here is in plain tokens, so V(1) = 1 and r is a pure number, at least 1.

Three steps make a plan, and the first that has one decides:

    recheck     V(1) is measured again, which wide rounds cannot tell
    best        the offer and the k with the greatest gain above a margin
    probe       a drafter thought useless is tried again

A budget (`budget.py`) guards the promise never to be slower. The draft model's reading of the
prompt is an investment out of what earlier answers have saved; how well it would draft is foreseen
from how sure the target is of this text (`acceptance.py`).

It knows no model, no tokens and no clock (`docs/controller.md`, `simulation.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from operator import mul

from spec_local.control.budget import Budget
from spec_local.control.constants import Tuning
from spec_local.control.costs import MAX_WIDTH, CostCurve, bucket_of
from spec_local.control.drafter_state import DrafterState, Intent
from spec_local.control.plan import PLAIN, Moment, Offer, Plan
from spec_local.control.reach import reach
from spec_local.control.report import UNJUDGED, RoundReport
from spec_local.control.stopping import DraftPace
from spec_local.control.widths import ANY, Widths

_EIGHT = 8
"""The width that an answer must be able to try: narrower ones seldom pay where this does not."""


@dataclass(slots=True)
class Controller:
    """Plans every round from what the rounds before have cost and earned."""

    target: CostCurve
    drafters: Mapping[str, DrafterState]
    tuning: Tuning = field(default_factory=Tuning)
    widths: Widths = ANY
    """Widths at which the target may be evaluated; costs are those after padding."""
    budget: Budget = field(init=False)
    _drafting: dict[int, CostCurve] = field(init=False)
    """Curves of draft models, each once, though two drafters may share it."""
    _emitted: int = 0
    _max_tokens: int = 0
    _recent_tokens: float = 1.0
    _recent_cost: float = 1.0
    _since_plain: int = 0
    _plain_at: int = 0
    """Context of the last plain round."""
    _open_rounds: list[tuple[int, int, float]] = field(default_factory=list)
    """Width and context of every round since then, and the plain tokens it was booked at."""

    def __post_init__(self) -> None:
        self.budget = Budget(self.tuning)
        self._drafting = {id(each.cost): each.cost for each in self.drafters.values() if each.cost}

    def begin(self, max_tokens: int, kind: str = "") -> None:
        """A generation of at most so many tokens begins.

        kind: of the drafters' confidences; what is known of one kind says nothing of another.
        """
        self._emitted, self._max_tokens, self._since_plain = 0, max_tokens, 0
        self.budget.begin(self._price_of(_EIGHT))
        self._recent_tokens = self._recent_cost = self.tuning.first_rounds
        for drafter in self.drafters.values():
            drafter.begin(kind)

    def plan(self, offers: Sequence[Offer], context: int, room: int) -> Plan:
        """The next round: one of the offers, or no draft.

        context: tokens in the target's cache. room: most tokens that may be drafted.
        """
        room = min(room, self.widths.widest - 1)
        offers = [offer for offer in offers if self._is_open(offer)]
        if room < 1 or not offers or not self.target.has(1, context):
            return PLAIN
        rate = max(1.0, self._recent_tokens / self._recent_cost)
        costs = self.widths.costs(self.target.shape(context))
        plain = self.target.seconds(self.widths.narrowest, context)
        moment = Moment(offers, context, room, plain, costs, rate)
        for step in (self._recheck, self._best, self._probe):
            if (plan := step(moment)) is not None:
                return plan
        return PLAIN

    def _is_open(self, offer: Offer) -> bool:
        """Whether this drafter could draft at all; where none does, nothing is worth weighing."""
        if offer.confidences is not None:
            return len(offer.confidences) > 0
        return self.drafters[offer.drafter].asleep <= 0

    def _price_of(self, width: int) -> float:
        """What such a round takes beyond a plain one in a short context; 0.0: not known."""
        padded = self.widths.at_least(min(width, self.widths.widest))
        if not self.target.is_known or not self.target.has(padded, 0):
            return 0.0
        return self.widths.costs(self.target.shape(0))[padded] - 1.0

    def plain_seconds(self, context: int) -> float:
        """Seconds of one token in plain decoding at present; 0.0 before that is known."""
        return self.target.seconds(1, context)

    def _recheck(self, moment: Moment) -> Plan | None:
        """Decode plainly once in so many rounds and context lengths, if width 1 is used at all."""
        moved_on = bucket_of(moment.context) > bucket_of(self._plain_at)
        due = self._since_plain >= self.tuning.recheck_rounds or moved_on
        return PLAIN if due and self.widths.narrowest == 1 else None

    def _best(self, moment: Moment) -> Plan | None:
        """Take the greatest gain of all offers and lengths, if it is beyond the error of costs."""
        best, best_gain = None, self.tuning.margin
        for offer in moment.offers:
            choices = self._to_draft if offer.confidences is None else self._drafted
            for gain, plan in choices(offer, moment):
                if gain > best_gain:
                    best, best_gain = plan, gain
        return None if best is None else self._stretched(best, moment)

    def _probe(self, moment: Moment) -> Plan | None:
        """Try the first drafter thought useless that may have become useful and can be paid for."""
        probes = (self._probe_of(offer, moment) for offer in moment.offers)
        return next((probe for probe in probes if probe is not None), None)

    def _drafted(self, offer: Offer, moment: Moment) -> Iterator[tuple[float, Plan]]:
        """Every k of a draft that is there and beats all shorter ones, with its gain."""
        offered, best = (offer.confidences or ())[: moment.room], 0.0
        odds = self.drafters[offer.drafter].odds(offered, offer.parents)
        each = zip(accumulate(odds.chances), odds.costs(moment.costs), strict=False)
        for k, (expected, cost) in enumerate(each, start=1):
            price = cost - 1.0
            gain = expected - moment.rate * price  # Σ Π a  -  r (V(k + 1) - V(1))
            if gain > best:  # no risk is below 0, so only then it is worth computing
                gain -= self.budget.risk(price, odds.survivals(k))
                if gain > best:
                    best = gain
                    yield gain, Plan(offer.drafter, k)

    def _to_draft(self, offer: Offer, moment: Moment) -> Iterator[tuple[float, Plan]]:
        """Drafting with a model, as far as its failure can be borne, with its gain."""
        drafter, rate, costs = self.drafters[offer.drafter], moment.rate, moment.costs
        reads = offer.behind > max(2, drafter.block + 1)  # more than an accepted draft leaves
        held = None if reads else drafter.held(moment.room)
        if held is not None and self.budget.bears(held.price):
            yield held.gain, Plan(offer.drafter, held.pace.limit, held.pace)
            return
        draft = drafter.prices(offer.behind, moment.context, moment.plain)
        catch_up = draft.reading if drafter.started else 0.0
        if not drafter.started and not self.budget.affords(draft.reading):
            drafter.sleep()
            return
        survivals = list(accumulate(repeat(drafter.acceptance.typical, moment.room), mul))
        limit = reach(draft, survivals, moment, self.budget, catch_up)
        if limit > 0:
            price = costs[limit + 1] + draft.at_most(limit) - 1.0
            pace = DraftPace(drafter.acceptance, costs, draft.step, rate, limit, shape=draft.shape)
            # The pace counts V(1) and every draft step as `step`; what else there is is sunk.
            gain = pace.value + rate * (1.0 - (draft.of(limit) - limit * draft.step))
            # Reading is shared by the rounds to come, which emit about usual_tokens + gain each.
            caution = self._caution(drafter, draft.reading)
            gain -= rate * caution * draft.reading * (self.tuning.usual_tokens + gain) / self._rest
            drafter.weigh(Intent(pace, gain, price + catch_up))
            yield gain, Plan(offer.drafter, limit, pace)
        else:
            drafter.sleep()

    def _stretched(self, plan: Plan, moment: Moment) -> Plan:
        """A looked-up draft that ends at the widest width measured goes beyond it, if it can.

        Wider ones are only extrapolated, and pessimistically; nobody would ever look there.
        """
        if plan.pace is not None or plan.k + 1 != (widest := self.target.widest):
            return plan
        offer = next(offer for offer in moment.offers if offer.drafter == plan.drafter)
        offered = offer.confidences or ()
        k = min(self.tuning.stretch * widest - 1, len(offered), moment.room)
        odds = self.drafters[plan.drafter].odds(offered, offer.parents)
        bearable = self.budget.is_worth(odds.costs(moment.costs)[k - 1] - 1.0, odds.survivals(k))
        return Plan(plan.drafter, k) if bearable else plan

    def _probe_of(self, offer: Offer, moment: Moment) -> Plan | None:
        """The draft that finds out whether this drafter has become useful; None if not worth it.

        A drafter that drafts for free needs no probe: it is watched all the time.
        """
        drafter, tuning = self.drafters[offer.drafter], self.tuning
        doubt = tuning.setback**drafter.failures
        if offer.confidences is not None or drafter.idle < tuning.retry_tokens * doubt:
            return None
        draft = drafter.prices(offer.behind, moment.context, moment.plain)
        best, best_value, survival, expected = 0, 0.0, 1.0, 0.0
        longest = draft.block or tuning.probe_tokens
        for k in range(1, min(moment.room, tuning.probe_tokens, longest) + 1):
            survival *= tuning.hope
            expected += survival
            cost = moment.costs[k + 1] + draft.of(k)
            saved = 1.0 - cost / (1.0 + expected)  # per token, should hope come true
            price = cost + draft.reading - 1.0
            value = tuning.chance / doubt * saved * self._rest - price
            if value > best_value and self.budget.bears(price):
                best, best_value = k, value
        if best == 0:
            return None
        pace = DraftPace(drafter.acceptance, moment.costs, draft.step, 1.0, best, probe=True)
        return Plan(offer.drafter, best, pace)

    def _caution(self, drafter: DrafterState, reading: float) -> float:
        """How many times over reading the prompt must be expected to pay for itself.

        A draft model that is little known reads for later answers too, where they have earned it.
        """
        if drafter.started:
            return 1.0
        caution = self.tuning.caution * (1.0 + self.tuning.hesitation / max(1, self._emitted))
        return caution * drafter.acceptance.familiarity if self.budget.earned(reading) else caution

    @property
    def _rest(self) -> float:
        """Tokens the answer is expected to have left."""
        return self.tuning.rest(self._emitted, max(1, self._max_tokens - self._emitted))

    def learn(self, report: RoundReport) -> None:
        """A round is over: learn what things cost, who was right, and settle the budget."""
        is_first = self._emitted == 0
        width = self._learn_speed(report, is_prompt=is_first and report.width > 1)
        for name, drafter in self.drafters.items():
            drafter.learn_verdict(report.judged.get(name, UNJUDGED), report.certainty)
        drafting = reading = 0.0
        if report.steps:
            drafter = self.drafters[report.drafter]
            drafting, reading = drafter.learn_drafting(report.steps, report.context)
        self._emitted += report.tokens
        plain = self.target.seconds(self.widths.narrowest, report.context)
        if is_first or plain <= 0:
            self._plain_at = report.context + report.width
            return
        self._since_plain = 0 if width == 1 else self._since_plain + 1
        if width == 1:
            self._plain_at = report.context
        # The shape tells what this width costs; the clock also tells what else the machine did.
        evaluating = self.target.seconds(width, report.context) / plain
        self._book(width, report.context, evaluating)
        self.budget.invest(reading / plain)
        self._settle(report, evaluating + (drafting + report.other_seconds) / plain)

    def _book(self, width: int, context: int, cost: float) -> None:
        """A plain round tells whether V(1) was right, and so what those since the last one cost."""
        if width > 1:
            self._open_rounds.append((width, context, cost))
            return
        for each, where, booked in self._open_rounds:
            plain = self.target.seconds(self.widths.narrowest, where)
            self.budget.settle(0, booked - self.target.seconds(each, where) / plain)
        self._open_rounds.clear()

    def _learn_speed(self, report: RoundReport, is_prompt: bool) -> int:
        """Learn the target's cost; returns the width after padding.

        The drafts' speed changes with every change of the machine's, or those taken back add up.
        """
        width = report.width if is_prompt else self.widths.at_least(report.width)
        if is_prompt and width <= MAX_WIDTH:  # a prompt asks for one row only, so it is cheaper
            return width
        was_known, before = self.target.is_known, self.target.scale
        if not self.target.has(width, report.context):
            for drafter in self.drafters.values():
                drafter.reconsider()
        self.target.observe(width, report.context, report.evaluate_seconds)
        for cost in self._drafting.values() if was_known else ():
            cost.rescale(self.target.scale - before)
        return width

    def _settle(self, report: RoundReport, cost: float) -> None:
        """Enter what the round saved, or lost, against plain decoding; cost in plain tokens."""
        keep = 1.0 - 1.0 / self.tuning.rate_rounds
        self._recent_tokens = self._recent_tokens * keep + report.tokens
        self._recent_cost = self._recent_cost * keep + cost
        saved = report.tokens - cost
        self.budget.settle(report.tokens, saved)
        for name, drafter in self.drafters.items():
            drafter.keep_books(name == report.drafter, saved, report.tokens)
