"""What each layer gives, seen while llama.cpp evaluates, and layers silenced for a trial.

llama.cpp shows every node of its graph to a callback before and after it is computed, and what the
callback writes into a node is what later nodes read. So a layer is left out of a loaded model by
writing what came into it over what it gives; the others are computed as ever, each with its own
number. That is the definition of a model without the layer, whatever a file with fewer layers does.
"""

from __future__ import annotations

import ctypes
import re
from collections import defaultdict
from collections.abc import Collection
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from spec_local.llama.backend import lib, tensor_api

Stream = NDArray[np.float32]
"""What passes from layer to layer, shape (tokens, n_embd)."""

_OUTPUT = re.compile(rb"l_out-(\d+)")
"""What llama.cpp calls what a layer gives."""
_INPUT = re.compile(
    rb"embd|embd_norm|inpL|inp_(embd|scaled|embd_scaled|norm|norm-0)|model\.(embed_tokens|input_embed)"
)
"""What comes into the first layer; where there are several, the last one."""


class Passed:
    """What was measured while tokens passed through the layers; one list for each layer."""

    def __init__(self) -> None:
        self.turned = defaultdict[int, list[float]](list)
        """Of each token 1 - cos(what came in, what the layer gave), which is the block influence of
        ShortGPT (arXiv 2403.03853)."""
        self.seconds = defaultdict[int, list[float]](list)
        """Of each evaluation, how long the layer took."""


class LayerTaps:
    """Sees the layers of one model's contexts (`Model.taps`), one evaluation at a time.

    Between a layer and the next only the last tokens may be left: those whose logits are asked for.
    """

    def __init__(self, n_embd: int) -> None:
        self._api, self._n_embd = tensor_api(), n_embd
        self.silenced: frozenset[int] = frozenset()
        self.seen: set[int] = set()
        """The layers whose output llama.cpp has shown in any evaluation."""
        self._passed: Passed | None = None
        self._clock = 0.0
        self._stream: Stream | None = None
        self._failure: BaseException | None = None
        self.callback = lib.ggml_backend_sched_eval_callback(self._called)
        """For llama.cpp; must live as long as the contexts."""

    def silence(self, layers: Collection[int]) -> None:
        """From the next evaluation on these layers pass on what comes in; no others do."""
        self.silenced = frozenset(layers)

    def measure(self) -> Passed:
        """What is measured from now on."""
        self._passed = Passed()
        return self._passed

    def check(self) -> None:
        """Raise what ended the last evaluation, such as Ctrl-C; its logits are void then."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _called(self, tensor: int | None, asks: bool, _user_data: int | None) -> bool:
        try:
            assert tensor is not None
            return self._wants(tensor) if asks else self._take(tensor)
        except BaseException as error:  # must not pass through C; raised again by `check`
            self._failure = error
            return False

    def _wants(self, tensor: int) -> bool:
        """Whether to compute up to this node and show it: what comes into a layer, or goes out."""
        name: bytes = self._api.ggml_get_name(tensor)
        named = _OUTPUT.fullmatch(name) or _INPUT.fullmatch(name)
        n_bytes: int = self._api.ggml_nbytes(tensor)  # 0 behind the last layer without any row
        return named is not None and n_bytes > 0 and n_bytes % (4 * self._n_embd) == 0

    def _take(self, tensor: int) -> bool:
        """A node that was wanted is there."""
        seconds = perf_counter() - self._clock
        output = _OUTPUT.fullmatch(self._api.ggml_get_name(tensor))
        given = self._read(tensor)
        if output is None:
            self._stream = given
        else:
            self._layer_gave(int(output[1]), given, tensor, seconds)
        self._clock = perf_counter()
        return True

    def _layer_gave(self, layer: int, given: Stream, tensor: int, seconds: float) -> None:
        came = self._stream
        self.seen.add(layer)
        if came is not None and len(came) >= len(given):
            came = came[len(came) - len(given) :]
            if self._passed is not None:
                self._passed.turned[layer].extend(_turns(came, given))
                self._passed.seconds[layer].append(seconds)
            if layer in self.silenced:
                self._write(tensor, came)
                given = came
        self._stream = given

    def _read(self, tensor: int) -> Stream:
        stream: Stream = np.empty(self._api.ggml_nbytes(tensor) // 4, np.float32)
        self._api.ggml_backend_tensor_get(tensor, stream.ctypes.data, 0, stream.nbytes)
        return stream.reshape(-1, self._n_embd)

    def _write(self, tensor: int, stream: Stream) -> None:
        stream = np.ascontiguousarray(stream)
        self._api.ggml_backend_tensor_set(
            tensor, stream.ctypes.data_as(ctypes.c_void_p), 0, stream.nbytes
        )


def _turns(came: Stream, given: Stream) -> list[float]:
    """1 - cosine of each row, in double precision: most are near 0."""
    a, b = came.astype(np.float64), given.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    turned: list[float] = (1.0 - (a * b).sum(axis=1) / np.maximum(lengths, 1e-30)).tolist()
    return turned
