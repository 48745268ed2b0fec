"""What the target thinks of a text that is there already: nothing is drawn, every token judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spec_local.engine.logprobs import TokenLogprobs, token_logprobs
from spec_local.engine.types import EvaluationSession


def score(session: EvaluationSession, tokens: Sequence[int], n: int) -> Iterator[TokenLogprobs]:
    """Log-probabilities of every token after the first, given those before it, and the top n.

    Evaluated in blocks as they are asked for, from the first token on: of what is cached the logits
    are gone. The cache then holds all tokens but the last. Raises ContextOverflow.
    """
    session.truncate(0)
    known, judged = tokens[:-1], tokens[1:]
    for start in range(0, len(known), session.max_rows):
        block = slice(start, start + session.max_rows)
        rows = session.evaluate(known[block], rows=len(known[block]))
        yield from token_logprobs(rows, range(len(rows) - 1), judged[block], n)
