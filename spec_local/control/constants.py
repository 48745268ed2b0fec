"""Every number the controller works with, each with its meaning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trust:
    """How much it takes to doubt a drafter's confidence. Weights are in judged tokens."""

    confidence_weight: float
    """Weight of the confidence itself, against what is known of the pair."""
    pair_weight: float
    """Weight of what is known of the pair, against what the present text has shown."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is not measured but chosen. Times are in units of one plain token, V(1)."""

    # -- costs (costs.py): sizes of relative errors, as standard deviations of log seconds

    timing_noise: float = 0.06
    """Spread of one measured decode around its mean."""
    speed_drift: float = 0.02
    """How far the machine's speed wanders from one decode to the next, at least: clocks, other
    processes. On a restless machine more, as measured."""
    unrest_memory: float = 16.0
    """Decodes over which it is measured how restless the machine is."""
    shape_drift: float = 0.002
    """How far the cost of one width wanders against the others: practically fixed."""
    shape_doubt: float = 0.2
    """Doubt of what was measured in another state of the machine, or of another model."""
    bucket_doubt: float = 0.15
    """Doubt of a width that was measured at another context length."""
    no_idea: float = 2.0
    """Doubt of a cost nothing is known of: a factor of e^2, about 7, either way."""
    spike_memory: float = 0.1
    """Share of what was cut off an outlier, squared, that makes the speed less certain: if
    it really has another speed now, the next decodes may move the estimate further."""
    outlier: float = 2.5
    """A decode further off than this many standard deviations moves the estimate no further."""

    # -- acceptance (acceptance.py)

    confidence_edges: tuple[float, ...] = (0.3, 0.5, 0.65, 0.8, 0.9, 0.96, 0.99)
    """Borders of the confidence buckets: finer where drafts get long, as 1 - a decides there."""
    pair_memory: float = 400.0
    """Judged tokens a bucket remembers of this pair of models: many answers."""
    text_memory: float = 24.0
    """Judged tokens a bucket remembers of the present text: a few sentences, a function."""
    drawn: Trust = Trust(confidence_weight=20.0, pair_weight=60.0)
    """Trust in the probability with which a model drew a token: texts hardly differ in it. Fitted
    as beta-binomial; `scripts/fit_constants.py` fits it, and those below, to a recorded pair."""
    looked_up: Trust = Trust(confidence_weight=4.0, pair_weight=10.0)
    """Trust in the length of a match, which means another thing in every text. Fitted."""
    shares_weight: float = 3.0
    """How many drafted tokens of the present text show as well as all texts before how often a
    draft is how sure."""
    first_shares: tuple[float, ...] = (8, 8, 6, 8, 8, 9, 10, 43)
    """Per cent of drafted tokens in each confidence bucket, of a draft model nothing is known
    about: Qwen2.5-Coder 0.5B for 1.5B, over code, chat and summaries."""
    first_weight: float = 12.0
    """How many tokens that guess weighs."""
    first_distance: float = 1.0
    """Buckets that the draft's confidence is typically off the target's certainty, before it is
    known: the same two models."""

    # -- drafting (stopping.py)

    least_survival: float = 1e-2
    """Survival of a draft under which the value of going on is taken as constant."""
    survival_points: int = 24
    """Survivals between that and 1, evenly by ratio, for which the value is computed."""

    # -- decisions (controller.py)

    rate_rounds: float = 48.0
    """Rounds over which the present token rate is taken: the rate of the text that comes next."""
    first_rounds: float = 16.0
    """Plain rounds that count as those before the first one."""
    margin: float = 0.02
    """Tokens a draft must promise beyond plain decoding; less is within the error of the costs."""
    expected_rest: int = 96
    """Tokens an answer is expected to have left when it begins, and then as many as it has written
    beyond that, if nothing cuts it off: what an investment (the draft model reading the prompt)
    must pay for itself in. Lengths of answers have a heavy tail, so the longer one has become, the
    longer it will be."""
    caution: float = 1.5
    """How many times over reading the prompt must be expected to pay for itself: with more the
    slowest answers get faster, and most others slower."""
    hesitation: float = 6.0
    """After n tokens 1 + hesitation / n times that: every plain token shows more of the text, and
    where reading pays so clearly that waiting costs more, it is not waited for."""
    unfamiliar: float = 20.0
    """Where earlier answers have earned the reading, n / (n + so many) of that is enough, with n of
    the model's tokens judged. Else a model that never drafts is never known: a new pair that won by
    lookup wrote 36 answers without once asking its draft model."""
    usual_tokens: float = 2.0
    """Tokens of a drafted round beyond its gain: the one that every round emits, and about one that
    pays for the draft. Reading the prompt is shared by the tokens that are left."""
    stretch: int = 2
    """A draft that ends at the widest width measured may go on to so many times that width."""
    sleep_tokens: int = 3
    """Tokens for which a draft model that does not pay is not thought about, which takes time."""
    clear_gain: float = 0.25
    """Tokens of gain beyond which a little more or less of it decides nothing …"""
    hold_rounds: int = 4
    """… and such a draft is weighed once in so many rounds: that takes more time than all else that
    is decided."""
    recheck_rounds: int = 32
    """At least one round in so many is plain, since V(1) cannot be learned from wider ones."""
    retry_tokens: int = 32
    """Tokens after which a drafter that did not pay is tried again, and what it did in this text
    weighs half."""
    probe_tokens: int = 4
    """Most tokens drafted to find out whether a drafter has become useful."""
    hope: float = 0.95
    """Acceptance a drafter is tried for: where not even that would pay, it is not tried."""
    chance: float = 0.1
    """Probability that a drafter thought useless has become that good."""
    setback: float = 2.0
    """By what every failed try divides that probability and multiplies `retry_tokens`."""

    # -- the budget (budget.py): what speculation may lose

    allowance: float = 2.0
    """What an answer may lose before it has earned anything …"""
    most_allowance: float = 3.25
    """… and at most, where a round of eight tokens could else not be borne: where wide evaluations
    are dear, shorter drafts do not pay. Simulated on such a machine, 2 has 0.84 of the
    clairvoyant's speed, this 0.93."""
    first_saved: float = 8.0
    """What a new pair has beyond that, as if it had been earned: enough for a draft model to read a
    prompt of 200 tokens, where one takes a fifth of the target's time."""
    flow_per_token: float = 0.1
    """What an answer that is below its allowance gets with every token from what earlier ones have
    left: else one that lost it early would draft nothing to its end, however rich the pair is."""
    most_flow: float = 0.5
    """Most that an answer gets in this way."""
    least_allowance: float = 0.5
    """What an answer begins with even if those before it have lost everything: enough for a short
    draft that costs little, with which a text earns more."""
    allowance_per_token: float = 0.0025
    """What more may be lost with every token: so twenty answers of 60 tokens or more lose at most
    half a per cent. Probes are paid from this, and the controller's own time."""
    stake: float = 0.85
    """Share of the budget that one round may cost. Where wide evaluations are dear, with less no
    answer can begin to earn: simulated on such a machine, 0.7 has 0.79 of the clairvoyant's speed,
    0.85 has 0.89; on the others it makes no difference. With all of it at stake, one draft that
    failed at its first token ended speculation for the rest of an answer that was made for it."""
    aversion: float = 2.0
    """How many times over the risk of a loss counts (`budget.py`): bets half as large as Kelly's
    lose little of the gain, and the probabilities here are estimates."""
    most_saved: float = 24.0
    """Earned time that may be lost again; more is never put at risk."""

    def rest(self, emitted: int, most: int) -> float:
        """Tokens an answer is expected to have left, of `most` that it may have.

        If P(it goes on for x more) = (s / (s + x))^2, at most R of them are s R / (s + R) in the
        mean. s = `expected_rest` + emitted.
        """
        expected = self.expected_rest + emitted
        return expected * most / (expected + most)
