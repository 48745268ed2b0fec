"""The budget as a property: whatever the verdicts, an answer loses no more than the README says."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from spec_local.control.plan import Offer
from spec_local.control.report import Judged, RoundReport
from tests.machines import promised
from tests.test_control import a_controller

README = (Path(__file__).parent.parent / "README.md").read_text()
PROMISE = (
    "An answer may lose the time of three tokens and a quarter per cent to trying; many together "
    "no more than that and half a token each, unless it was earned before."
)


def test_the_readme_says_it_word_for_word() -> None:
    assert PROMISE in " ".join(README.split())


@settings(max_examples=30, deadline=None)
@given(
    slope=st.floats(0.01, 1.5),
    draft=st.floats(0.01, 0.8),
    honesty=st.floats(0.0, 1.0),
    seed=st.integers(0, 10**6),
)
def test_whatever_the_verdicts_answers_in_a_row_lose_no_more(
    slope: float, draft: float, honesty: float, seed: int
) -> None:
    """Two drafters that were trusted before; a draft survives as long as `honesty` lets it.

    V and D are known, as they are once a machine was measured. What the draft reads before its
    first draft of an answer is left out, as the README does.
    """
    rng = random.Random(seed)

    def cost(width: int) -> float:
        return 1.0 + slope * (width - 1)

    controller = a_controller(cost, model_step=draft, max_tokens=400)
    lost, written, behind, answer, answers = 0.0, 0, 1, 0, 1
    while written < 600:
        if written - answer >= 60:
            controller.begin(400)
            controller.learn(RoundReport(tokens=1, width=50, context=0, evaluate_seconds=cost(50)))
            answer, answers = written, answers + 1
        read = controller.drafters["model"].started
        sure = tuple(rng.choice([0.5, 0.9, 0.995]) for _ in range(rng.randint(0, 16)))
        offers = [Offer("lookup", sure), Offer("model", behind=behind)]
        plan = controller.plan(offers, 100, 32)
        confidences, steps = sure[: plan.k], list[tuple[int, float]]()
        if plan.pace is not None:
            confidences = ()
            while plan.pace.more():
                steps.append((behind, draft * (1 + 0.2 * (behind - 1))))
                behind, confidence = 1, rng.choice([0.5, 0.9, 0.995])
                if not plan.pace.take(confidence):
                    break
                confidences += (confidence,)
        k = len(confidences)
        accepted = next((i for i in range(k) if rng.random() >= honesty), k)
        tokens = accepted + 1
        verdict = Judged(confidences, accepted, rejected=accepted < k)
        controller.learn(
            RoundReport(
                tokens=tokens,
                width=k + 1,
                context=100,
                evaluate_seconds=cost(k + 1),
                drafter=plan.drafter,
                steps=steps,
                judged={plan.drafter: verdict} if plan.drafter else {},
            )
        )
        behind = min(2, 1 + (accepted == k > 0))
        written += tokens
        reading = steps[0][1] - draft if steps and not read else 0.0
        lost += cost(k + 1) + sum(seconds for _width, seconds in steps) - reading - tokens
        assert lost <= promised(written, answers)
