"""The tensor table of a model: which parts of it are there, and how many bytes each has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

_LOOKED_UP = ("token_embd.", "per_layer_token_embd.", "position_embd.", "token_types.")
"""Of these only rows are read; llama.cpp leaves them where the file is."""
_EMBEDDINGS, _OUTPUT = "token_embd.weight", "output.weight"
_LAYER = re.compile(r"blk\.(\d+)\.")
EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""In names of the weights of experts: LLM_FFN_EXPS_REGEX of llama.cpp's common/common.h."""
_TRUNK, _HEAD, _CHAIN = "blk.0.", ".nextn.eh_proj.weight", "markov_w1.weight"
"""Names in the first layer, of a prediction layer, and of what makes a DFlash head DSpark."""


class Tensor(NamedTuple):
    """An entry of the table."""

    name: str
    shape: tuple[int, ...]
    type: str
    """Such as Q4_K; empty if this gguf does not know it."""
    offset: int
    bytes: int
    """0 if the type is not known."""


@dataclass(frozen=True, slots=True)
class TensorTable:
    """Its entries, of all parts of a split model."""

    entries: tuple[Tensor, ...]

    @property
    def bytes(self) -> int:
        """Of all tensors."""
        return sum(tensor.bytes for tensor in self.entries)

    @property
    def matrix_bytes(self) -> Mapping[str, int]:
        """Bytes of what is multiplied with, by type; of embeddings rows are only looked up."""
        found = Counter[str]()
        for tensor in self.entries:
            if tensor.bytes and len(tensor.shape) > 1 and tensor.name != _EMBEDDINGS:
                found[tensor.type] += tensor.bytes
        return found

    @property
    def layer_bytes(self) -> Mapping[int, int]:
        """Bytes of each layer, by its number."""
        return self._by_layer("")

    @property
    def expert_bytes(self) -> Mapping[int, int]:
        """Bytes of the experts of each layer that has any."""
        return self._by_layer(EXPERTS)

    def left(self, layers: int, experts: int) -> TensorTable:
        """What is not on a GPU if the first so many layers are not, nor the experts of so many."""

        def stays(name: str) -> bool:
            if (layer := _LAYER.match(name)) is None:
                return name.startswith(_LOOKED_UP)
            number = int(layer[1])
            return number < layers or (number < experts and bool(re.search(EXPERTS, name)))

        return TensorTable(tuple(tensor for tensor in self.entries if stays(tensor.name)))

    def _by_layer(self, pattern: str) -> Mapping[int, int]:
        found = Counter[int]()
        for tensor in self.entries:
            if (layer := _LAYER.match(tensor.name)) and re.search(pattern, tensor.name):
                found[int(layer[1])] += tensor.bytes
        return found

    @property
    def output_bytes(self) -> int:
        """Bytes of what follows the layers; the embeddings again where they are the output, too."""
        names = {tensor.name for tensor in self.entries}
        return sum(
            tensor.bytes
            for tensor in self.entries
            if (tensor.name == _EMBEDDINGS and _OUTPUT not in names)
            or not (_LAYER.match(tensor.name) or tensor.name.startswith(_LOOKED_UP))
        )

    @property
    def largest_matrix(self) -> int:
        """Bytes of the largest tensor that is multiplied with."""
        tied = all(tensor.name != _OUTPUT for tensor in self.entries)
        multiplied = (
            tensor.bytes
            for tensor in self.entries
            if not tensor.name.startswith(_LOOKED_UP) or (tied and tensor.name == _EMBEDDINGS)
        )
        return max(multiplied, default=0)

    @property
    def heads(self) -> int:
        """Multi-token prediction layers whose tensors are there."""
        return sum(tensor.name.endswith(_HEAD) for tensor in self.entries)

    @property
    def has_trunk(self) -> bool:
        """Whether the first layer is there, which a file of prediction layers alone lacks."""
        return any(tensor.name.startswith(_TRUNK) for tensor in self.entries)

    @property
    def chains(self) -> bool:
        """Whether it is a head with what makes a guess depend on the one before (DSpark)."""
        return any(tensor.name == _CHAIN for tensor in self.entries)
