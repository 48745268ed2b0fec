"""The peers of a benchmark, asked in turn; one that fails is reported."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from spec_local.bench.peers.specs import (
    PYTHON,
    Peer,
    PeerAnswer,
    PeerError,
    PeerSetup,
    PeerSpec,
    start_peer,
)
from spec_local.bench.record.result import PLAIN, Contender
from spec_local.bench.run.opened import Field
from spec_local.bench.run.schedule import Schedule
from spec_local.gguf.header import model_bytes
from spec_local.llama.backend import default_threads
from spec_local.llama.options import LoadOptions
from spec_local.sampling.settings import Sampling
from spec_local.util.progress import Progress

_WARM_UP = (1, 2, 3)
"""Tokens of any vocabulary."""
_WARM_UP_TOKENS = 4
_SHARE = 1.5
"""Memory that a peer takes at most, by the size of its files: weights are rearranged into copies,
and there are caches."""
_ROOM = 256
"""Tokens of context beyond what the turns of a prompt need by themselves, for the chat template."""


class RunningPeers:
    """Started peers; a context manager that always ends their processes.

    They stay loaded as long as there is memory for the next one; else those that were asked longest
    ago end, and start again when it is their turn.
    """

    def __init__(
        self,
        specs: Sequence[PeerSpec],
        field: Field,
        schedule: Schedule,
        draft: Path | None,
        progress: Progress,
    ) -> None:
        """Start each of them with the field's models, threads and context.

        draft: what peers draft with in place of the field's own draft.
        """
        self._loaded: dict[str, Peer] = {}
        """The one that was asked last comes last."""
        self._setups: dict[str, tuple[PeerSpec, PeerSetup]] = {}
        """Of those that have not failed."""
        self.contenders = {
            spec.name: Contender(spec.name, spec.program, flags=" ".join(spec.flags))
            for spec in specs
        }
        target = field.target.model.path
        if draft is None and field.draft is not None:
            draft = field.draft.model.path
        size = model_bytes(target) + (model_bytes(draft) if draft else 0)
        self._needed = round(size * _SHARE)
        try:
            for number, spec in enumerate(specs):
                progress(f"start {spec.name}", number / len(specs))
                setup = PeerSetup(target, draft, _load(spec, field, schedule))
                self._setups[spec.name] = (spec, setup)
                self._try(spec.name)
        except BaseException:
            self.close()
            raise

    @property
    def running(self) -> list[str]:
        """Names of the peers that have not failed."""
        return list(self._setups)

    def answer(
        self, name: str, context: Sequence[int], max_tokens: int, sampling: Sampling
    ) -> PeerAnswer | None:
        """One peer's answer; None if it failed, which ends it."""
        peer = self._try(name)
        if peer is None:
            return None
        try:
            answer = peer.answer(context, max_tokens, sampling.temperature, sampling.seed)
        except PeerError as error:
            self._drop(name, error)
            return None
        self._note(name, peak_rss=peer.peak_rss())
        return answer

    def _try(self, name: str) -> Peer | None:
        """The peer, loaded and warm; None if that failed, which is noted."""
        peer = self._loaded.pop(name, None)
        if peer is not None:
            self._loaded[name] = peer
            return peer
        self._make_room()
        try:
            self._loaded[name] = peer = start_peer(*self._setups[name])
            peer.answer(_WARM_UP, _WARM_UP_TOKENS, 0.0, 0)
        except PeerError as error:
            self._drop(name, error)
            return None
        self._note(name, version=peer.version)
        return peer

    def _make_room(self) -> None:
        """End others until there is memory for one more, as far as that helps."""
        while self._loaded and psutil.virtual_memory().available < self._needed:
            self._loaded.pop(next(iter(self._loaded))).close()

    def _note(self, name: str, **facts: int | str | None) -> None:
        self.contenders[name] = replace(self.contenders[name], **facts)  # type: ignore[arg-type]

    def _drop(self, name: str, error: PeerError) -> None:
        self._note(name, error=str(error))
        del self._setups[name]
        peer = self._loaded.pop(name, None)
        if peer is not None:
            peer.close()

    def close(self) -> None:
        """End every process."""
        while self._loaded:
            _name, peer = self._loaded.popitem()
            with suppress(PeerError):
                peer.close()

    def __enter__(self) -> RunningPeers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _load(spec: PeerSpec, field: Field, schedule: Schedule) -> LoadOptions:
    """The target's options with every number given."""
    options, n_ctx = field.target.model.options, field.target.n_ctx
    if spec.program == PYTHON:  # it keeps the logits of its whole context
        tokenize = field.running[PLAIN].runner.tokenize
        longest = max(len(tokenize("\n".join(prompt.turns))) for prompt in schedule.prompts)
        n_ctx = min(n_ctx, longest + schedule.tokens + _ROOM)
    return replace(options, n_ctx=n_ctx, n_threads=options.n_threads or default_threads())
