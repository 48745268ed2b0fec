"""Images for a text model: its encoder makes of an image what the model reads as tokens.

llama.cpp's mtmd library does it (tools/mtmd in its source): it cuts and scales the image as the
model was trained, encodes it, and has the model evaluate the result. Here an image is a run of
*image tokens*, ids below zero that no vocabulary has, one for each position it takes in the text.
So contexts stay lists of tokens: what they share is found, kept and taken back as ever, and the
same image is not evaluated twice.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import llama_cpp.mtmd_cpp as mtmd
import numpy as np
from numpy.typing import NDArray

from spec_local.errors import ConfigError, EngineError, ModelFileError
from spec_local.llama import trial
from spec_local.llama.backend import collected_errors, default_threads, lib, log_callback
from spec_local.llama.devices import on_gpu
from spec_local.llama.image_tokens import MOST_PARTS, MOST_POSITIONS, part_of, tokens_of
from spec_local.llama.model import Model
from spec_local.llama.pictures import Picture
from spec_local.llama.state import SEQUENCE
from spec_local.util.process import OwnStack, closed_when_dropped

_BEFORE_REASON = re.compile(r"^\S+: (?:error: )?(?:failed to load model '.*': \S+: )?")
_MOST_BYTES = 1 << 30
"""Of images that are kept, besides the latest one."""
_BYTES_PER_TOKEN, _BYTES_PER_PART = 56 * 56 * 12, 48 << 20
"""At most about, of an image that has not been encoded yet: its pixels in floats. Gemma 3 has the
most of them for a token, Qwen-VL the largest parts."""
_MOST_MARKS = 1_000
"""Marks of images that are known."""


class _Part:
    """A part of an image: what the model reads at once."""

    def __init__(self, chunk: mtmd.mtmd_input_chunk_p, positions: int, tokens: int) -> None:
        self.positions, self.tokens = positions, tokens
        self.chunk: mtmd.mtmd_input_chunk_p | None = chunk
        """None once it was forgotten: contexts that have read it go on."""
        self.encoded: NDArray[np.float32] | None = None
        """Shape (tokens, width); None until it is needed."""

    @property
    def bytes(self) -> int:
        """What it takes in memory, about."""
        if self.chunk is None:
            return 0
        if self.encoded is None:
            return min(self.tokens * _BYTES_PER_TOKEN, _BYTES_PER_PART)
        return self.encoded.nbytes

    def forget(self) -> None:
        """Free all but its size."""
        if self.chunk is not None:
            mtmd.mtmd_input_chunk_free(self.chunk)
        self.chunk = self.encoded = None


class Eyes:
    """The image encoder of a model; a context manager.

    Its file is opened when the first image comes: who shows none pays nothing.
    """

    def __init__(self, path: Path, model: Model) -> None:
        """path: the encoder's file, often called mmproj; the model outlives this object."""
        self.path, self._model = path, model
        self._using = threading.Lock()
        self._context: mtmd.mtmd_context_p | None = None
        self._parts: dict[int, _Part] = {}
        self._seen: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        """By the mark of an image, its parts; the one shown last is last."""
        self._next = 0
        self._resources = OwnStack()
        self._free = closed_when_dropped(self, self._resources)

    def show(self, picture: Picture) -> str:
        """Make an image known to the model's vocabulary; its mark, for a text.

        Raises ModelFileError if the encoder cannot be used, ConfigError for an image that it
        cannot cut, or that takes more tokens at once than a batch has.
        """
        mark, marked = picture.mark, self._model.vocab.marked
        with self._using:
            if mark not in self._seen or not all(self._parts[n].chunk for n in self._seen[mark]):
                marked[mark] = self._cut(picture)
                numbers = (part_of(token)[0] for token in marked[mark] if token < 0)
                self._seen[mark] = tuple(dict.fromkeys(numbers))
            self._seen.move_to_end(mark)
            self._forget()
            return mark

    def knows(self, token: int) -> bool:
        """Whether it is a token of an image that was shown."""
        number, place = part_of(token)
        return token < 0 and number in self._parts and place < self._parts[number].positions

    def positions(self, token: int) -> int:
        """How many positions the part of an image takes that this token belongs to."""
        return self._part(token).positions

    def cells(self, token: int) -> int:
        """How many tokens of the cache it takes, which may be more."""
        return self._part(token).tokens

    def _part(self, token: int) -> _Part:
        return self._parts[part_of(token)[0]]

    def read(self, context: lib.llama_context_p, token: int, position: int, batch: int) -> int:
        """Have a context evaluate the part of an image that begins with this token, there.

        Returns llama_decode's status.
        """
        after = ctypes.c_int32()
        with self._using:  # nobody forgets it meanwhile
            part = self._part(token)
            if part.chunk is None:
                raise EngineError("An image was shown too long ago; show it again.")
            if part.encoded is None:
                part.encoded = self._encoded(part, part.chunk)
            return mtmd.mtmd_helper_decode_image_chunk(
                self._opened(),
                context,
                part.chunk,
                part.encoded.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
                position,
                SEQUENCE,
                batch,
                ctypes.byref(after),
                mtmd.mtmd_helper_post_decode_callback(),
                ctypes.c_void_p(0),
            )

    def _encoded(self, part: _Part, chunk: mtmd.mtmd_input_chunk_p) -> NDArray[np.float32]:
        context = self._opened()
        with collected_errors() as errors:
            failed = mtmd.mtmd_encode_chunk(context, chunk)
        if failed:
            raise EngineError(f"The image cannot be encoded: {_first(errors)}.")
        width = lib.llama_model_n_embd_inp(self._model.handle)
        encoded = mtmd.mtmd_get_output_embd(context)
        result = np.ctypeslib.as_array(encoded, (part.tokens, width)).copy()
        # What is kept from here on has the shape, and no pixels.
        part.chunk = mtmd.mtmd_input_chunk_get_placeholder(chunk)
        mtmd.mtmd_input_chunk_free(chunk)
        return result

    def _cut(self, picture: Picture) -> tuple[int, ...]:
        """Tokens of an image: those of its parts, and of the texts that the model wants there."""
        context = self._opened()
        chunks = mtmd.mtmd_input_chunks_init()
        bitmap = mtmd.mtmd_bitmap_init(
            picture.width,
            picture.height,
            ctypes.cast(ctypes.c_char_p(picture.pixels), ctypes.POINTER(ctypes.c_uint8)),
        )
        try:
            mark = mtmd.mtmd_default_marker()
            text = mtmd.mtmd_input_text(mark, len(mark), False, True)
            images = (mtmd.mtmd_bitmap_p_ctypes * 1)(bitmap)
            with collected_errors() as errors:
                failed = mtmd.mtmd_tokenize(context, chunks, ctypes.byref(text), images, 1)
            if failed:
                raise ConfigError(f"The image cannot be used: {_first(errors)}.")
            count = mtmd.mtmd_input_chunks_size(chunks)
            pieces = [self._tokens(mtmd.mtmd_input_chunks_get(chunks, i)) for i in range(count)]
        finally:
            mtmd.mtmd_bitmap_free(bitmap)
            mtmd.mtmd_input_chunks_free(chunks)
        return tuple(token for piece in pieces for token in piece)

    def _tokens(self, chunk: mtmd.mtmd_input_chunk_p) -> Sequence[int]:
        """Of a piece: a text's own tokens, or new image tokens."""
        if mtmd.mtmd_input_chunk_get_type(chunk) == mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT:
            count = ctypes.c_size_t()
            found = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
            return [found[i] for i in range(count.value)]
        positions = mtmd.mtmd_input_chunk_get_n_pos(chunk)
        tokens = mtmd.mtmd_input_chunk_get_n_tokens(chunk)
        non_causal = bool(mtmd.mtmd_decode_use_non_causal(self._opened(), chunk))
        options = self._model.options
        most = min(options.n_batch, options.n_ubatch) if non_causal else MOST_POSITIONS
        if max(positions, tokens if non_causal else 0) > most:
            does = f"give --batch at least {tokens:,}" if non_causal else "make it smaller"
            raise ConfigError(f"An image takes {tokens:,} tokens at once here; {does}.")
        number = self._next = (self._next + 1) % MOST_PARTS
        kept = mtmd.mtmd_input_chunk_copy(chunk)
        self._parts[number] = _Part(kept, positions, tokens)
        return tokens_of(number, positions)

    def _forget(self) -> None:
        """Drop the images that were shown longest ago, where all take too much memory."""
        *others, _latest = self._seen
        held = sum(part.bytes for part in self._parts.values())
        for mark in others:
            if held <= _MOST_BYTES:
                break
            for number in self._seen[mark]:
                held -= self._parts[number].bytes
                self._parts[number].forget()
        while len(self._seen) > _MOST_MARKS:
            mark, numbers = self._seen.popitem(last=False)
            self._model.vocab.marked.pop(mark, None)
            for number in numbers:
                self._parts[number].forget()

    def _opened(self) -> mtmd.mtmd_context_p:
        if self._context is None:
            model = self._model
            if model.options.trial:
                trial.require_survived(
                    model.path, model.header, model.options, False, encoder=self.path
                )
            params = mtmd.mtmd_context_params_default()
            params.use_gpu = on_gpu(model.options)
            params.n_threads = model.options.n_threads or default_threads()
            params.print_timings = params.warmup = False
            mtmd.mtmd_helper_log_set(log_callback, ctypes.c_void_p(0))
            with collected_errors() as errors:
                self._context = mtmd.mtmd_init_from_file(
                    os.fsencode(self.path), model.handle, params
                )
            if not self._context:
                raise ModelFileError(
                    f"{self.path.name} cannot show images to this model: {_first(errors)}."
                )
            self._resources.callback(_free, self._context, self._parts)
            if not mtmd.mtmd_support_vision(self._context):
                raise ModelFileError(f"{self.path.name} is no encoder of images.")
        return self._context

    def close(self) -> None:
        """Free the encoder; twice is harmless."""
        self._context = None
        self._free()

    def __enter__(self) -> Eyes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _first(errors: Sequence[str]) -> str:
    """llama.cpp's reason, without the functions and the path before it."""
    if not errors:
        return "llama.cpp gave no reason"
    return _BEFORE_REASON.sub("", errors[0].splitlines()[0]).strip(" .")


def _free(context: mtmd.mtmd_context_p, parts: dict[int, _Part]) -> None:
    """Of an encoder; what it knows of its model it does not ask any more."""
    for part in parts.values():
        part.forget()
    mtmd.mtmd_free(context)
