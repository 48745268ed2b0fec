"""A runner without weights: the real loop on a table, 23 letters and an end token."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from spec_local.drafters import check, check_looks_up
from spec_local.drafters.build import build
from spec_local.drafters.library import Library
from spec_local.engine.decode import generate as decode
from spec_local.engine.logprobs import token_logprobs
from spec_local.engine.rounds import FinishReason, Stats
from spec_local.engine.speculate import FixedK
from spec_local.engine.verify import VERIFIERS
from spec_local.errors import ConfigError
from spec_local.generation import Chunk, Generation, to_chunks
from spec_local.llama.messages import check_message, one_text
from spec_local.request import Request, checked_request
from spec_local.sampling.settings import Sampling
from spec_local.serve.limits import Limits
from spec_local.serve.models import Loaded, Models
from spec_local.serve.service import Service
from spec_local.serve.slot import Slot
from tests.fake import END, N_VOCAB, TableSession, sampler_for


class LetterVocabulary:
    """Token t is the t-th letter; all other characters are the first."""

    n_tokens = N_VOCAB
    special_ids: Mapping[str, int] = {"eos": END}

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return [token if 0 <= (token := ord(each) - ord("a")) < END else 0 for each in text]

    def piece(self, token: int) -> bytes:
        return b"" if token == END else bytes([ord("a") + token])

    def pieces(self, tokens: Sequence[int]) -> bytes:
        return b"".join(map(self.piece, tokens))

    def text(self, token: int) -> bytes:
        return b"<end>" if token == END else self.piece(token)


class LetterTemplate:
    """Writes contents one after the other."""

    source: str | None = "{% for message in messages %}{{ message.content }}{% endfor %}"
    stop: tuple[str, ...] = ()

    def render(self, messages: Sequence[Any], tools: Sequence[Any] = ()) -> str:
        for message in messages:
            check_message(message)
        return "".join(one_text(message["content"]) for message in messages)


class StubRunner:
    """What `Runner` is to the server."""

    def __init__(
        self,
        session: TableSession | None = None,
        drafter: str = "lookup",
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """pause: called in every round."""
        check(drafter, drafts=0)
        self.session = session or TableSession()
        self.sampling = Sampling(temperature=0, top_k=0, top_p=1, min_p=0)
        self.vocab, self.template = LetterVocabulary(), LetterTemplate()
        self.n_ctx = self.session.n_ctx
        self.drafter, self.pause = drafter, pause
        self.library = Library()
        self.closed = False
        self.thinks: bool | None = None
        """What was last said of thoughts."""
        self.requests: list[Request] = []
        self._worker = ThreadPoolExecutor(1)

    def tokenize(
        self,
        prompt: Any,
        *,
        tools: Sequence[Any] = (),
        variables: Mapping[str, Any] | None = None,
        thinks: bool = True,
    ) -> list[int]:
        if isinstance(prompt, str):
            text = prompt
        elif not prompt or isinstance(prompt[0], int):
            if not all(token in range(N_VOCAB) for token in prompt):
                raise ConfigError("The prompt has token ids the model lacks.")
            return list(prompt)
        else:
            self.thinks = thinks
            text = self.template.render(prompt, tools)
        return self.vocab.tokenize(text, add_special=True, parse_special=True)

    def generate(self, prompt: Any, **options: Any) -> Generation:
        stop, prediction = options.get("stop") or (), options.get("prediction")
        if prediction is not None:
            check_looks_up(self.drafter, "a prediction")
        request = checked_request(
            self.tokenize(prompt),
            self.n_ctx,
            max_tokens=options.get("max_tokens"),
            sampling=options.get("sampling") or self.sampling,
            stop=(stop,) if isinstance(stop, str) else stop,
            logprobs=options.get("logprobs"),
            prediction=self.tokenize(prediction) if prediction else [],
        )
        self.requests.append(request)
        return Generation(partial(self._run, request), lambda _cancel: None, self._worker)

    def _run(self, request: Request, cancel: threading.Event) -> Generator[Chunk, None, None]:
        prompt = len(request.context)
        self.library.predict(request.context, request.prediction)
        rounds = decode(
            self.session,
            FixedK(build(self.drafter, (), self.library), 3),
            VERIFIERS[request.sampling.acceptance],
            sampler_for(request.sampling, request.context),
            request.context,
            max_tokens=request.max_tokens,
            is_end=lambda token: token == END,
            inspect=partial(token_logprobs, n=request.logprobs),
        )
        try:
            for chunk in to_chunks(rounds, self.vocab.pieces, request.stop, cancel, prompt):
                self.pause()
                yield chunk
        finally:
            rounds.close()

    def close(self) -> None:
        self.closed = True


class SayingRunner(StubRunner):
    """One that says a text, letter by letter, whatever it is asked."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def _run(self, request: Request, cancel: threading.Event) -> Generator[Chunk, None, None]:
        for number, letter in enumerate(self._text, 1):
            stats = Stats(prompt_tokens=len(request.context), tokens=number)
            ends: FinishReason | None = "stop" if number == len(self._text) else None
            yield Chunk(letter, (0,), (False,), stats, ends)


def stub_slot(runner: StubRunner) -> Slot:
    """A slot whose other runners draft on the same table."""

    def redraft(drafter: str | None, k: int | None) -> StubRunner:
        return StubRunner(runner.session, drafter or runner.drafter, runner.pause)

    return Slot(runner, runner.drafter, runner.session, redraft)


def stub_service(*runners: StubRunner, limits: Limits | None = None) -> Service:
    """A service whose one model, `letters`, has these contexts."""
    limits = limits or Limits()
    slots = [stub_slot(runner) for runner in runners]

    def close() -> None:
        for slot in slots:
            slot.close()

    loaded = Loaded("letters", slots, {"n_ctx": runners[0].n_ctx}, close)
    return Service(Models({"letters": lambda: loaded}, most_waiting=limits.waiting), limits)
