"""lm-eval on a real server: its scores are those of a plain evaluation, its texts the runner's."""

from __future__ import annotations

from pathlib import Path

import pytest

from spec_local.sampling.settings import Sampling

pytestmark = pytest.mark.llama

SMALL = "smollm2-135m"


@pytest.mark.model(SMALL)
def test_scores_and_answers(
    model_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra conformance")
    from scripts.conformance import lm_eval_scores as harness
    from scripts.serve_load import serving
    from spec_local.runner import Runner

    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path))
    with serving(str(model_files[0]), ["--temperature", "0", "--no-trial"]) as (base, _process):
        url = base.removesuffix("/v1")
        texts = harness.evaluated(url, SMALL, list(harness.TASKS))
        chats = harness.evaluated(url, SMALL, ["answers"], chat=True)
    worst, disagreeing = harness.compared(model_files[0], texts["samples"]["facts"])
    # Batches of other widths round otherwise; a wrong token or place would be off by whole units.
    assert worst < 0.05
    assert disagreeing <= 1
    assert texts["results"]["facts"]["acc,none"] > 0.6  # by chance 0.31
    with Runner.load(target=model_files[0], drafter="none") as runner:
        for sample in texts["samples"]["answers"]:
            done = runner.complete(
                sample["doc"]["question"],
                max_tokens=12,
                stop=("\n",),
                sampling=Sampling(temperature=0),
            )
            assert sample["resps"] == [[done.text]]
    assert len(chats["samples"]["answers"]) == len(harness.FACTS)
