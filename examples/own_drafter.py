"""A drafter of your own: it proposes the rest of a phrase whose beginning has just been written.

    python examples/own_drafter.py [MODEL]

Where texts hold fixed phrases (letters, forms, licences), that is free speed. A drafter can
never change the text, only how many tokens one evaluation of the model yields: the program writes
the same text without it and with it. (Near ties in the last bits apart; `exact=True` in
`Runner.load` rules out these too.)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from spec_local import Draft, Runner, Sampling
from spec_local.drafters.none import NoDrafter

PHRASE = "Thank you for your order. We will send it within two working days.\n"
PROMPT = f"Dear Ann,\n{PHRASE}\nDear Bob,\n{PHRASE}\nDear Eve,\n"


class PhraseDrafter(NoDrafter):
    """Overrides one method of the `Drafter` protocol; the others have nothing to do here."""

    name = "phrase"
    phrase: tuple[int, ...] = ()

    def propose(self, context: Sequence[int], budget: int, pace: object = None) -> Draft:
        for known in range(len(self.phrase) - 1, 0, -1):
            if tuple(context[-known:]) == self.phrase[:known]:
                return Draft(self.phrase[known : known + budget], drafter=self.name)
        return Draft()


def main() -> None:
    parser = argparse.ArgumentParser(description="Draft by a phrase.")
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    arguments = parser.parse_args()

    texts = []
    drafter = PhraseDrafter()
    for each in ("none", drafter):
        with Runner.load(target=arguments.model, drafter=each, k=4) as runner:
            drafter.phrase = tuple(runner.tokenize(PHRASE))
            done = runner.complete(PROMPT, max_tokens=24, sampling=Sampling(temperature=0))
        texts.append(done.text)
        name = each if isinstance(each, str) else each.name
        print(f"{name}: {done.stats.tokens} tokens in {done.stats.rounds} evaluations")
    print(f"{PROMPT}{texts[0]}")
    print("The same text:", texts[0] == texts[1])


if __name__ == "__main__":
    main()
