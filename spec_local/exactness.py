"""The exact modes: the same text, bit for bit, with any drafter or none.

**certified**: single tokens are evaluated at width 1 as ever, drafts only at widths identical to
it. **fixed**: single tokens are padded to a width that *is* identical to others, where width 1 is
not. **guard**: drafts at any width, but near ties are decided at width 1 (`guard.py`); this one
promises less. All rest on a certificate of this machine (`exact.py`).

In all of them prompts are evaluated in the same batches whatever is cached (`exact_session.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from spec_local.bench.workloads import bundled
from spec_local.errors import ConfigError, require
from spec_local.exact import WIDTHS, Certificate, certify
from spec_local.exact_session import ExactSession
from spec_local.guard import Guard
from spec_local.llama.backend import device_names
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.loading import Progress
from spec_local.profile import ProfileStore
from spec_local.types import Verifier
from spec_local.verify import keyed
from spec_local.widths import Widths

ExactMode = Literal["certified", "fixed", "guard"]

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
        cls, mode: str, session: Session, store: ProfileStore | None, progress: Progress
    ) -> Exactness:
        """By the certificate that is kept, or one that is made now, which takes minutes.

        Raises ConfigError for an unknown mode, or if nothing can be promised on this machine.
        """
        known = get_args(ExactMode)
        require(mode in known, f"There is no exact mode {mode!r}; choose from: {', '.join(known)}.")
        find = CertificateFinder(session, store, progress)
        certificate = find.fixed() if mode == "fixed" else find(1)
        require(
            bool(certificate.widths),
            "Even single tokens are not computed the same twice here; nothing exact can be done.",
        )
        measured = sorted(certificate.differences)
        widths = Widths(tuple(measured) if mode == "guard" else certificate.widths)
        exact = ExactSession(session, widths, session.n_batch)
        return cls(mode, certificate, exact)  # type: ignore[arg-type]

    @property
    def widths(self) -> Widths:
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
        return (
            "no width above 1 is identical to width 1 here, so nothing is drafted; "
            "--exact=fixed may be faster."
        )


class CertificateFinder:
    """Certificates of a session's model: those kept in the profile, and others made on demand."""

    def __init__(self, session: Session, store: ProfileStore | None, progress: Progress) -> None:
        self._session, self._store, self._progress = session, store, progress

    def __call__(self, base: int) -> Certificate:
        """The certificate of a base."""
        who, store = self._session.model.identity, self._store
        kept = None if store is None else store.certificate(who, base)
        if kept is not None and kept.covers(self._session.n_ctx):
            return kept
        certificate = self._certify(base)
        if store is not None:
            store.save_certificate(who, certificate)
        return certificate

    def fixed(self) -> Certificate:
        """That of the narrowest base that is not identical to width 1, but to itself.

        Where all widths are identical to width 1, it is that of width 1.
        """
        plain = self(1)
        others = [base for base in WIDTHS if base not in plain.widths]
        if not others:
            return plain
        for base in others:
            if base <= _MOST_FIXED and (certificate := self(base)).widths:
                return certificate
        raise ConfigError(
            "No fixed width computes the same here wherever a token stands in the batch; "
            "use --exact, which verifies at certified widths alone."
        )

    def _certify(self, base: int) -> Certificate:
        session, store = self._session, self._store
        if session.capabilities.rollback != "remove":
            # Rolling back evaluates again, at widths of its own.
            return Certificate(base, (), {1: 0.0}, (1,) if base == 1 else ())
        who = session.model.identity
        learn = store is not None and not store.tuned_at(who)
        curve = store.curve(who) if store is not None else None
        stage = f"certify {session.model.path.stem}"
        certificate = certify(
            session,
            sequences(session),
            base,
            lambda share: self._progress(stage, share),
            curve.observe if curve is not None and learn else lambda *_: None,
        )
        if store is not None and curve is not None and learn:
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


def exact_options(options: LoadOptions) -> LoadOptions:
    """Load options under which the processor's attention computes the same at every width.

    llama.cpp splits the cache between threads for single tokens, from 512 positions on, but only if
    keys and values have the same type (`ggml_compute_forward_flash_attn_ext_f16` in ops.cpp). So
    values are kept as bf16 beside keys as f16, which takes as much memory. Other devices, and types
    that were asked for, are left alone.
    """
    on_cpu = device_names() == ["CPU"]
    types = (options.kv_type_k, options.kv_type_v)
    if not on_cpu or types != ("f16", "f16") or options.flash_attention == "off":
        return options
    return replace(options, kv_type_v="bf16")
