"""Text that the user or the machine has: to rank tokens by, or to look answers up in.

Tokens are ranked by how often they occur. Without a corpus of the user's own that is counted in
what every installation has: the running interpreter's standard library, megabytes of code with
English comments and docstrings, and the descriptions of this project's dependencies, which are
written in Markdown. Where they are silent, about other languages say, the order of the vocabulary
itself says more (see `trim.py`).
"""

from __future__ import annotations

import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spec_local.drafters.library import Library
from spec_local.drafters.past_answers import PastAnswers
from spec_local.errors import require
from spec_local.llama.model import Model
from spec_local.llama.vocab import Vocabulary
from spec_local.util.files import read_text
from spec_local.util.progress import Share, no_share

Counts = NDArray[np.float64]
"""How often each token occurs, or is expected to occur, shape (n_vocab,)."""

_MOST_CHARACTERS = 16_000_000
"""CPython 3.11 has 10 million; the rest is for what others add."""

_DESCRIBED = ("huggingface_hub", "jinja2", "llama-cpp-python", "numpy", "rich", "tqdm", "typer")
"""Dependencies whose descriptions are long."""

_PASSAGE = 1 << 16
"""Characters tokenized at once: some of llama.cpp's tokenizers recurse over what they are given."""

# Installed packages differ from machine to machine; the others are tables and test data, not text.
_SKIPPED = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data"}
)


def default_corpus() -> list[str]:
    """Code, English and Markdown; the same texts for the same versions of Python and packages."""
    texts = [*_topics(), *_descriptions()]
    root = Path(sysconfig.get_path("stdlib"))
    left = _MOST_CHARACTERS
    for path in sorted(root.rglob("*.py")):
        if _SKIPPED.isdisjoint(path.relative_to(root).parts):
            text = path.read_text(encoding="utf-8", errors="replace")[:left]
            texts.append(text)
            left -= len(text)
    return texts


def _topics() -> list[str]:
    """Python's own documentation; some distributions leave it out."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return []
    return [topics[name] for name in sorted(topics)]


def _descriptions() -> Iterator[str]:
    """What stands on the package index about each of the packages."""
    for name in _DESCRIBED:
        with suppress(PackageNotFoundError):
            yield distribution(name).read_text("METADATA") or ""


def count_tokens(vocab: Vocabulary, texts: Sequence[str], progress: Share = no_share) -> Counts:
    """How often each token occurs in the texts; raises ConfigError if there is none at all."""
    counts = np.zeros(vocab.n_tokens)
    total, done = sum(map(len, texts)), 0
    for passage in _passages(texts):
        tokens = vocab.tokenize(passage, add_special=False, parse_special=False)
        counts += np.bincount(tokens, minlength=vocab.n_tokens)
        done += len(passage)
        progress(done / total)
    require(bool(counts.any()), "There is no text to rank tokens by; give some with --corpus.")
    return counts


def read_corpus(paths: Iterable[str | Path]) -> list[str]:
    """The texts of files; raises ConfigError for one that cannot be read or has no text."""
    texts = []
    for path in map(Path, paths):
        text = read_text(path)
        require(bool(text.strip()), f"{path} is empty; leave it out or name a file with text.")
        texts.append(text)
    return texts


def corpus_tokens(vocab: Vocabulary, texts: Iterable[str]) -> Iterator[list[int]]:
    """The tokens of each text as they would stand in an answer, with none in front."""
    for text in texts:
        passages = (
            vocab.tokenize(passage, add_special=False, parse_special=False)
            for passage in _passages([text])
        )
        yield [token for passage in passages for token in passage]


def _passages(texts: Sequence[str]) -> Iterator[str]:
    """The texts in pieces that end with a line."""
    for text in texts:
        start = 0
        while start < len(text):
            end = text.find("\n", start + _PASSAGE) + 1 or len(text)
            yield text[start:end]
            start = end


def library_of(model: Model, corpus: Sequence[str], remember: bool) -> Library:
    """What lookup may look into beside the text: these texts, and past answers if wanted."""
    past = PastAnswers.of_user(model.identity) if remember else None
    return Library(corpus_tokens(model.vocab, corpus), past)
