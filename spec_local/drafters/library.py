"""What lookup may look into beside the text itself: expected answers, past answers, corpora."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from spec_local.drafters.past_answers import PastAnswers
from spec_local.drafters.suffix_index import BREAK, DEPTH, SuffixIndex
from spec_local.drafters.text_only import texts

_MOST_NEW = 100_000
"""Remembered tokens after which all are read again, so that no more than are kept stay here."""


class Library:
    """Texts in the target's tokens, and which of them are asked first.

    What is in it can change no text, only how much of it is drafted right.
    """

    def __init__(
        self, corpora: Iterable[Sequence[int]] = (), past: PastAnswers | None = None
    ) -> None:
        """corpora: texts that answers may quote, such as the files that are being edited.

        past: where answers are remembered; None remembers nothing.
        """
        self._past = past
        self._corpora = _joined(corpora)
        self._prediction = SuffixIndex()
        self._read_past()

    def _read_past(self) -> None:
        answers = () if self._past is None else self._past.read()
        self._remembered = _joined(answer.tolist() for answer in answers)
        self._new = SuffixIndex()

    def predict(self, prompt: Sequence[int], prediction: Sequence[int]) -> None:
        """Expect such an answer to this prompt, until another one is expected or, if empty, none.

        It is kept as if it had been answered before: behind the end of the prompt. So it is the
        draft from the first token on, and where the answer leaves it, any match leads back.
        """
        self._prediction = _joined([_behind(prompt, prediction)] if prediction else [])

    def remember(self, prompt: Sequence[int], answer: Sequence[int]) -> None:
        """An answer was given to this prompt; nothing is done without a place to remember it."""
        if self._past is not None and answer:
            text = _behind(prompt, answer)
            self._new.extend([*text, BREAK])
            self._past.add(text)
            if len(self._new) > _MOST_NEW:
                self._read_past()

    def texts(self, own: SuffixIndex) -> list[SuffixIndex]:
        """All texts with the conversation's own among them; of equal matches the first counts."""
        texts = (self._prediction, own, self._new, self._remembered, self._corpora)
        return [text for text in texts if text.tokens]


def _behind(prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
    """An answer behind as much of its prompt as a match can reach back."""
    return [*texts(prompt[-DEPTH:]), *answer]


def _joined(texts: Iterable[Sequence[int]]) -> SuffixIndex:
    return SuffixIndex([token for text in texts for token in (*text, BREAK)])
