"""The peers of a benchmark, all running at once and asked in turn; one that fails is reported."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

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
from spec_local.llama.backend import default_threads
from spec_local.llama.options import LoadOptions
from spec_local.sampling.settings import Sampling
from spec_local.util.progress import Progress

_WARM_UP = (1, 2, 3)
"""Tokens of any vocabulary."""
_WARM_UP_TOKENS = 4
_ROOM = 256
"""Tokens of context beyond what the turns of a prompt need by themselves, for the chat template."""


class RunningPeers:
    """Started peers; a context manager that always ends their processes."""

    def __init__(
        self,
        specs: Sequence[PeerSpec],
        field: Field,
        schedule: Schedule,
        draft: Path | None,
        progress: Progress,
    ) -> None:
        """Start them with the field's models, threads and context.

        draft: what peers draft with in place of the field's own draft.
        """
        self._peers: dict[str, Peer] = {}
        self.contenders = {
            spec.name: Contender(spec.name, spec.program, flags=" ".join(spec.flags))
            for spec in specs
        }
        if draft is None and field.draft is not None:
            draft = field.draft.model.path
        try:
            for number, spec in enumerate(specs):
                progress(f"start {spec.name}", number / len(specs))
                self._start(
                    spec, PeerSetup(field.target.model.path, draft, _load(spec, field, schedule))
                )
        except BaseException:
            self.close()
            raise

    def _start(self, spec: PeerSpec, setup: PeerSetup) -> None:
        try:
            self._peers[spec.name] = peer = start_peer(spec, setup)
            peer.answer(_WARM_UP, _WARM_UP_TOKENS, 0.0, 0)
            self._note(spec.name, version=peer.version)
        except PeerError as error:
            self._drop(spec.name, error)

    @property
    def running(self) -> list[str]:
        """Names of the peers that have not failed."""
        return list(self._peers)

    def answer(
        self, name: str, context: Sequence[int], max_tokens: int, sampling: Sampling
    ) -> PeerAnswer | None:
        """One peer's answer; None if it failed, which ends it."""
        peer = self._peers[name]
        try:
            answer = peer.answer(context, max_tokens, sampling.temperature, sampling.seed)
        except PeerError as error:
            self._drop(name, error)
            return None
        self._note(name, peak_rss=peer.peak_rss())
        return answer

    def _note(self, name: str, **facts: int | str | None) -> None:
        self.contenders[name] = replace(self.contenders[name], **facts)  # type: ignore[arg-type]

    def _drop(self, name: str, error: PeerError) -> None:
        self._note(name, error=str(error))
        peer = self._peers.pop(name, None)
        if peer is not None:
            peer.close()

    def close(self) -> None:
        """End every process."""
        while self._peers:
            _name, peer = self._peers.popitem()
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
