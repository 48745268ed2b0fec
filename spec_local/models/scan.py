"""What is in the model files that other programs have: read from their headers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gguf.constants import LlamaFileType

from spec_local.errors import ModelFileError
from spec_local.gguf.header import GGUFHeader, check_model_file
from spec_local.models.stores import StoredFile, stored_files


@dataclass(frozen=True, slots=True)
class ScannedModel:
    """A model file, and what its header says."""

    name: str
    store: str
    path: str
    bytes: int = 0
    """Of its tensors."""
    architecture: str = ""
    type: str = ""
    """How most of its tensors are quantized, such as Q4_K_M; empty if it does not say."""
    context: int = 0
    """Tokens it was trained with."""
    has_template: bool = False
    """Whether it has a chat template."""
    mtp_layers: int = 0
    """Layers that predict further tokens (multi-token prediction)."""
    n_vocab: int = 0
    vocabulary: str = ""
    """The same for models that can draft for each other."""
    damage: str = ""
    """Why it cannot be used; empty if nothing was found."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def row(self) -> list[str]:
        """Size, architecture with its type, context, template and vocabulary, for people."""
        if self.damage:
            return ["-", self.damage, "-", "-", "-"]
        what = f"{self.architecture} {self.type}".strip()
        template = "yes" if self.has_template else "no"
        context = f"{self.context:,}" if self.context else "-"
        return [f"{self.bytes / 1e9:.2f} GB", what, context, template, self.vocabulary or "-"]


def scanned(folders: Iterable[Path] = ()) -> list[ScannedModel]:
    """Every model found, and in these folders; a damaged one says what is wrong with it."""
    return [_scanned(stored) for stored in stored_files(folders)]


def _scanned(stored: StoredFile) -> ScannedModel:
    place = (stored.name, stored.store, str(stored.path))
    try:
        header = check_model_file(stored.path)
    except ModelFileError as error:
        return ScannedModel(*place, damage=str(error))
    return ScannedModel(
        *place,
        bytes=header.data_bytes,
        architecture=header.architecture,
        type=_type(header),
        context=header.hyperparameter("context_length"),
        has_template="tokenizer.chat_template" in header.metadata,
        mtp_layers=header.hyperparameter("nextn_predict_layers"),
        n_vocab=header.n_vocab,
        vocabulary=header.vocabulary,
    )


def _type(header: GGUFHeader) -> str:
    number = header.metadata.get("general.file_type")
    try:
        name = str(LlamaFileType(number).name)
    except ValueError:
        return ""
    return name.removeprefix("MOSTLY_").removeprefix("ALL_")
