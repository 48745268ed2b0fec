"""Heads in files of their own: for which targets they are, and what of these they read."""

from __future__ import annotations

from spec_local.errors import ModelFileError
from spec_local.llama import extension
from spec_local.llama.backend import lib
from spec_local.llama.hidden import LayerInputs
from spec_local.llama.model import Model
from spec_local.llama.session import Session

_TARGETS = frozenset(
    {
        *("bailingmoe3", "deepseek4", "gemma4", "gpt-oss", "lfm2", "lfm2moe", "llama", "mimo2"),
        *("minimax-01", "minimax-m2", "nanbeige", "nemotron_h", "nemotron_h_moe"),
        *("qwen3", "qwen35", "qwen35moe", "qwen3moe", "qwen3next"),
    }
)
"""Architectures of which llama.cpp gives what a layer was given (`t_layer_inp` in src/models); with
others it ends the process."""


def kept_inputs(target: Session, head: Model) -> LayerInputs:
    """What a target keeps for the head, and for all other drafters with one that reads the same.

    Raises ModelFileError if it is no target of this head.
    """
    layers, hidden = _layers(target.model, head), target.hidden
    found = hidden.get(layers)
    if not isinstance(found, LayerInputs):
        n_embd = lib.llama_model_n_embd(target.model.handle)
        hidden[layers] = found = LayerInputs(target.handle, n_embd, layers)
    return found


def _layers(target: Model, head: Model) -> tuple[int, ...]:
    """By number, those whose input the head reads."""
    name, arch = head.path.name, target.header.architecture
    if arch not in _TARGETS or extension.lacks(extension.EAGLE):
        raise ModelFileError(
            f"{name} drafts from hidden states, and this llama.cpp gives none of a model of the "
            f"architecture {arch}; take a draft model, or none."
        )
    layers = head.header.metadata.get(f"{head.header.architecture}.target_layers")
    n_layers, n_embd = lib.llama_model_n_layer(target.handle), lib.llama_model_n_embd(target.handle)
    size = head.header.hyperparameter("target_hidden_size", lib.llama_model_n_embd(head.handle))
    if not isinstance(layers, tuple) or size != n_embd or not max(layers, default=-1) < n_layers:
        raise ModelFileError(
            f"{name} reads other layers than {target.path.name} has; take the head trained for it."
        )
    return tuple(map(int, layers))
