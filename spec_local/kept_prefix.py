"""The beginning of a text as a runner has read it, in a file: it is read once, whenever it is used.

A long system message costs seconds at every start; copying what contexts hold of it costs
milliseconds. What they hold depends on the model, its adapters, the types of the cache, the
batches, the devices and llama.cpp itself, so a file is taken up only where all of these are as they
were. Its text is the one that there would be without it, as far as that of a cache that was kept in
memory is; in exact modes to the last bit.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from spec_local.engine.types import EvaluationSession
from spec_local.errors import ContextOverflow, EngineError, PrefixMismatch, require
from spec_local.exact.session import ExactSession
from spec_local.llama.messages import Tool
from spec_local.llama.session import Session
from spec_local.llama.state import Held
from spec_local.llama.state_file import Key, StateFile, write_states
from spec_local.prompt import Prompt, is_conversation
from spec_local.reading import PROMPT, batches_told
from spec_local.turns import OneAtATime
from spec_local.util.prefix import common_prefix
from spec_local.util.progress import Progress, no_progress

logger = logging.getLogger("spec_local.kept_prefix")

_WHAT = {
    "hash": "another model",
    "bytes": "another model",
    "adapters": "other LoRA adapters",
    "llama_cpp": "another release of llama-cpp-python",
    "system": "another processor, or llama.cpp built otherwise",
    "devices": "other devices",
    "gpu_layers": "another number of layers on GPUs",
    "kv_types": "other types of the KV cache",
    "flash_attention": "another setting of flash attention",
    "batch": "other sizes of batches",
    "threads": "another number of threads",
    "context": "another size of the context, by which this model tells positions",
    "read": "another setting of the exact modes",
}
"""What it means that an entry of a key differs, the plainest first; others are load options."""
_OTHERWISE = "other load options"
_TWO_ROPES = "rope_factors_long"
"""A tensor of models whose positions are told by another table where the context is large."""
_FAILURES = (EngineError, ContextOverflow, PrefixMismatch, MemoryError)
"""What a draft model may fail of: then it reads the text itself, when it is asked to draft."""


class DraftReader(NamedTuple):
    """A draft model's context."""

    session: Session
    reads: EvaluationSession
    """The same for the drafters, in the target's tokens."""

    @property
    def is_kept(self) -> bool:
        """Whether it can take up what it held.

        One with other tokens has to read the last of them again, and so to go back by it.
        """
        goes_back = self.session.capabilities.rollback in ("remove", "window")
        return self.reads is self.session or goes_back


class PrefixFiles:
    """Writes what the contexts of a runner hold into files, and lets them hold it again."""

    def __init__(
        self, target: Session, evaluated: EvaluationSession, drafts: Iterable[DraftReader]
    ) -> None:
        """evaluated: the target's session as generations use it."""
        self._target, self._evaluated = target, evaluated
        # Of a target that sees, drafts read the texts around the images.
        self._drafts = [each for each in drafts if each.is_kept and target.model.eyes is None]

    def save(self, path: Path, tokens: Sequence[int]) -> None:
        """Read the tokens, as far as the contexts do not hold them, and write the file."""
        require(bool(tokens), "There is nothing to keep; give at least one token.")
        require(min(tokens) >= 0, "What an image says to a model cannot be kept; leave it out.")
        if len(tokens) >= self._evaluated.n_ctx:
            raise ContextOverflow(self._too_long(path, len(tokens)))
        write_states(path, self._states(tokens))

    def _too_long(self, path: Path, length: int) -> str:
        return (
            f"The prefix in {path} has {length:,} tokens, which leaves no room in the context of "
            f"{self._evaluated.n_ctx:,}; ask for a larger one with --ctx-size."
        )

    def _states(self, tokens: Sequence[int]) -> Iterator[tuple[Key, Held]]:
        _hold(self._evaluated, tokens)
        yield self._key(self._target), self._target.saved()
        for draft in self._drafts:
            if len(tokens) < draft.reads.n_ctx:
                with _noted(draft):
                    _hold(draft.reads, tokens)
                    yield self._key(draft.session), draft.session.saved()

    def load(self, path: Path) -> int:
        """Let the contexts hold what is in the file; how many tokens of the target's that is."""
        with StateFile(path) as file:
            of_target, *of_drafts = file.parts
            _require_same(path, of_target.key, self._key(self._target))
            if len(of_target.tokens) >= self._evaluated.n_ctx:
                raise PrefixMismatch(self._too_long(path, len(of_target.tokens)))
            self._take_up(path, file.held(of_target))
            for draft in self._drafts:
                key = self._key(draft.session)
                part = next((each for each in of_drafts if each.key == key), None)
                if part is not None:
                    with _noted(draft):
                        draft.reads.truncate(0)
                        draft.session.adopt(file.held(part))
                        _hold(draft.reads, of_target.tokens)
            return len(of_target.tokens)

    def _take_up(self, path: Path, held: Held) -> None:
        try:
            self._target.adopt(held)
        except EngineError:
            raise PrefixMismatch(
                f"llama.cpp cannot take up what {path} holds; have it written anew."
            ) from None
        finally:
            if isinstance(self._evaluated, ExactSession):
                self._evaluated.took_up_prompt()

    def _key(self, session: Session) -> dict[str, str | int]:
        """By what the session computes; the name of a file is not part of it."""
        found = {name: each for name, each in session.model.identity.items() if name != "model"}
        if any(_TWO_ROPES in tensor.name for tensor in session.model.header.tensors.entries):
            found["context"] = session.n_ctx
        if session is self._target:
            exact = isinstance(self._evaluated, ExactSession)
            found["read"] = "in whole batches" if exact else "as it came"
        return found


