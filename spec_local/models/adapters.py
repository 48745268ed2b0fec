"""LoRA adapters that a pair of models.toml names."""

from __future__ import annotations

from dataclasses import replace

from spec_local.llama.adapter import Adapter
from spec_local.llama.options import LoadOptions
from spec_local.models.registry import PairSpec


def with_adapters(spec: PairSpec, options: LoadOptions | None) -> LoadOptions:
    """The options, with the pair's adapters where they name none.

    Raises ConfigError for one whose file is not there.
    """
    wanted = options or LoadOptions()
    if spec.lora and not wanted.lora:
        wanted = replace(wanted, lora=tuple(map(Adapter.spelled, spec.lora)))
    if spec.draft_lora and wanted.draft.lora is None:
        of_draft = tuple(map(Adapter.spelled, spec.draft_lora))
        wanted = replace(wanted, draft=replace(wanted.draft, lora=of_draft))
    return wanted
