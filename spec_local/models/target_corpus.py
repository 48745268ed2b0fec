"""What a target writes, to rank tokens by: its own answers to prompts of many kinds.

VocabTrim (arXiv 2506.22694) finds that better than other people's texts. A target writes a few
thousand tokens in minutes, which is too little to count a vocabulary of a hundred thousand. So not
the drawn tokens are counted but what might have been drawn: at each position every token has its
probability added, and the sum is how often each is expected. That costs no evaluation more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import cycle, islice
from math import ceil, log
from pathlib import Path

import numpy as np

from spec_local.engine.types import EvaluationSession
from spec_local.errors import ModelFileError, VocabularyMismatch, require
from spec_local.gguf.copying import appears_whole
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.llama.template import ChatTemplate
from spec_local.llama.vocab import Vocabulary
from spec_local.models.corpus import Counts
from spec_local.prompt import prompt_tokens
from spec_local.sampling.noise import keyed_gumbel
from spec_local.sampling.types import Logits
from spec_local.util.paths import cache_directory
from spec_local.util.progress import Progress, Share, no_share

_LONGEST = 512
"""Tokens of an answer; with more to write, every prompt is answered again, in another way."""

_CONTEXT = 2048
"""Tokens of context, for a prompt and its answer."""

_LEAST = 0.05
"""Share of the likeliest token's probability below which none is drawn, lest answers derail."""


def corpus_prompts() -> list[str]:
    """What the target is asked: code, prose, data, mathematics and chat, in a dozen languages.

    Neighbours are of different kinds. None is a prompt of the benchmark.
    """
    text = Path(__file__).with_name("corpus_prompts.txt").read_text(encoding="utf-8")
    return text.splitlines()


def target_counts(target: Path, n_tokens: int, draft: Vocabulary, progress: Progress) -> Counts:
    """How often a target is expected to write each of a draft's tokens, shape (draft's n_vocab,).

    It is asked once; what it said is kept in the cache directory. Raises VocabularyMismatch for a
    draft of another vocabulary, ConfigError for less than a token.
    """
    require(n_tokens >= 1, "The target must write at least one token.")
    with Model(target, vocab_only=True) as model:
        differences = "; ".join(model.vocab.differences(draft))
        kept = _kept_at(model, n_tokens)
    if differences:
        raise VocabularyMismatch(f"{target.name} cannot write for this draft: {differences}.")
    counts = _read(kept)
    if counts is None:
        counts = _ask(target, n_tokens, progress)
        with suppress(ModelFileError, OSError):  # then it is asked again the next time
            kept.parent.mkdir(parents=True, exist_ok=True)
            with appears_whole(kept) as unfinished:
                np.save(unfinished, counts)
    common = min(len(counts), draft.n_tokens)  # sizes may differ by padding
    return np.concatenate([counts[:common], np.zeros(draft.n_tokens - common)])


def _kept_at(target: Model, n_tokens: int) -> Path:
    """Where the counts of a target are kept: its content counts, not its name."""
    who = target.identity
    asked = f"{who['bytes']} {who['hash']} {n_tokens} {corpus_prompts()}"
    name = hashlib.sha256(asked.encode()).hexdigest()[:16]
    return cache_directory() / "corpora" / f"{name}.npy"


def _read(path: Path) -> Counts | None:
    """The counts that are kept there; None without any, or where they are damaged."""
    try:
        counts: Counts = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return counts


def _ask(target: Path, n_tokens: int, progress: Progress) -> Counts:
    """Load the target and let it answer."""
    name = target.stem
    with (
        Model(target, progress=progress) as model,
        Session(model, n_ctx=_CONTEXT) as session,
    ):
        template = ChatTemplate(model)
        prompts = [
            prompt_tokens([{"role": "user", "content": each}], model, lambda: template)
            for each in corpus_prompts()
        ]
        is_end = model.vocab.is_end
        return expected_counts(session, prompts, n_tokens, is_end, partial(progress, f"ask {name}"))


def expected_counts(
    target: EvaluationSession,
    prompts: Sequence[Sequence[int]],
    n_tokens: int,
    is_end: Callable[[int], bool],
    progress: Share = no_share,
) -> Counts:
    """How often the target is expected to write each token, in `n_tokens` positions of answers.

    The same for the same target and prompts, which have a token at least. Each prompt has the same
    share of positions; what answers leave that end before goes to a second round.
    """
    share = min(_LONGEST, ceil(n_tokens / len(prompts)))
    counts = np.zeros(target.n_vocab)
    written = 0
    for number, prompt in enumerate(cycle(prompts)):
        answer = _answer(target, prompt, number, is_end)
        for logits in islice(answer, min(share, n_tokens - written)):
            weights = np.exp(logits - logits.max())
            counts += weights / weights.sum()
            written += 1
            progress(written / n_tokens)
        if written == n_tokens:
            break
    return counts


def _answer(
    target: EvaluationSession, prompt: Sequence[int], seed: int, is_end: Callable[[int], bool]
) -> Iterator[Logits]:
    """The target's logits (n_vocab,) before each token of an answer."""
    held = target.sync(prompt[:-1])
    tokens = prompt[held:]
    while True:
        logits = target.evaluate(tokens)[-1]
        yield logits
        drawn = _draw(logits, seed, len(target.tokens))
        if is_end(drawn):
            return
        tokens = [drawn]


def _draw(logits: Logits, seed: int, position: int) -> int:
    """A token at temperature 1, of those that are not unlikely."""
    likely = np.flatnonzero(logits >= logits.max() + log(_LEAST)).astype(np.int32)
    return int(likely[np.argmax(logits[likely] + keyed_gumbel(seed, position, likely))])