def _hold(session: EvaluationSession, tokens: Sequence[int]) -> None:
    """Let the session hold these tokens, and no others."""
    held = session.sync(tokens)
    if held < len(tokens):
        session.evaluate(tokens[held:])


@contextmanager
def _noted(draft: DraftReader) -> Iterator[None]:
    """What a draft fails of in the block is no error: it has nothing then, and reads for itself."""
    try:
        yield
    except _FAILURES as error:
        draft.reads.truncate(0)
        logger.info("%s: %s", draft.session.model.path.name, error)


def _require_same(path: Path, kept: Key, now: Key) -> None:
    """Raise PrefixMismatch for the plainest of what differs."""
    differing = [name for name in {**now, **kept} if kept.get(name) != now.get(name)]
    if not differing:
        return
    name = next((each for each in _WHAT if each in differing), differing[0])
    values = "" if name in ("hash", "bytes", "adapters") else f" ({kept.get(name)})"
    raise PrefixMismatch(
        f"{path} was kept with {_WHAT.get(name, _OTHERWISE)}{values}; load what it was kept with, "
        "or have it written anew."
    )


def shared_beginning(
    tokenize: Callable[[Prompt], list[int]], prompt: Callable[[str], Prompt]
) -> list[int]:
    """The tokens that a prompt begins with, whatever is asked in it.

    prompt: makes it of what is asked.
    """
    one, other = tokenize(prompt("a")), tokenize(prompt("?"))
    return one[: common_prefix(one, other)]


def _kept_of(prompt: Prompt, tokenize: Callable[[Prompt], list[int]]) -> list[int]:
    """What of a prompt is kept: all, or what messages are before those that follow on them."""
    if not is_conversation(prompt) or not prompt:
        return tokenize(prompt)
    messages: list[Any] = [*prompt]
    if isinstance(messages[-1], Mapping) and messages[-1].get("role") in ("user", "tool"):
        return tokenize(messages)
    return shared_beginning(tokenize, lambda said: [*messages, {"role": "user", "content": said}])


class _Reader(Protocol):
    """A runner, as far as it is needed here."""

    _turn: OneAtATime
    _prefixes: PrefixFiles

    @property
    def target(self) -> Session:
        """The target's context."""

    @property
    def drafts(self) -> Sequence[Session]:
        """Those of draft models."""

    def tokenize(self, prompt: Prompt, *, tools: Sequence[Tool] = ()) -> list[int]:
        """Tokens of a prompt."""

    def _require_open(self) -> None:
        """Raise EngineError if it is closed."""


class KeepsPrefixes:
    """What a runner can do with such files."""

    def save_prefix(
        self: _Reader,
        path: str | Path,
        prompt: Prompt,
        *,
        tools: Sequence[Tool] = (),
        progress: Progress = no_progress,
    ) -> int:
        """Read a prompt, and keep it as read in a private file; how many tokens that are.

        Of messages that do not end with the user's, what any message of the user's leaves as it is.
        Draft models read it as well. tools, progress: as for `generate`. Raises SpecLocalError:
        RunnerBusy while a generation runs, ContextOverflow, ConfigError if the file cannot be
        written or is something else.
        """
        self._require_open()
        tokens = _kept_of(prompt, partial(self.tokenize, tools=tools))
        with (
            self._turn.running(),
            batches_told(self.target, self.drafts, progress, threading.Event()),
        ):
            self._require_open()
            progress(PROMPT, 0.0)
            self._prefixes.save(Path(path), tokens)
            progress(PROMPT, 1.0)
        return len(tokens)

    def load_prefix(self: _Reader, path: str | Path) -> int:
        """Hold what `save_prefix` has kept, instead of reading it; how many tokens that are.

        The next generation whose prompt begins with it reads only the rest. Raises SpecLocalError:
        PrefixMismatch, with what differs, if the file was kept of another model or otherwise, or is
        damaged; ConfigError if it is none. Then what was held stays; only where llama.cpp refuses
        what seemed to fit, nothing is held.
        """
        self._require_open()
        with self._turn.running():
            self._require_open()
            return self._prefixes.load(Path(path))
