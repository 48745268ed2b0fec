"""How long a draft may be that a model has yet to draft: no longer than its failure can be borne.

A model that drafts token by token stops as soon as its confidences disappoint (`stopping.py`), so
it may begin the longest draft that can be borne. One that drafts a block at once has been paid for
all of it before any confidence is known: it gets the length that is worth most in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from spec_local.control.budget import Budget
from spec_local.control.drafter_state import DraftPrices
from spec_local.control.plan import Moment


def reach(
    draft: DraftPrices, survivals: Sequence[float], moment: Moment, budget: Budget, catch_up: float
) -> int:
    """Most tokens to draft; 0: not even one can be borne.

    survivals: probabilities that at least 1, 2 … tokens are accepted, for as many as there is room
    for. catch_up: what the model reads besides, as a price.
    """
    costs, expected = moment.costs, [0.0, *accumulate(survivals)]
    # No draft may cost what all its tokens together promise.
    limit = min(moment.room, draft.within(expected[-1] + 1.0 - min(costs[2 : moment.room + 2])))
    while limit > 0:
        price = costs[limit + 1] + draft.of(limit) - 1.0
        bearable = expected[limit] > price and budget.bears(price + catch_up)
        if bearable and budget.is_worth(price, survivals[:limit]):
            break
        limit -= 1
    if limit == 0 or not draft.block:
        return limit
    prices = {k: costs[k + 1] + draft.of(k) - 1.0 for k in range(1, limit + 1)}
    borne = [k for k, price in prices.items() if budget.bears(price + catch_up)]
    return max(borne, key=lambda k: expected[k] - moment.rate * prices[k])
