"""What is to be loaded for a pair, looked at before any of it is: how much of it GPUs get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from spec_local.errors import SpecLocalError
from spec_local.gguf.header import check_model_file, model_bytes
from spec_local.llama.options import LoadOptions
from spec_local.llama.placing import Files, ModelFile, Placed, placed
from spec_local.models.download import pulled
from spec_local.models.encoders import encoder_for
from spec_local.models.loading import DRAFT_CONTEXT
from spec_local.models.registry import PairSpec, Registry
from spec_local.util.progress import Progress


def placing(
    spec: PairSpec,
    drafts: Sequence[str],
    options: LoadOptions,
    registry: Registry,
    progress: Progress,
) -> Callable[[int], Placed]:
    """How it is decided, for so many bytes left free on every GPU, how much of a pair they get.

    drafts: those of the pair that are to be loaded. Files are pulled and looked at only if there is
    something to decide; that may raise SpecLocalError.
    """
    files = cache(lambda: _files(spec, drafts, registry, progress))
    return lambda margin: placed(options, files, margin, DRAFT_CONTEXT)


def placing_of(target: Path, options: LoadOptions) -> Callable[[Sequence[Path]], Placed]:
    """What would be decided now for a target that is here, beside drafts that are.

    Headers are read only if there is something to decide; that may raise ModelFileError.
    """
    mine = cache(lambda: _file(target))

    def beside(drafts: Sequence[Path]) -> Placed:
        files = cache(lambda: Files(mine(), [_file(draft) for draft in drafts]))
        return placed(options, files, draft_ctx=DRAFT_CONTEXT)

    return beside


def _files(spec: PairSpec, drafts: Sequence[str], registry: Registry, progress: Progress) -> Files:
    """A draft that cannot be read is left out: loading it will say why."""
    target = pulled(spec.target, registry, progress)
    eyes, found = encoder_for(target, spec.mmproj, registry, progress), list[ModelFile]()
    for draft in drafts:
        with suppress(SpecLocalError):
            found.append(_file(pulled(draft, registry, progress)))
    return Files(_file(target), found, 0 if eyes is None else model_bytes(eyes))


def _file(path: Path) -> ModelFile:
    return ModelFile(path.name, check_model_file(path))
