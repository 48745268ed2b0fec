"""Everything a generation draws with, made for one model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from threading import Lock

from spec_local.errors import require
from spec_local.llama.chain import LlamaChain
from spec_local.llama.grammar import Grammar
from spec_local.llama.session import Session
from spec_local.sampling.constraints import BannedStrings, Constraint
from spec_local.sampling.sampler import TokenSampler
from spec_local.sampling.settings import Sampling


class SamplerFactory:
    """Makes the samplers of a session's generations.

    DRY reads the whole vocabulary, a grammar or a schema is parsed: what was made for the last
    settings is kept as it was at the start, and copied for every generation that uses the same
    ones.
    """

    def __init__(self, session: Session) -> None:
        self._lock = Lock()
        self._closed = False
        self._session, self._n_ctx = session, session.n_ctx
        self._vocab = session.model.vocab
        self._sampling: Sampling | None = None
        self._chain: LlamaChain | None = None
        self._constraints: list[Constraint] = []
        self._parts = ExitStack()

    def open(self, sampling: Sampling, context: Sequence[int]) -> TokenSampler:
        """A sampler for the position after `context`; the caller closes it.

        Raises ConfigError for settings that do not fit the model, such as a broken grammar.
        """
        with self._lock:
            self._prepare(sampling)
            assert self._chain is not None
            constraints = [constraint.copy() for constraint in self._constraints]
            return TokenSampler(sampling, self._chain.copy(), context, constraints)

    def prepare(self, sampling: Sampling) -> None:
        """Make what the settings need, from any thread; raises ConfigError as `open` does."""
        with self._lock:
            self._prepare(sampling)

    def _prepare(self, sampling: Sampling) -> None:
        require(not self._closed, "This runner is closed; load another one.")
        settings = replace(sampling, seed=0)
        if settings == self._sampling:
            return
        self._free()
        self._require_known(sampling)
        n_vocab, n_ctx = self._session.n_vocab, self._n_ctx
        with ExitStack() as stack:
            chain = LlamaChain(sampling, n_vocab=n_vocab, n_ctx=n_ctx, vocab=self._vocab)
            stack.callback(chain.close)
            constraints = self._make_constraints(sampling)
            for constraint in constraints:
                stack.callback(constraint.close)
            self._parts = stack.pop_all()
        self._sampling, self._chain, self._constraints = settings, chain, constraints

    def _make_constraints(self, sampling: Sampling) -> list[Constraint]:
        constraints: list[Constraint] = []
        if sampling.json_schema is not None:
            # Not before it is needed, so that nobody else loads llguidance.
            from spec_local.sampling.schema_constraint import SchemaConstraint

            constraints.append(SchemaConstraint(sampling.json_schema, self._vocab.token_table))
        if sampling.grammar is not None:
            constraints.append(Grammar(sampling.grammar, self._vocab))
        if sampling.banned_strings:
            constraints.append(BannedStrings(sampling.banned_strings, self._vocab.piece))
        return constraints

    def _require_known(self, sampling: Sampling) -> None:
        for token in (*sampling.banned_tokens, *(token for token, _ in sampling.logit_bias)):
            known = token < self._session.n_vocab
            require(known, f"The model has no token {token}; ids end at {self._session.n_vocab}.")

    def close(self) -> None:
        """Free what is kept, before the model is freed; samplers that were opened stay."""
        with self._lock:
            self._closed = True
            self._free()

    def _free(self) -> None:
        self._sampling = self._chain = None
        self._constraints = []
        self._parts.close()
