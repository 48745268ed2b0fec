"""What a lookup drafter may look into beside the text itself: an expected answer, and corpora."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spec_local.drafters.suffix_index import BREAK, DEPTH, SuffixIndex


class Library:
    """Texts in the target's tokens, and which of them are asked first.

    What is in it can change no text, only how much of it is drafted right.
    """

    def __init__(self, corpora: Iterable[Sequence[int]] = ()) -> None:
        """corpora: texts that answers may quote, such as the files that are being edited."""
        self._corpora = _joined(corpora)
        self._prediction = SuffixIndex()

    def predict(self, prompt: Sequence[int], prediction: Sequence[int]) -> None:
        """Expect such an answer to this prompt, until another one is expected or, if empty, none.

        It is kept as if it had been answered before: behind the end of the prompt. So it is the
        draft from the first token on, and where the answer leaves it, any match leads back.
        """
        self._prediction = _joined([[*prompt[-DEPTH:], *prediction]] if prediction else [])

    def texts(self, own: SuffixIndex) -> list[SuffixIndex]:
        """All texts with the conversation's own among them; of equal matches the first counts."""
        return [text for text in (self._prediction, own, self._corpora) if text.tokens]


def _joined(texts: Iterable[Sequence[int]]) -> SuffixIndex:
    return SuffixIndex([token for text in texts for token in (*text, BREAK)])
