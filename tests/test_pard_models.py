"""Drafting with mask tokens on llama.cpp, and what is said of drafts that have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from spec_local import ConfigError, LoadOptions, Runner, Sampling
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=256, n_batch=32)
UNUSED = 0
"""A token no text has."""


@pytest.mark.parametrize("arch", ["llama", "gemma3", "mamba"])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(seed=3)], ids=str)
def test_the_text_is_that_of_plain_decoding(
    arch: str, sampling: Sampling, tiny: Path, tmp_path: Path
) -> None:
    draft = write_tiny(tmp_path / "draft.gguf", arch, mask=UNUSED)
    texts = set()
    for drafter, k in (("none", None), ("pard", 1), ("pard", 4), ("lookup,pard", None)):
        with Runner.load(target=tiny, draft=draft, drafter=drafter, k=k, options=OPTIONS) as runner:
            done = runner.complete("hello hello there", max_tokens=40, sampling=sampling)
            texts.add(done.tokens)
            if drafter == "pard":
                assert runner.draft is not None
                assert UNUSED not in runner.draft.tokens
                assert done.stats.drafted > 0
    assert len(texts) == 1


@pytest.mark.parametrize("mask", [None, 10**6])
def test_a_draft_without_a_mask_token_is_told(mask: int | None, tiny: Path, tmp_path: Path) -> None:
    draft = write_tiny(tmp_path / "draft.gguf", seed=1, mask=mask)
    for drafter in ("pard", "lookup,pard"):
        with pytest.raises(ConfigError, match="needs a draft trained with a mask token"):
            Runner.load(target=tiny, draft=draft, drafter=drafter, options=OPTIONS)
    with pytest.raises(ConfigError, match="needs a draft model"):
        Runner.load(target=tiny, draft="none", drafter="pard", options=OPTIONS)
