"""Runner: what an application imports. Loads a target and perhaps drafts, generates, chats."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from spec_local import drafters
from spec_local.chat import Chat
from spec_local.drafters.library import Library
from spec_local.engine.decode import generate as decode
from spec_local.engine.logprobs import token_logprobs
from spec_local.engine.types import Drafter, EvaluationSession
from spec_local.engine.verify import VERIFIERS
from spec_local.errors import RunnerBusy, require
from spec_local.exact.modes import ExactMode, Exactness, check_rule, mode_of
from spec_local.generation import Chunk, Completion, Generation, GenerationOptions, to_chunks
from spec_local.kept_prefix import DraftReader, KeepsPrefixes, PrefixFiles
from spec_local.llama.abort import Abort
from spec_local.llama.messages import Tool
from spec_local.llama.options import LoadOptions
from spec_local.llama.sampler_factory import SamplerFactory
from spec_local.llama.session import Session
from spec_local.llama.template import ChatTemplate
from spec_local.machine.profile import ProfileStore
from spec_local.models.corpus import library_of, read_corpus
from spec_local.models.loading import BEST_DRAFT, choose_pair
from spec_local.models.registry import PairSpec
from spec_local.pair import open_pair
from spec_local.partners import with_best_draft
from spec_local.policies.policy import Policy
from spec_local.prompt import Prompt, Templating, is_conversation, predicted_tokens, prompt_tokens
from spec_local.reading import batches_told, ends_told
from spec_local.request import Request, checked_request
from spec_local.sampling.settings import Sampling
from spec_local.speculation import speculation
from spec_local.text import as_stops
from spec_local.turns import OneAtATime
from spec_local.util.process import OwnStack, Process, closed_when_dropped
from spec_local.util.progress import Progress, no_progress
from spec_local.util.several import as_tuple

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Runner(KeepsPrefixes):
    """A target model and a drafter, ready to generate; a context manager.

    The text depends on the target, the prompt, the sampling and its seed alone: with any drafter,
    or none, it is the same. One generation runs at a time.
    """

    def __init__(
        self,
        target: Session,
        drafter: str | Drafter = drafters.AUTO,
        *,
        draft: Session | Sequence[Session] | None = None,
        k: int | Policy | None = None,
        sampling: Sampling | None = None,
        profiles: ProfileStore | None = None,
        exact: Exactness | None = None,
        library: Library | None = None,
    ) -> None:
        """Use sessions that are already open; the caller closes them and their models after it.

        drafter, k: as for `Runner.load`, which opens everything by name, and then the runner owns
        it; k may also be a policy, for benchmarks. draft: one or several; drafters that use none
        leave them alone. profiles: where what is learned is kept; None keeps it as long as the
        runner lives. exact: of the target. library: what lookup has.
        """
        given, head = as_tuple(draft), target.model.head  # which drafts like a draft model
        drafters.check(drafter, drafts=len(given) + (head is not None), k=k)
        self.target, self.exact = target, exact
        self._evaluated: EvaluationSession = target if exact is None else exact.session
        self.n_ctx = self._evaluated.n_ctx
        """Most tokens of a prompt and its answer together."""
        self.drafts = given if drafters.uses_draft(drafter) else ()
        self.draft = next(iter(self.drafts), None)  # the first
        self.sampling, self.vocab = sampling or Sampling(), target.model.vocab
        self.drafter, self.library = drafter, library or Library()
        self.speculator, self._learned, reads = speculation(
            drafter, target, self.drafts, self.library, k=k, profiles=profiles, exact=exact
        )
        self._prefixes = PrefixFiles(target, self._evaluated, map(DraftReader, self.drafts, reads))
        self._sampler_factory = SamplerFactory(target)
        self._turn = OneAtATime()
        self._worker = ThreadPoolExecutor(1, "spec-local")  # ends when nobody has it any more
        self._abort = Abort((target, *self.drafts))
        self._process, self._closed = Process(), False
        self.pair: PairSpec | None = None
        """The names it was loaded by; None if it was made from sessions."""
        self._resources = OwnStack()
        self._resources.callback(self._sampler_factory.close)
        self._resources.callback(self.speculator.close)
        self._free = closed_when_dropped(self, self._resources)

    @cached_property
    def template(self) -> ChatTemplate:
        """The model's chat template, or the `ChatTemplate` set; ModelFileError if it is broken."""
        return ChatTemplate(self.target.model)

    @classmethod
    def load(  # noqa: PLR0913 - what an application may say, by keyword
        cls,
        pair: str | PairSpec | None = None,
        *,
        target: str | Path | None = None,
        draft: str | Path | Sequence[str | Path] | None = None,
        mmproj: str | Path | None = None,
        drafter: str | Drafter | None = None,
        k: int | None = None,
        sampling: Sampling | None = None,
        profiles: ProfileStore | None = None,
        options: LoadOptions | None = None,
        exact: bool | ExactMode = False,
        lookup_corpus: Iterable[str | Path] = (),
        remember: bool = False,
        progress: Progress = no_progress,
    ) -> Runner:
        """Load a pair by its name in models.toml, or a target and drafts by name or path.

        What is not there yet is pulled. Raises SpecLocalError. mmproj: the target's image encoder;
        None: the one beside it, if any. draft: one or several; None is the pair's own; "auto" where
        it has none the best one at hand, which `runner.pair` tells; "none" does without. One that
        nobody named may fail to load. drafter: one of docs/drafters.md, or a `Drafter` of your own,
        which the runner closes. auto decides by what each costs and earns here, and so do several
        names with commas. None is the pair's. k: tokens drafted per round by a single one, or 3.
        profiles: where what is learned of the machine is kept; None is the user's cache directory.
        exact: the same text, bit for bit, whatever is drafted, by a mode of `exact/modes.py`; True
        is "certified", which for the first time examines the machine, for minutes. remember: keep
        answers in a private file, to draft similar ones. lookup_corpus: files to quote from.
        """
        spec, mode = choose_pair(pair, target, draft, mmproj), mode_of(exact)
        drafter = spec.drafter if drafter is None else drafter
        drafters.check(drafter, drafts=len(spec.drafts), k=k)
        if (corpus := read_corpus(lookup_corpus)) or remember:
            drafters.check_looks_up(drafter, "a lookup corpus" if corpus else "past answers")
        spec = with_best_draft(spec, drafter, options, profiles, progress)
        with OwnStack() as stack:
            opened = open_pair(
                spec,
                [drafter],
                options=options,
                exact=mode,
                profiles=profiles,
                progress=progress,
                may_lack_draft=draft in (None, BEST_DRAFT),
            )
            sessions = stack.enter_context(opened).sessions(stack)
            runner = cls(
                sessions.target,
                drafter,
                draft=sessions.drafts,
                k=k,
                sampling=sampling or spec.sampling,
                profiles=opened.profiles,
                exact=opened.exactness(sessions.target),
                library=library_of(opened.target, corpus, remember),
            )
            runner.pair = opened.of(spec)
            return runner._owning(stack.pop_all())

    def _owning(self, models: OwnStack) -> Runner:
        """Free these as well, after the rest: when it is closed, or nobody has it any more."""
        self._free.detach()
        models.callback(self._resources.close)
        self._free = closed_when_dropped(self, models)
        return self

    def tokenize(self, prompt: Prompt, **given: Unpack[Templating]) -> list[int]:
        """Tokens of a text, completed as it is, or of messages, through the chat template."""
        self._require_open()
        return prompt_tokens(prompt, self.target.model, lambda: self.template, **given)

    def count_tokens(self, prompt: Prompt, **given: Unpack[Templating]) -> int:
        """How many tokens of prompt `generate` would make of it: `stats.prompt_tokens`."""
        return len(self.tokenize(prompt, **given))

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        sampling: Sampling | None = None,
        stop: str | Sequence[str] = (),
        logprobs: int | None = None,
        prediction: str | None = None,
        tools: Sequence[Tool] = (),
        progress: Progress = no_progress,
    ) -> Generation:
        """Continue the prompt.

        max_tokens: None generates until the model stops or the context is full.
        stop: strings that end the text; they are not part of it. The template's end messages, too.
        logprobs: report the target's log-probability of every token, and the so many best ones.
        prediction: a text that much of the answer will be, such as a file before it is edited.
        tools: what the model may call, for its chat template; calls are text that you parse.
        progress: told how much of the prompt has been read, from the thread that evaluates.
        Raises ContextOverflow for a prompt that does not fit and ConfigError for sampling that does
        not fit the model. The first chunk raises RunnerBusy while another generation runs.
        """
        self._require_open()
        prompt = list(prompt) if isinstance(prompt, Iterator) else prompt  # type: ignore[assignment]
        sampling = sampling or self.sampling
        request = checked_request(
            self.tokenize(prompt, tools=tools, thinks=sampling.json_schema is None),
            self.n_ctx,
            max_tokens=max_tokens,
            sampling=sampling,
            stop=as_stops(stop) + (self.template.stop if is_conversation(prompt) else ()),
            logprobs=logprobs,
            prediction=predicted_tokens(prediction, self.vocab),
        )
        self.check(request.sampling)
        if prediction is not None:
            drafters.check_looks_up(self.drafter, "a prediction")
        run = partial(self._run, request=request, progress=progress)
        generation = Generation(run, self._abort, self._worker)
        self._turn.add(generation)
        return generation

    def check(self, sampling: Sampling) -> None:
        """Raise ConfigError if the target cannot be sampled like that: a broken grammar, say."""
        self._require_open()
        if self.exact is not None:
            check_rule(sampling.acceptance)
        self._sampler_factory.prepare(sampling)

    def complete(self, prompt: Prompt, **options: Unpack[GenerationOptions]) -> Completion:
        """The whole continuation at once; takes what `generate` takes."""
        return self.generate(prompt, **options).complete()

    async def acomplete(self, prompt: Prompt, **options: Unpack[GenerationOptions]) -> Completion:
        """The same, awaited: the event loop is free meanwhile."""
        return await self.generate(prompt, **options).acomplete()

    def chat(self, system: str | None = None, **options: Unpack[GenerationOptions]) -> Chat:
        """A conversation that evaluates only what is new; options: for `generate`, every turn."""
        return Chat(self, system, **options)

    def _run(
        self, cancel: threading.Event, request: Request, progress: Progress
    ) -> Generator[Chunk, None, None]:
        """One generation, from taking the runner to giving it back."""
        self._require_open()
        with self._turn.running(), OwnStack() as stack:
            self._require_open()  # it may have been closed while this one waited for its turn
            context, sampling, prompt = request.context, request.sampling, tuple(request.context)
            stack.enter_context(self._abort.work(cancel))
            self.library.predict(context, request.prediction)
            sampler = self._sampler_factory.open(sampling, context)
            stack.callback(sampler.close)
            stack.enter_context(batches_told(self.target, self.drafts, progress, cancel))
            rounds = decode(
                self._evaluated,
                self.speculator,
                VERIFIERS[sampling.acceptance] if self.exact is None else self.exact.verifier,
                sampler,
                context,
                max_tokens=request.max_tokens,
                is_end=self.vocab.is_end,
                inspect=partial(token_logprobs, n=request.logprobs),
            )
            stack.callback(lambda: self.library.remember(prompt, context[len(prompt) :]))
            if self._learned is not None:
                stack.callback(self._learned.save)
            stack.callback(rounds.close)
            told = ends_told(rounds, progress)
            yield from to_chunks(told, self.vocab.pieces, request.stop, cancel, len(prompt))

    def _require_open(self) -> None:
        self._process.require_this()
        require(not self._closed, "This runner is closed; load another one.")

    def close(self) -> None:
        """End what still runs, in whichever thread, then free everything; twice is harmless.

        In a forked child it does nothing. Raises RunnerBusy inside the generation's own callback.
        """
        if not self._process.is_this:
            return
        self._closed = True
        try:
            self._turn.end()
        except RunnerBusy:
            self._closed = False
            raise
        self._free()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
