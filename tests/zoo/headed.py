"""Tiny models whose multi-token prediction layer often guesses what they write.

Every letter is followed by the one some places on, more or less: what the layers add to that is
little, and so is what the prediction layer makes of the hidden state.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.tiny_gguf import LETTERS
from tests.zoo.recipes import HEADED, Recipe, recipes, write

RECIPES = recipes(HEADED)
FIRST_LETTER = 260
_STEP, _QUIET, _OF_STATE = 7, 0.5, 0.7
_ADDED = ("attn_output", "ffn_down", "ssm_out")
"""What a layer adds to a state ends with one of these."""


FOLLOWERS = FIRST_LETTER + (np.arange(len(LETTERS)) + _STEP) % len(LETTERS)
"""What mostly stands behind each letter."""


def embeddings_of(n_vocab: int, n_embd: int) -> NDArray[np.float32]:
    """What all these models have."""
    return np.random.default_rng(0).normal(size=(n_vocab, n_embd)).astype(np.float32)


def output_of(embeddings: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
    """An output head that answers a letter's embedding with its follower, and others with noise."""
    letters = embeddings[FIRST_LETTER : FIRST_LETTER + len(LETTERS)]
    output = noise.copy()
    output[FOLLOWERS] = letters / np.linalg.norm(letters, axis=1, keepdims=True)
    return output


def write_headed(
    arch: str, path: Path, *, heads: bool = True, several: int = 1, alone: bool = False
) -> Path:
    """heads: without them, only the metadata names the layer. several: so many of them.

    alone: nothing but the layers, and what is before and behind all layers.
    """
    recipe = RECIPES.get(arch) or recipes()[arch]
    n_embd, n_vocab = recipe.tensors["token_embd.weight"]
    last = f"blk.{recipe.keys['block_count'] - 1}."
    tensors = {
        "output.weight": (n_embd, n_vocab),  # some do without
        **{n: shape for n, shape in recipe.tensors.items() if heads or not n.startswith(last)},
    }
    recipe = replace(recipe, tensors=tensors)
    for more in range(1, several):
        recipe = _with_another(recipe, last, more)
    embeddings = embeddings_of(n_vocab, n_embd)

    def change(name: str, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        if name == "token_embd.weight":
            return embeddings
        if name == "output.weight":
            return output_of(embeddings, weights / np.float32(6))
        if any(part in name for part in _ADDED):
            return weights * np.float32(_QUIET)
        if name.endswith("eh_proj.weight") and weights.shape == (n_embd, 2 * n_embd):
            one = np.eye(n_embd, dtype=np.float32)
            return np.concatenate([one, _OF_STATE * one], axis=1)
        return weights

    if alone:
        kept = {
            name: s for name, s in recipe.tensors.items() if not name.startswith(_trunk(recipe))
        }
        recipe = replace(recipe, tensors=kept)
    return write(recipe, path, change=change)


def _trunk(recipe: Recipe) -> tuple[str, ...]:
    layers = recipe.keys["block_count"] - recipe.keys["nextn_predict_layers"]
    return tuple(f"blk.{layer}." for layer in range(layers))


def _with_another(recipe: Recipe, last: str, more: int) -> Recipe:
    """The recipe with one prediction layer more, like the last one."""
    block = f"blk.{recipe.keys['block_count']}."
    tensors = {
        block + name.removeprefix(last): shape
        for name, shape in recipe.tensors.items()
        if name.startswith(last)
    }
    keys = {
        name: [*value, value[-1]] if isinstance(value, list) else value
        for name, value in recipe.keys.items()
    }
    counts = {"block_count": recipe.keys["block_count"] + 1, "nextn_predict_layers": more + 1}
    return replace(recipe, keys={**keys, **counts}, tensors={**recipe.tensors, **tensors})
