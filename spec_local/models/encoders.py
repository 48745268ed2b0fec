"""By which image encoder a target sees: the one that is named, or one that lies beside it."""

from __future__ import annotations

from pathlib import Path

from spec_local.errors import require
from spec_local.gguf.header import check_image_encoder
from spec_local.llama.model import Model
from spec_local.models.download import pulled, store
from spec_local.models.registry import Registry
from spec_local.util.progress import Progress

_NO_MTMD = "This build of llama-cpp-python lacks libmtmd; images need one built with it."


def encoder_for(
    target: Path, encoder: str | None, registry: Registry, progress: Progress
) -> Path | None:
    """The image encoder of a target: that one, or without a name one that lies beside it.

    encoder: a name or a path. Raises SpecLocalError for one that is named and not there.
    """
    if encoder is None:
        return _encoder_beside(target)
    path = pulled(encoder, registry, progress)
    check_image_encoder(path)
    return path


def give_eyes(target: Model, encoder: str | None, registry: Registry, progress: Progress) -> None:
    """Let the target see images by its encoder, if it has one, which is not opened yet.

    encoder: as for `encoder_for`, which raises.
    """
    path = encoder_for(target.path, encoder, registry, progress)
    if path is None:
        return
    try:
        from spec_local.llama.eyes import Eyes
    except (ImportError, OSError, RuntimeError):  # as it is built without libmtmd
        require(encoder is None, _NO_MTMD)
        return
    target.eyes = Eyes(path, target)


def _encoder_beside(model: Path) -> Path | None:
    """As LM Studio and the Hugging Face cache keep them, a folder for each model."""
    found = sorted(model.parent.glob("*mmproj*.gguf"))
    return found[0] if len(found) == 1 and model.parent != store() else None
