"""Certificates: what is identical is found to be, and every kind of fault is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from spec_local.control.widths import ANY, Widths
from spec_local.errors import ContextOverflow
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.machine.certify import Certificate, certify, fitting
from spec_local.machine.profile import ProfileStore
from spec_local.sampling.types import Logits
from tests.fake import N_VOCAB, TableSession

pytestmark = pytest.mark.llama

TEXTS = [list(np.random.default_rng(i).integers(N_VOCAB, size=90)) for i in range(2)]


@dataclass
class Machine(TableSession):
    """A table that computes otherwise where it is told to."""

    n_ctx: int = 80
    faulty: tuple[int, ...] = ()
    """Widths at which one logit is off."""
    forgetful: tuple[int, ...] = ()
    """Widths at which only the cache is off, and nothing shows yet."""
    from_context: int = 0
    """Shorter contexts are computed rightly."""
    nosy: bool = False
    """A row depends on the tokens after it."""
    decode_seconds: float = 0.0
    _writes: int = 0

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        context = len(self.tokens)
        logits = super().evaluate(tokens, rows, parents)
        self.decode_seconds += len(tokens)
        if rows == len(tokens) and context >= self.from_context:
            if len(tokens) in self.faulty:
                logits[-1, 7] += np.float32(0.25)
            if self.nosy:
                logits[:, 3] += np.float32(len(set(tokens[1:])))
            self._writes = hash(("off", *tokens)) if len(tokens) in self.forgetful else 0
        return logits

    def digest(self) -> bytes:
        return repr((self.tokens, self._writes)).encode()


def test_a_machine_that_always_computes_the_same_is_certified() -> None:
    session = Machine()
    certificate = certify(session, TEXTS)
    assert certificate.contexts == (1, 33)  # 241 does not fit
    assert certificate.widths == tuple(range(1, 33))
    assert set(certificate.differences.values()) == {0.0}
    assert session.tokens == []


def test_a_single_logit_off_at_some_widths_is_found_with_its_size() -> None:
    certificate = certify(Machine(faulty=tuple(range(3, 33))), TEXTS)
    assert certificate.widths == (1, 2)
    expected = {1: 0.0, 2: 0.0} | dict.fromkeys(range(3, 33), 0.25)
    assert certificate.differences == pytest.approx(expected, abs=1e-5)


def test_a_fault_in_longer_contexts_only_is_found() -> None:
    certificate = certify(Machine(faulty=(5,), from_context=33), TEXTS)
    assert certificate.widths == tuple(w for w in range(1, 33) if w != 5)


def test_a_cache_that_differs_is_found_though_the_logits_agree() -> None:
    certificate = certify(Machine(forgetful=(4, 9)), TEXTS)
    assert certificate.widths == tuple(w for w in range(1, 33) if w not in (4, 9))
    assert certificate.differences[4] == 0.0


def test_widths_that_agree_with_each_other_but_not_with_one_have_a_base_of_their_own() -> None:
    odd = Machine(faulty=(1,))
    assert certify(odd, TEXTS).widths == (1,)
    assert certify(odd, TEXTS, base=2).widths == tuple(range(2, 33))


def test_rows_that_depend_on_their_neighbours_are_found() -> None:
    assert certify(Machine(nosy=True), TEXTS, base=4).widths == ()


def test_a_logit_that_is_no_number_is_infinitely_far() -> None:
    class Broken(Machine):
        def evaluate(
            self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
        ) -> Logits:
            logits = super().evaluate(tokens, rows, parents)
            if rows == 6:
                logits[0, 0] = np.nan
            return logits

    certificate = certify(Broken(), TEXTS)
    assert certificate.differences[6] == float("inf")
    assert 6 not in certificate.widths


def test_every_evaluation_is_timed() -> None:
    seen = []
    certify(Machine(n_ctx=40), TEXTS[:1], observe=lambda *what: seen.append(what))
    assert {width for width, _context, _seconds in seen} == set(range(1, 33))
    assert all(seconds == width for width, _context, seconds in seen)
    assert min(context for _width, context, _seconds in seen) == 1


def test_a_context_too_small_is_refused() -> None:
    with pytest.raises(ContextOverflow, match="--ctx-size"):
        certify(Machine(n_ctx=33), TEXTS)


@pytest.mark.parametrize(
    ("n_ctx", "lengths"),
    [(33, ()), (34, (1,)), (66, (1, 33)), (8192, (1, 33, 241, 257, 1025, 4097))],
)
def test_lengths_that_fit(n_ctx: int, lengths: tuple[int, ...]) -> None:
    assert fitting(n_ctx) == lengths


def test_certificates_are_kept_beside_the_curve(tmp_path: Path) -> None:
    store, who = ProfileStore(tmp_path), {"model": "some.gguf", "hash": "abc"}
    first = Certificate(1, (1, 33), {1: 0.0, 2: 0.5}, (1,))
    second = Certificate(2, (1, 33), {2: 0.0, 3: 0.0}, (2, 3))
    store.save_certificate(who, first)
    store.save_certificate(who, second)
    store.save_curve(who, store.curve(who), tuned=True)
    assert store.certificate(who, 1) == first
    assert store.certificate(who, 2) == second
    assert store.certificate(who, 3) is None
    assert store.certificate({**who, "hash": "def"}, 1) is None
    assert store.tuned_at(who) > 0
    assert first.covers(70)
    assert not first.covers(400)


@pytest.mark.parametrize(
    "damage",
    [{"widths": [2, 1]}, {"widths": [7]}, {"base": "x"}, {"contexts": 3}, {"differences": [[1]]}],
)
def test_a_damaged_certificate_is_none(tmp_path: Path, damage: dict[str, object]) -> None:
    store, who = ProfileStore(tmp_path), {"model": "some.gguf", "hash": "abc"}
    good = Certificate(1, (1,), {1: 0.0, 2: 0.0}, (1, 2)).as_dict()
    store.change(who, {"certificate 1": {**good, **damage}})
    assert store.certificates(who) == []


def test_widths_round_up() -> None:
    widths = Widths((1, 2, 3, 5, 8))
    assert [widths.at_least(n) for n in range(1, 9)] == [1, 2, 3, 5, 5, 8, 8, 8]
    shape = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert widths.costs(shape) == [0, 1, 2, 3, 5, 5, 8, 8, 8]
    assert Widths((4,)).costs(shape) == [0, 1, 1, 1, 1]
    assert ANY.costs(shape) == shape
    assert (widths.narrowest, widths.widest, widths.most_padding) == (1, 8, 2)
    assert Widths((4,)).most_padding == 3
    assert ANY.most_padding == 0


def test_llama_cpp_itself_is_examined(tiny: Path) -> None:
    """On the tiny model nothing depends on the width, or it is found; in both cases twice alike."""
    with (
        Model(tiny, LoadOptions(n_ctx=320, n_threads=1, kv_type_v="bf16")) as model,
        Session(model) as session,
    ):
        tokens = np.random.default_rng(0).integers(260, 290, 400).tolist()
        first, second = certify(session, [tokens]), certify(session, [tokens])
        assert first == second
        assert 1 in first.widths
        assert first.contexts == (1, 33, 241, 257)
        session.evaluate(tokens[:40])
        whole = session.digest()
        session.evaluate(tokens[40:50], rows=10)
        assert session.digest() != whole
        session.truncate(40)
        assert session.digest() == whole
