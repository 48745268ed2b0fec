"""Drafting while the target verifies, for a draft model that shares no device with it.

What a round most likely comes to is that the whole draft is accepted, and that the target then
draws what the draft model would draw as well. So while the target evaluates, the draft model goes
on from there, with as many tokens as it has time for. If it comes to that, they are the next draft,
which costs nothing; if not, they are dropped. The prompt is read in the same way, while the target
reads it and writes its first tokens.

PEARL (arXiv 2408.11850) calls this post-verify, AMUSD (arXiv 2410.17375) lets both models run all
the time. docs/ahead.md tells what it is worth by the target's time, the draft's and the acceptance.
Where both models share cores or a GPU nothing is won, as one would wait for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event
from time import perf_counter

from spec_local.drafters.drawn import Drawn
from spec_local.drafters.model import ModelDrafter
from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.types import EvaluationSession, Pace
from spec_local.sampling.types import Sampler

_CHUNK = 128
"""Tokens of a prompt read at once: so long somebody waits at most who ends the generation."""
_LEAST = 2
"""Tokens: the first one is only the guess of what the target draws."""


class AheadDrafter(ModelDrafter):
    """A `ModelDrafter` with a thread that works between a draft and its verdict.

    What is drawn ahead is drawn as ever, each token with the noise of its own position, only
    earlier; so the text is the same. Under rejection sampling nothing is drawn ahead: there a draft
    may not be cut short knowing what comes next.

    The session is the thread's while it works; everything else waits for it first.
    """

    def __init__(
        self,
        session: EvaluationSession,
        n_vocab: int | None = None,
        is_end: Callable[[int], bool] = lambda _token: False,
    ) -> None:
        """As for `ModelDrafter`; no other drafter may use the session."""
        super().__init__(session, n_vocab, is_end)
        self._thread = ThreadPoolExecutor(1, "draft ahead")
        self._work: Future[None] | None = None
        self._reads = False
        """Whether that is reading, which goes on from round to round."""
        self._stop = Event()
        self._expected, self._from = Drawn(), 0
        """What the text will be from that position on, if all goes well."""
        self._drafted_at: float | None = None
        self._spare_seconds = self._step_seconds = 0.0
        """Of the last round between a draft and its verdict; and of the last drafted token."""

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        self._wait()
        self._expect_nothing()
        super().begin(context, sampler)
        cache = self.cache
        missing = list(context[len(cache.session.tokens) : -1])
        known = all(0 <= token < cache.session.n_vocab for token in missing)
        if missing and known and not cache.failed and self._start(context) == cache.start == 0:
            self._reads = True
            self._work = self._thread.submit(self._read, missing)

    def _read(self, missing: Sequence[int]) -> None:
        """What stands before the context's last token, until somebody cannot wait."""
        with self._surviving():
            for at in range(0, len(missing), _CHUNK):
                if self._stop.is_set():
                    break
                self.cache.session.evaluate(missing[at : at + _CHUNK])

    def _still_reads(self) -> bool:
        if self._reads and self._work is not None and self._work.done():
            self._wait()
        return self._reads

    def behind(self, context: Sequence[int]) -> int:
        """0 also while the model reads, and has nothing to offer, and if its draft is there."""
        return 0 if self._still_reads() or self._is_ready(context) else super().behind(context)

    def _is_ready(self, context: Sequence[int]) -> bool:
        return bool(self._expected.tokens) and self._from == len(context)

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        """What is there already, which may be less than the budget; else as `ModelDrafter`."""
        if self._still_reads():
            return NO_DRAFT
        if self._is_ready(context):
            draft = (
                self._expected.draft(self.name)
                .first(budget)
                ._replace(steps=tuple(self._expected.steps))
            )
        else:
            draft = super().propose(context, budget, pace)
        self._go_ahead(context)
        return draft

    def _drawn(self, context: Sequence[int], budget: int, pace: Pace | None) -> Drawn:
        self._expected, self._from = super()._drawn(context, budget, pace), len(context)
        return self._expected

    def _go_ahead(self, context: Sequence[int]) -> None:
        """Let the thread draw on, as far as there is likely to be time."""
        expected, self._drafted_at = self._expected, perf_counter()
        if expected.steps:
            self._step_seconds = expected.steps[-1][1]
            expected.steps.clear()  # they have been told
        spare = self._spare()
        if expected.refused is not None:  # it is what the model would draw, all the same
            expected.tokens.append(expected.refused)
            expected.refused, spare = None, spare - 1
        if spare >= _LEAST and self._may_go_on(context):
            assert self._sampler is not None
            count = min(len(expected.tokens) + spare, self.cache.room(context))
            read = range(len(context))  # of a text that has been read only the length counts
            until = _Until(self._stop)
            self._work = self._thread.submit(
                self._go_on, expected, self._sampler, read, count, until
            )

    def _may_go_on(self, context: Sequence[int]) -> bool:
        """Whether the model stands behind what is expected, and that is no end."""
        cache, tokens = self.cache, self._expected.tokens
        stands = self._from == len(context) <= cache.start + len(cache.session.tokens)
        ended = bool(tokens) and self.is_end(tokens[-1])
        return stands and not (cache.failed or ended or self._expected.distributions)

    def _spare(self) -> int:
        """Tokens that the model can draw until the verdict is there, by what either took lately."""
        return int(self._spare_seconds / self._step_seconds) if self._step_seconds else 0

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        if self._drafted_at is not None:
            self._spare_seconds, self._drafted_at = perf_counter() - self._drafted_at, None
        if self._still_reads():
            return
        self._wait()
        written, expected = context[self._from :], self._expected
        if len(expected.tokens) > len(written) and expected.tokens[: len(written)] == written:
            del expected.tokens[: len(written)]
            del expected.confidences[: len(written)]
            self._from = len(context)
        else:
            self._expect_nothing()
            super().observe(context, outcome)

    def _expect_nothing(self) -> None:
        self._expected, self._from = Drawn(), 0

    def _wait(self) -> None:
        """Until the thread has ended what it does; it begins nothing more."""
        if self._work is not None:
            self._stop.set()
            wait([self._work])
            work, self._work, self._reads = self._work, None, False
            self._stop.clear()
            work.result()

    def end(self, context: Sequence[int]) -> None:
        self._wait()
        self._expect_nothing()
        super().end(context)

    def close(self) -> None:
        self._wait()
        self._thread.shutdown()
        super().close()


class _Until:
    """A pace that goes on until it is told to stop."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    def more(self) -> bool:
        return not self._stop.is_set()

    def take(self, _confidence: float) -> bool:
        return True

    def level(self, tokens: Sequence[float]) -> int:
        return len(tokens)

    def nodes(self, _confidences: Sequence[float], parents: Sequence[int], _chain: int) -> int:
        return len(parents)
