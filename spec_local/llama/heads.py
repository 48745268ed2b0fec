"""Multi-token prediction layers: which of a model's this llama.cpp can evaluate.

A model trained with them has layers behind its last one that guess the token after the next from
the hidden state of the last token and the next one (Gloeckle et al., arXiv 2404.19737; as chained
modules, DeepSeek-V3, arXiv 2412.19437). In a GGUF they are the last `nextn_predict_layers` blocks.
"""

from __future__ import annotations

from spec_local.gguf.header import GGUFHeader
from spec_local.llama import extension

_EVALUATED = frozenset(
    {
        *("bailingmoe3", "cohere2moe", "deepseek2", "deepseek32", "deepseek4", "glm-dsa"),
        *("glm4moe", "hy_v3", "mimo2", "nemotron_h_moe", "qwen35", "qwen35moe", "qwen3next"),
        "step35",
    }
)
"""Architectures with a `graph_mtp` in llama.cpp's src/models; with others it ends the process."""
_CROPS = frozenset({"deepseek2", "deepseek32", "glm-dsa", "glm4moe", "mimo2"})
"""Those whose last layer is computed for fewer tokens of a prompt while nobody asks for the hidden
states of all. Elsewhere all are there anyway."""


ASSISTANT = "gemma4-assistant"
_HEAD_FILES = {"eagle3": "eagle3", "dflash": "dflash", ASSISTANT: "mtp"}
"""Architectures of files that hold nothing but a head for another model, and what drafts with it.
"""


_CHAINED = frozenset({"mimo2", "step35"})
"""Those that may have several, one for each token of a draft; else one is used again and again."""


def heads_of(header: GGUFHeader) -> bool:
    """Whether the file has multi-token prediction layers that can be evaluated here."""
    number, arch = header.hyperparameter("nextn_predict_layers"), header.architecture
    fits = arch in _EVALUATED and (number == 1 or (number > 1 and arch in _CHAINED))
    return fits and number == header.tensors.heads and not extension.lacks(extension.MTP)


def head_kind(header: GGUFHeader) -> str | None:
    """What drafts with a file that holds nothing but a head for another model; None for others.

    Prediction layers may be in a file of their own, of the target's architecture.
    """
    alone = not header.tensors.has_trunk and heads_of(header)
    return "mtp" if alone else _HEAD_FILES.get(header.architecture)


def keeps_bits(architecture: str) -> bool:
    """Whether asking for the hidden states of all tokens changes nothing in the logits."""
    return architecture not in _CROPS
