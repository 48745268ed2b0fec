"""Runner: what an application imports. Loads a target and perhaps a draft, generates, chats."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from spec_local import drafters
from spec_local.chat import Chat
from spec_local.control.widths import ANY
from spec_local.drafters.build import DraftModel, build
from spec_local.engine.decode import generate as decode
from spec_local.engine.logprobs import token_logprobs
from spec_local.engine.speculate import Adaptive, FixedK
from spec_local.engine.types import EvaluationSession, Speculator
from spec_local.engine.verify import VERIFIERS
from spec_local.errors import ContextOverflow, RunnerBusy, require
from spec_local.exact.modes import ExactMode, Exactness, check_rule, mode_of
from spec_local.generation import (
    Cancelled,
    Chunk,
    Completion,
    Generation,
    GenerationOptions,
    to_chunks,
)
from spec_local.llama.options import LoadOptions
from spec_local.llama.sampler_factory import SamplerFactory
from spec_local.llama.session import Session
from spec_local.llama.template import ChatTemplate
from spec_local.machine.learned import LearnedController
from spec_local.machine.profile import ProfileStore
from spec_local.models.loading import choose_pair, in_target_tokens
from spec_local.pair import open_pair
from spec_local.prompt import Prompt, prompt_tokens
from spec_local.sampling.settings import Sampling
from spec_local.util.progress import Progress, no_progress

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Runner:
    """A target model and a drafter, ready to generate; a context manager.

    The text depends on the target, the prompt, the sampling and its seed alone: with any drafter,
    or none, it is the same. One generation runs at a time.
    """

    def __init__(
        self,
        target: Session,
        drafter: str = drafters.AUTO,
        *,
        draft: Session | None = None,
        k: int | None = None,
        sampling: Sampling | None = None,
        profiles: ProfileStore | None = None,
        exact: Exactness | None = None,
    ) -> None:
        """Use sessions that are already open; the caller closes them and their models after it.

        drafter, k: as for `Runner.load`, which opens everything by name, and then the runner owns
        it. draft: left alone by drafters that use none. profiles: where what is learned is kept;
        None keeps it as long as the runner lives. exact: of the target's session.
        """
        drafters.check(drafter, has_draft=draft is not None, k=k)
        self.target = target
        self.exact = exact
        self._evaluated: EvaluationSession = target if exact is None else exact.session
        self.draft = draft if drafters.uses_draft(drafter) else None
        self.sampling = sampling or Sampling()
        self.vocab = target.model.vocab
        self._learned: LearnedController | None = None
        self.speculator = self._speculator(drafter, k, profiles)
        self._sampler_factory = SamplerFactory(target)
        self._resources = ExitStack()
        self._busy = threading.Lock()
        self._busy_thread = 0
        self._generations: weakref.WeakSet[Generation] = weakref.WeakSet()
        self._closed = False

    @cached_property
    def template(self) -> ChatTemplate:
        """The model's chat template; raises ModelFileError if it is broken."""
        return ChatTemplate(self.target.model)

    @classmethod
    def load(  # noqa: PLR0913 - what an application may say, by keyword
        cls,
        pair: str | None = None,
        *,
        target: str | Path | None = None,
        draft: str | Path | None = None,
        drafter: str | None = None,
        k: int | None = None,
        sampling: Sampling | None = None,
        profiles: ProfileStore | None = None,
        options: LoadOptions | None = None,
        exact: bool | ExactMode = False,
        progress: Progress = no_progress,
    ) -> Runner:
        """Load a pair by its name in models.toml, or a target and a draft by name or path.

        Models that are not there yet are pulled.
        drafter: auto, none, lookup, model or lookup-then-model; auto, which is what pairs have
        unless models.toml says otherwise, decides every round by what it costs here and earns.
        k: tokens drafted per round by a named drafter, 3 by default.
        profiles: where what is learned about the machine is kept, by default in the user's cache
        directory.
        exact: the same text, bit for bit, whatever is drafted; see `exact/modes.py` for the modes.
        True is "certified". For the first time it takes minutes, in which the machine is examined.
        Raises SpecLocalError.
        """
        spec = choose_pair(pair, target, draft)
        name = drafter or spec.drafter
        drafters.check(name, has_draft=spec.draft is not None, k=k)
        with ExitStack() as stack:
            opened = stack.enter_context(
                open_pair(
                    spec,
                    [name],
                    options=options,
                    exact=mode_of(exact),
                    profiles=profiles,
                    progress=progress,
                )
            )
            sessions = opened.sessions(stack)
            runner = cls(
                sessions.target,
                name,
                draft=sessions.draft,
                k=k,
                sampling=sampling or spec.sampling,
                profiles=opened.profiles,
                exact=opened.exactness(sessions.target),
            )
            runner._resources = stack.pop_all()
            return runner

    def _speculator(self, name: str, k: int | None, profiles: ProfileStore | None) -> Speculator:
        draft = self._draft_model()
        if name != drafters.AUTO:
            fixed = FixedK(build(name, draft), drafters.DEFAULT_K if k is None else k)
            most = self.target.max_rows - 1
            require(fixed.k <= most, f"k can be at most {most}, not {fixed.k}.")
            return fixed
        names = ["lookup"] if self.draft is None else ["lookup", "model"]
        built = [build(name, draft) for name in names]
        widths = ANY if self.exact is None else self.exact.widths
        self._learned = LearnedController(self.target, self.draft, names, profiles, widths)
        return Adaptive(built, self._learned.controller)

    def _draft_model(self) -> DraftModel | None:
        if self.draft is None:
            return None
        session = in_target_tokens(self.draft, self.target)
        return DraftModel(session, self.target.n_vocab, self.vocab.is_end)

    def tokenize(self, prompt: Prompt) -> list[int]:
        """Tokens of a text, completed as it is, or of messages, through the chat template."""
        return prompt_tokens(prompt, self.vocab, lambda messages: self.template.render(messages))

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: str | Sequence[str] = (),
        logprobs: int | None = None,
        progress: Progress = no_progress,
    ) -> Generation:
        """Continue the prompt.

        max_tokens: None generates until the model stops or the context is full.
        stop: strings that end the text; they are not part of it.
        logprobs: report the target's log-probability of every token, and the so many best ones.
        Raises ContextOverflow for a prompt that does not fit and ConfigError for sampling that does
        not fit the model. The first chunk raises RunnerBusy while another generation runs.
        """
        self._require_open()
        tokens = self.tokenize(prompt)
        require(bool(tokens), "The prompt is empty; give at least one token.")
        require(max_tokens is None or max_tokens >= 1, "max_tokens must be at least 1.")
        require(logprobs is None or logprobs >= 0, "logprobs must be 0 or more.")
        n_ctx = self._evaluated.n_ctx
        if len(tokens) > n_ctx:
            raise ContextOverflow(
                f"The prompt has {len(tokens):,} tokens and the context {n_ctx:,}; "
                "shorten it or ask for a larger context with --ctx-size."
            )
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if not isinstance(prompt, str):
            stops += self.template.stop
        limit = n_ctx if max_tokens is None else max_tokens
        setting = sampling or self.sampling
        self.check(setting)
        generation = Generation(
            lambda cancel: self._run(cancel, tokens, limit, setting, stops, logprobs, progress)
        )
        self._generations.add(generation)
        return generation

    def check(self, sampling: Sampling) -> None:
        """Raise ConfigError if the target cannot be sampled like that: a broken grammar, say."""
        if self.exact is not None:
            check_rule(sampling.acceptance)
        self._sampler_factory.prepare(sampling)

    def complete(self, prompt: Prompt, **options: Unpack[GenerationOptions]) -> Completion:
        """The whole continuation at once; takes what `generate` takes."""
        return self.generate(prompt, **options).complete()

    def chat(self, system: str | None = None, **options: Unpack[GenerationOptions]) -> Chat:
        """A conversation that evaluates only what is new; options: for `generate`, every turn."""
        return Chat(self, system, **options)

    def _run(
        self,
        cancel: threading.Event,
        context: list[int],
        max_tokens: int,
        sampling: Sampling,
        stop: Sequence[str],
        logprobs: int | None,
        progress: Progress,
    ) -> Generator[Chunk, None, None]:
        """One generation, from taking the runner to giving it back."""

        def between_batches(done: int, total: int) -> None:
            progress("prompt", done / total)
            if cancel.is_set():
                raise Cancelled

        self._require_open()
        if not self._busy.acquire(blocking=False):
            raise RunnerBusy("This runner is generating already; wait for it or cancel it first.")
        try:
            self._busy_thread = threading.get_ident()
            with ExitStack() as stack:
                sampler = self._sampler_factory.open(sampling, context)
                stack.callback(sampler.close)
                for session in filter(None, (self.target, self.draft)):
                    session.on_progress = between_batches
                    stack.callback(setattr, session, "on_progress", None)
                rounds = decode(
                    self._evaluated,
                    self.speculator,
                    VERIFIERS[sampling.acceptance] if self.exact is None else self.exact.verifier,
                    sampler,
                    context,
                    max_tokens=max_tokens,
                    is_end=self.vocab.is_end,
                    inspect=partial(token_logprobs, n=logprobs),
                )
                if self._learned is not None:
                    stack.callback(self._learned.save)
                stack.callback(rounds.close)
                yield from to_chunks(rounds, self.vocab.pieces, stop, cancel, len(context))
        finally:
            self._busy_thread = 0
            self._busy.release()

    def _require_open(self) -> None:
        require(not self._closed, "This runner is closed; load another one.")

    def close(self) -> None:
        """End what still runs, in whichever thread, then free everything; twice is harmless.

        Raises RunnerBusy when called from inside the generation, such as its progress callback.
        """
        self._closed = True
        while not self._busy.acquire(timeout=0.05):
            for generation in list(self._generations):
                generation.cancel()
                with suppress(ValueError):  # it is in the middle of a round; try again after it
                    generation.close()
            if self._busy.locked() and self._busy_thread == threading.get_ident():
                self._closed = False
                raise RunnerBusy("A runner cannot be closed from inside its own generation.")
        self._busy.release()
        self.speculator.close()
        self._sampler_factory.close()
        self._resources.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
