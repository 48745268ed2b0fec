"""The exact modes: the same text, bit for bit, with any drafter or none.

**certified**: single tokens are evaluated at width 1 as ever, drafts only at widths identical to
it. **fixed**: single tokens are padded to a width that *is* identical to others, where width 1 is
not. **guard**: drafts at any width, but near ties are decided at width 1 (`guard.py`); this one
promises less. All rest on a certificate of this machine (`machine/certify.py`).

In all of them prompts are evaluated in the same batches whatever is cached (`session.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from spec_local.control.widths import Widths
from spec_local.engine.types import Verifier
from spec_local.engine.verify import keyed
from spec_local.errors import ConfigError, require
from spec_local.exact.guard import Guard
from spec_local.exact.session import ExactSession
from spec_local.llama.devices import on_gpu
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.machine.certify import Certificate, certify
from spec_local.machine.profile import ProfileStore
from spec_local.sampling.settings import AcceptanceRule
from spec_local.util.progress import Progress
from spec_local.workloads.workloads import bundled

ExactMode = Literal["certified", "fixed", "guard"]
"""How drafting is kept from changing a bit."""

_MOST_FIXED = 8
"""The widest base that `fixed` tries: every token costs as much as so many."""


@dataclass(frozen=True, slots=True)
class Exactness:
    """How the target is evaluated so that drafting cannot change a bit."""

    mode: ExactMode
    certificate: Certificate
    session: ExactSession
    """The target's session as generations must use it."""

    @classmethod
    def of(
        cls,
        mode: str,
        session: Session,
        store: ProfileStore | None,
        progress: Progress,
        anew: bool = False,
    ) -> Exactness:
        """By the certificate that is kept, or one that is made now, which takes minutes.

        store: without one nothing is kept; `auto` then drafts nothing in the mode fixed, as it
        never learns what width 1 costs. anew: whatever is kept, examine again.
        Raises ConfigError for an unknown mode, or if nothing can be promised on this machine.
        """
        check_mode(mode)
        find = CertificateFinder(session, store, progress, anew)
        certificate = find.fixed() if mode == "fixed" else find(1)
        known = certificate.differences if mode == "guard" else certificate.widths
        allowed = tuple(sorted(width for width in known if width <= session.max_rows))
        require(
            bool(allowed),
            "Even single tokens are not computed the same twice here; nothing exact can be done.",
        )
        exact = ExactSession(session, Widths(allowed), session.n_batch)
        return cls(mode, certificate, exact)  # type: ignore[arg-type]

    @property
    def widths(self) -> Widths:
        """Widths at which the target may be evaluated."""
        return self.session.widths

    @property
    def verifier(self) -> Verifier:
        """The verification rule."""
        if self.mode == "guard":
            return Guard(self.session, self.certificate.differences)
        return keyed

    @property
    def note(self) -> str | None:
        """What the user should know of it, in a sentence; None if all is as expected."""
        if self.widths.widest > 1:
            return None
        if not self.certificate.contexts:
            return (
                "this model's memory rolls back by evaluating again, so nothing is drafted "
                "in an exact mode."
            )
        return (
            "no width above 1 is identical to width 1 here, so nothing is drafted; "
            "--exact=fixed may be faster."
        )


def check_mode(mode: str) -> None:
    """Raise ConfigError for an unknown mode."""
    known = get_args(ExactMode)
    require(mode in known, f"There is no exact mode {mode!r}; choose from: {', '.join(known)}.")


def check_rule(rule: AcceptanceRule) -> None:
    """Raise ConfigError for a verification rule that exact modes cannot have."""
    require(
        rule == "keyed",
        f"With the acceptance rule {rule} the text depends on what is drafted; exact modes need "
        "keyed.",
    )


class CertificateFinder:
    """Certificates of a session's model: those kept in the profile, and others made on demand."""

    def __init__(
        self, session: Session, store: ProfileStore | None, progress: Progress, anew: bool
    ) -> None:
        self._session, self._store, self._progress = session, store, progress
        self._anew = anew

    def __call__(self, base: int) -> Certificate:
        """The certificate of a base."""
        who, store = self._session.model.identity, self._store
        kept = None if store is None or self._anew else store.certificate(who, base)
        if kept is not None and kept.covers(self._session.n_ctx):
            return kept
        certificate = self._certify(base)
        if store is not None:
            store.save_certificate(who, certificate)
        return certificate

    def fixed(self) -> Certificate:
        """That of the narrowest base unlike width 1 that is identical to others, or to itself.

        Where all widths are identical to width 1, it is that of width 1.
        """
        plain = self(1)
        others = [base for base in sorted(plain.differences) if base not in plain.widths]
        if not others:
            return plain
        alone: Certificate | None = None
        for base in others:
            if base > _MOST_FIXED:
                break
            certificate = self(base)
            if len(certificate.widths) > 1:
                return certificate
            alone = alone or (certificate if certificate.widths else None)
        if alone is None:
            raise ConfigError(
                "No fixed width computes the same here wherever a token stands in the batch; "
                "use --exact, which verifies at certified widths alone."
            )
        return alone

    def _certify(self, base: int) -> Certificate:
        session, store = self._session, self._store
        if session.capabilities.rollback != "remove":
            # Rolling back evaluates again, at widths of its own.
            return Certificate(base, (), {1: 0.0}, (1,))
        who = session.model.identity
        curve = None if store is None or store.tuned_at(who) else store.curve(who)
        stage = f"certify {session.model.path.stem}"
        certificate = certify(
            session,
            sequences(session),
            base,
            lambda share: self._progress(stage, share),
            (lambda *_: None) if curve is None else curve.observe,
        )
        if store is not None and curve is not None:
            store.save_curve(who, curve)
        return certificate


def sequences(session: Session) -> list[list[int]]:
    """What is evaluated for a certificate: two texts of many kinds, and random tokens."""
    prompts = [turn for prompt in bundled() for turn in prompt.turns]
    texts = ["\n\n".join(prompts), "\n\n".join(reversed(prompts))]
    vocab = session.model.vocab
    written = [vocab.tokenize(text, add_special=True, parse_special=False) for text in texts]
    drawn = np.random.default_rng(0).integers(session.n_vocab, size=max(map(len, written)))
    return [*written, drawn.tolist()]


def mode_of(exact: bool | ExactMode) -> ExactMode | None:
    """The mode that is meant: True is certified, False is none."""
    if isinstance(exact, bool):
        return "certified" if exact else None
    return exact


def exact_options(mode: str, options: LoadOptions) -> LoadOptions:
    """Load options under which the processor's attention computes the same at every width.

    Raises ConfigError for an unknown mode, before anything is loaded.

    llama.cpp splits the cache between threads for single tokens, from 512 positions on, but only if
    keys and values have the same type (`ggml_compute_forward_flash_attn_ext_f16` in ops.cpp). So
    values are kept as bf16 beside keys as f16, which takes as much memory; with latent attention
    both are bf16 (`make_context`). Other devices, and types that were asked for, are left alone.
    """
    check_mode(mode)
    types = (options.kv_type_k, options.kv_type_v)
    if on_gpu(options) or types != ("f16", "f16") or options.flash_attention == "off":
        return options
    return replace(options, kv_type_v="bf16")
