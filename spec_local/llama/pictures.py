"""Images as applications give them: pixels, and the mark that stands for them in a text.

A chat template knows texts. So an image is a mark in a message's text, which the template writes
where the message stands, and which becomes the image's tokens when the text is tokenized.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from spec_local.errors import ConfigError
from spec_local.llama.messages import IMAGE_PARTS, Message

if TYPE_CHECKING:
    from spec_local.llama.backend import lib

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow has fifty, one of which starts Ghostscript on what it is given."""
_MOST_PIXELS = 50_000_000
_decoding = threading.Lock()
"""One at a time: a small file may be a large image."""
_DATA_URL = re.compile(r"data:[\w.+/-]*(?:;[\w.+=-]*)*;base64,", re.IGNORECASE)


class Picture(NamedTuple):
    """An image decoded."""

    width: int
    height: int
    pixels: bytes
    """Red, green and blue, a byte each, row by row from the top."""

    @property
    def mark(self) -> str:
        """What stands for it in a text (`quoting.PICTURE`): a hash, so that nobody can guess it."""
        size = f"{self.width}x{self.height}".encode()
        return f"\ufdd2{hashlib.blake2b(self.pixels, digest_size=16, key=size).hexdigest()}\ufdd3"


class Encoder(Protocol):
    """What makes tokens of images for a model (`eyes.py`)."""

    def show(self, picture: Picture) -> str:
        """Make an image known to the model's vocabulary; its mark."""

    def knows(self, token: int) -> bool:
        """Whether it is a token of an image that was shown."""

    def positions(self, token: int) -> int:
        """How many positions the part of an image takes that begins with this token."""

    def cells(self, token: int) -> int:
        """How many tokens of the cache it takes, which may be more."""

    def read(self, context: lib.llama_context_p, token: int, position: int, batch: int) -> int:
        """Have a context evaluate that part there; llama_decode's status."""

    def close(self) -> None:
        """Free it."""


def picture(source: str | Path | bytes) -> Picture:
    """The image in a file, or in the bytes of one, turned upright: PNG, JPEG, WebP, GIF, BMP, TIFF.

    Raises ConfigError if it is none, or has more than 50 million pixels.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ConfigError(
            "Images need Pillow; install it with `pip install 'spec-local[images]'`."
        ) from None
    name = "The image" if isinstance(source, bytes) else Path(source).name
    try:
        data = source if isinstance(source, bytes) else Path(source).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{name} cannot be read: {error.strerror}.") from None
    try:
        with _decoding, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bound is a warning
            with Image.open(BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise ConfigError(
                        f"{name} has {image.width:,} x {image.height:,} pixels; make it smaller, "
                        f"at most {_MOST_PIXELS:,} in all."
                    )
                rgb = ImageOps.exif_transpose(image).convert("RGB")
    except ConfigError:
        raise
    except Exception as error:  # decoders raise what they like
        raise ConfigError(f"{name} is no image that can be read: {_reason(error)}.") from None
    return Picture(rgb.width, rgb.height, rgb.tobytes())


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    return "its format is not known" if "cannot identify" in said or not said else said


def shown(messages: Sequence[Any], show: Callable[[bytes], str]) -> list[Any]:
    """The messages with marks in place of their images.

    show: gives the mark of an image, by the bytes of its file.
    Raises ConfigError for an image that is not given as a data URL: nothing is fetched, and no file
    opened, because a message asks for it.
    """
    return [_with_marks(message, show) for message in messages]


def _with_marks(message: Message, show: Callable[[bytes], str]) -> Message:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list | tuple):
        return message
    return {**message, "content": [_as_text(part, show) for part in content]}


def _as_text(part: Any, show: Callable[[bytes], str]) -> Any:
    if not isinstance(part, Mapping) or (kind := part.get("type")) not in IMAGE_PARTS:
        return part
    given = part.get("image_url" if kind == "input_image" else kind)
    url = given.get("url") if isinstance(given, Mapping) else given
    begin = _DATA_URL.match(url) if isinstance(url, str) else None
    if begin is None:
        raise ConfigError("Give an image as a data URL, data:image/png;base64,…")
    try:
        data = base64.b64decode(begin.string[begin.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise ConfigError("The data URL of an image is not in base64.") from None
    return {"type": "text", "text": show(data)}
