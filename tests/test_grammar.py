"""Grammars on llama.cpp's own parser: read alike, and nothing comes to stderr or is mixed up."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spec_local.errors import ConfigError
from spec_local.llama import backend
from spec_local.llama.backend import collected_errors, lib
from spec_local.llama.grammar import Grammar
from spec_local.llama.model import Model
from spec_local.llama.vocab import Vocabulary
from spec_local.sampling.gbnf import require_harmless
from spec_local.sampling.gbnf_reader import require_readable
from tests.test_gbnf_reader import READABLE, UNREADABLE

pytestmark = pytest.mark.llama

MUTATIONS = 400
LETTERS = '"[](){}|*+?.^-\\ \n,:=#2ax'


@pytest.fixture(scope="module")
def vocab(tiny: Path) -> Iterator[Vocabulary]:
    with Model(tiny, vocab_only=True) as model:
        yield model.vocab


def reads(grammar: str, vocab: Vocabulary) -> bool:
    """Whether llama.cpp's parser does; what it refuses afterwards has been read."""
    with collected_errors() as errors:
        handle = lib.llama_sampler_init_grammar(vocab.handle, grammar.encode(), b"root")
    if handle:
        lib.llama_sampler_free(handle)
    return bool(handle) or any("left recursion" in error for error in errors)


def is_readable(grammar: str) -> bool:
    try:
        require_readable(grammar)
    except ConfigError:
        return False
    return True


def mutants() -> Iterator[str]:
    """Grammars with some letters more, fewer or otherwise."""
    draw = random.Random(1)
    while True:
        text = list(draw.choice(READABLE))
        for _ in range(draw.randint(1, 2)):
            at = draw.randrange(len(text))
            text[at : at + draw.randint(0, 1)] = draw.choice(("", draw.choice(LETTERS)))
        yield "".join(text)


def test_llama_cpp_reads_the_same(vocab: Vocabulary) -> None:
    for grammar in READABLE:
        assert reads(grammar, vocab), grammar
    for grammar in UNREADABLE:
        if grammar and "\0" not in grammar:  # to llama.cpp the empty one is none, and so allowed
            assert not reads(grammar, vocab), grammar
    verdicts = list[bool]()
    for grammar in mutants():
        try:
            require_harmless(grammar)
        except ConfigError:
            continue
        verdicts.append(is_readable(grammar))
        assert verdicts[-1] == reads(grammar, vocab), grammar
        if len(verdicts) == MUTATIONS:
            break
    assert 0.2 < sum(verdicts) / MUTATIONS < 0.8


def test_nothing_comes_to_stderr(vocab: Vocabulary, capfd: pytest.CaptureFixture[str]) -> None:
    for grammar in (*UNREADABLE, 'root ::= root "a" | "b"'):
        with pytest.raises(ConfigError):
            Grammar(grammar, vocab)
    for grammar in READABLE:
        with suppress(ConfigError):  # one of them is left-recursive
            Grammar(grammar, vocab).close()
    assert capfd.readouterr() == ("", "")


def test_errors_of_other_threads_are_not_collected() -> None:
    log: Any = backend.log_callback
    log = partial(log, backend._ERROR)

    with collected_errors() as ours:
        theirs = list[str]()

        def other() -> None:
            with collected_errors() as errors:
                log(b"of the other thread", None)
                theirs.extend(errors)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        log(b"of this thread", None)
    log(b"of nobody", None)
    assert (ours, theirs) == (["of this thread"], ["of the other thread"])
