"""Which devices compute a model, and whether two models share one."""

from __future__ import annotations

from spec_local.llama.backend import lib
from spec_local.llama.devices import CPU, gpus
from spec_local.llama.model import Model
from spec_local.llama.options import ALL


def computed_by(model: Model) -> frozenset[str]:
    """Names of the devices that compute its layers."""
    options, layers = model.options, model.options.n_gpu_layers
    assert isinstance(layers, int)
    cards = {device.name for device in gpus(options)} if layers else set[str]()
    whole = layers == ALL or layers > lib.llama_model_n_layer(model.handle)  # the output is one
    return frozenset(cards if cards and whole and not options.n_cpu_moe else {*cards, CPU})


def apart(one: Model, other: Model) -> bool:
    """Whether they can compute at the same time and neither waits for the other."""
    return not computed_by(one) & computed_by(other)
