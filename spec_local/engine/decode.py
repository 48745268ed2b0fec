"""The round and the loop: draft, evaluate, verify, roll back, emit.

Two invariants hold between rounds:

- the last committed token has not been evaluated by the target. It is the *pending* one; before the
  first round the part of the prompt that is not cached is pending, and after a tree also the tokens
  of the text that lie elsewhere in the cache than plain decoding would have put them;
- the target's cache holds exactly the committed tokens before the pending ones, and the drafter's
  cache a prefix of them. This is also true after a cancelled, failed or abandoned generation.

This module does not know llama.cpp, text, or how anything is drafted, judged or decided.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from time import perf_counter

from spec_local.engine.draft import NO_DRAFT, Outcome
from spec_local.engine.logprobs import TokenLogprobs
from spec_local.engine.rounds import FinishReason, Round
from spec_local.engine.types import EvaluationSession, Speculator, Verifier
from spec_local.sampling.types import Logits, Sampler


def generate(
    target: EvaluationSession,
    speculator: Speculator,
    verify: Verifier,
    sampler: Sampler,
    context: list[int],
    *,
    max_tokens: int,
    is_end: Callable[[int], bool],
    inspect: Callable[
        [Logits, Sequence[int], Sequence[int]], tuple[TokenLogprobs, ...]
    ] = lambda *_: (),
) -> Generator[Round, None, None]:
    """Continue `context`, the committed tokens, in place; yield one record per target evaluation.

    The first round evaluates what the cache lacks of the prompt and drafts nothing, so the first
    token costs what it costs in plain decoding. `is_end` tells end-of-generation tokens; the one
    that ends the text is emitted like any other. At least one token is always emitted. `inspect`
    sees the target's logits rows with the tokens emitted for them.
    """
    emitted = 0
    finish: FinishReason | None = None
    try:
        target.sync(context[:-1])  # the last token is evaluated anew: its logits are needed
        speculator.begin(context, sampler, max_tokens)
        while finish is None:
            started = perf_counter()
            pending = context[len(target.tokens) :]
            rows_left, cells_left = target.max_rows - len(pending), target.n_ctx - len(context)
            room = min(max_tokens - emitted - 1, rows_left, cells_left)
            drafting = emitted > 0 and room > 0
            draft = speculator.propose(context, room) if drafting else NO_DRAFT
            if draft is not NO_DRAFT:
                draft = draft.fitting(target.branches).before_end(is_end)
            drafted = perf_counter()

            read, n_rows = [*pending, *draft.tokens], len(draft.tokens) + 1
            rows = target.evaluate(read, n_rows, draft.parents)
            evaluated = perf_counter()

            verdict = verify(rows, draft, sampler)
            path = draft.path(verdict)
            tokens = (*[draft.tokens[node] for node in path], verdict.token)
            logprobs = inspect(rows, path, tokens)
            sampled = perf_counter()

            context.extend(tokens)
            speculator.observe(context, Outcome(draft, verdict, rows))
            # Attention adds up in the order of the cache, and quantized models make much of a bit.
            target.keep(draft.in_place(path))
            target.truncate(len(context) - 1)

            emitted += len(tokens)
            if is_end(verdict.token):
                finish = "stop"
            elif emitted >= max_tokens:
                finish = "length"
            elif len(context) > target.n_ctx:
                finish = "context"
            round_ = Round(
                tokens=tokens,
                accepted=verdict.accepted,
                drafted=len(draft.tokens),
                drafter=draft.drafter,
                evaluated=len(pending) + len(draft.tokens),
                draft_evaluated=draft.evaluated,
                draft_seconds=drafted - started,
                evaluate_seconds=evaluated - drafted,
                sample_seconds=sampled - evaluated - verdict.guard_seconds,
                rechecked=verdict.rechecked,
                guard_seconds=verdict.guard_seconds,
                seconds=perf_counter() - started,
                plain_seconds=speculator.plain_seconds(),
                finish=finish,
                logprobs=logprobs,
            )
            speculator.learn(round_)
            yield round_
    finally:
        # A round that was interrupted may have left its draft in the caches.
        target.truncate(len(context) - 1)
        speculator.end(context)
