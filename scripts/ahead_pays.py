"""Where drafting ahead pays (docs/ahead.md), by time and acceptance.

   python -m scripts.ahead_pays

Times are in those of one drafted token, as only the ratio counts: V is a plain token of the target.
Every drafted token is accepted with probability a, if those before it are, and the draft model
guesses what the target draws after a draft as often. A round of k drafted tokens emits

    E(k) = Σ_{i≤k} a^i

and takes k + V(k + 1) where the target waits, with V(w) = V (1 + slope (w - 1)). Where the draft
model draws on meanwhile, it has n = V(k + 1) tokens more when the verdict comes. With probability
a^(k + 1) all of the draft was right and so was the first of the n; then the n - 1 others are the
next draft, for which nobody has waited. Else the next draft is drawn as ever. Both ways take the k
that is best for them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

MOST = 16
"""Drafted tokens in a round."""
TARGETS, RATES = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 40.0), (0.6, 0.8, 0.9)
SLOPE = 0.01
"""What a row more costs, against the first; so little as on a GPU."""
_NEVER = 1e-9


def expected(k: int, rate: float) -> float:
    """E(k): tokens that a round with k drafted ones emits in the mean."""
    return sum(rate**i for i in range(k + 1))


def in_turn(k: int, verify: Callable[[int], float], rate: float) -> float:
    """Tokens per time of rounds in which the target waits for k drafted tokens."""
    return expected(k, rate) / (k + verify(k + 1))


def ahead(k: int, verify: Callable[[int], float], rate: float) -> float:
    """The same where the draft model draws on meanwhile.

    Counted are the rounds from one draft that is waited for to the next.
    """

    def ready(width: int) -> int:
        return min(MOST, int(verify(width)) - 1)

    tokens, time = expected(k, rate), k + verify(k + 1)
    chance, there = rate ** (k + 1), ready(k + 1)
    while there > 0 and chance > _NEVER:
        tokens += chance * expected(there, rate)
        time += chance * verify(there + 1)
        chance *= rate ** (there + 1)
        there = ready(there + 1)
    return tokens / time


def speed_ups(target: float, rate: float) -> tuple[float, float]:
    """Times plain decoding, in turn and ahead, each with its best k; 1 is not to draft.

    target: time of a plain token, in drafted tokens.
    """

    def verify(width: int) -> float:
        return target * (1 + SLOPE * (width - 1))

    best = [
        max(target * way(k, verify, rate) for k in range(1, MOST + 1)) for way in (in_turn, ahead)
    ]
    return max(1.0, best[0]), max(1.0, best[1])


def table(targets: Sequence[float] = TARGETS, rates: Sequence[float] = RATES) -> str:
    """Markdown: a line for each target, for each acceptance both ways."""
    heads = [f"a = {rate:g}, in turn | ahead" for rate in rates]
    lines = [f"| V, in drafted tokens | {' | '.join(heads)} |", "|" + "--:|" * (1 + 2 * len(rates))]
    for target in targets:
        cells = [f"{each:.2f}" for rate in rates for each in speed_ups(target, rate)]
        lines.append(f"| {target:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    print(table())


if __name__ == "__main__":
    main()
