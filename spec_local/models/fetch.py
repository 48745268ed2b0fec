"""Bytes over HTTP into a file: going on where an earlier try ended, or saying why it cannot.

The client is huggingface_hub's, which knows proxies and certificates. A file is NAME.part until it
is whole; NAME.etag beside it says which file that is, as far as the server tells.
"""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from spec_local.errors import DownloadError
from spec_local.util.files import size_of

BytesProgress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all); the total is 0 while it is not known."""

Response = Any
"""An answer of the HTTP client: httpx's or its successor's, by the release of huggingface_hub."""

_TIMEOUT = (5.0, 20.0, 20.0, 5.0)
"""Seconds: to connect, between two arrivals, between two departures, for a free connection."""
_PAUSE = 1.0
"""Seconds before a connection that broke is made again."""
_REASONS = {
    socket.gaierror: "its name is not known",
    ConnectionRefusedError: "the connection is refused",
    ssl.SSLCertVerificationError: "its certificate is not trusted",
    TimeoutError: "there is no answer",
}


class SourceUnavailable(DownloadError):
    """A place cannot be reached, or does not have the file; another one may."""


class Unreachable(SourceUnavailable):
    """Nobody answers, or the connection broke."""


def fetch(
    url: str,
    path: Path,
    progress: BytesProgress,
    headers: Mapping[str, str] | None = None,
    check: Callable[[Response], None] | None = None,
) -> str:
    """Download a file, going on from what an earlier call has left of it.

    A connection that breaks is made again for as long as that brings something. check: raises
    SourceUnavailable if an answer is not the file; by default for every status from 400 on.
    Returns the file's ETag, empty if there is none. NAME.etag is left beside the file, by which a
    later call sees that it is still the same; it is the caller's to remove. Raises
    SourceUnavailable, DownloadError if the disk has no room for the file, and OSError.
    """
    part, mark = (path.with_name(path.name + suffix) for suffix in (".part", ".etag"))
    path.parent.mkdir(parents=True, exist_ok=True)
    headers, check = {**(headers or {}), "Accept-Encoding": "identity"}, check or _check
    if path.exists():
        with answer(url, headers) as response:
            check(response)
            if mark.exists() and mark.read_text() == _identity(response):
                return _tag(response)
        path.unlink()
    while True:
        before = size_of(part)
        try:
            tag = _receive(url, part, mark, progress, headers, check)
        except Unreachable:
            if size_of(part) <= before:
                raise
            time.sleep(_PAUSE)
            continue
        if tag is not None:
            part.replace(path)
            return tag


def _receive(
    url: str,
    part: Path,
    mark: Path,
    progress: BytesProgress,
    headers: Mapping[str, str],
    check: Callable[[Response], None],
) -> str | None:
    """Append what is missing and return the ETag; None if the part was of another file and is gone.

    A server that does not know ranges sends everything, which then replaces the part.
    """
    have = size_of(part) if mark.exists() else 0
    wanted = {"Range": f"bytes={have}-"} if have else {}
    with answer(url, {**headers, **wanted}) as response:
        start, total = _extent(response)
        identity = _identity(response)
        other = start and (start != have or mark.read_text() != identity)
        if have and (other or response.status_code == 416):
            part.unlink()
            return None
        check(response)
        require_room(part.parent, total - start)
        mark.write_text(identity)
        with part.open("ab" if have and start else "wb") as out:
            for chunk in response.iter_bytes():
                out.write(chunk)
                start += len(chunk)
                progress(start, total)
    if total and start != total:
        raise SourceUnavailable(
            f"{urlsplit(url).hostname} sent {start:,} bytes instead of {total:,}; try again later."
        )
    return _tag(response)


@contextmanager
def answer(url: str, headers: Mapping[str, str]) -> Iterator[Response]:
    """What a GET is answered, after redirects, whatever the status; the body is still to be read.

    Raises Unreachable.
    """
    from huggingface_hub import get_session
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        client, sent = get_session(), dict(headers)
        with client.stream(
            "GET", url, headers=sent, timeout=_TIMEOUT, follow_redirects=True
        ) as response:
            yield response
    except OfflineModeIsEnabled:
        raise Unreachable("HF_HUB_OFFLINE is set; unset it to download.") from None
    except Exception as error:
        # The client is httpx or what has followed it. Other kinds are the caller's own: a progress
        # callback that gives up, say.
        if not type(error).__module__.startswith("httpx"):
            raise
        raise _unreachable(url, error) from error


def require_room(folder: Path, needed: int) -> None:
    """Raise DownloadError if there are not so many bytes free in the folder."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{needed / 1e9:.2f} GB more are needed in {folder}, where {free / 1e9:.2f} GB are "
            "free; free some space, or set SPEC_LOCAL_CACHE to a folder on another disk."
        )


def _check(response: Response) -> None:
    if response.status_code >= 400:
        address = urlsplit(str(response.url))
        name = unquote(address.path.rsplit("/", 1)[-1])
        raise SourceUnavailable(
            f"{address.hostname} answers {response.status_code} when asked for {name}; try later."
        )


def _extent(response: Response) -> tuple[int, int]:
    """Where the body begins in the file, and the bytes of the file; 0 if they are not known."""
    if response.status_code != 206:
        return 0, int(response.headers.get("Content-Length", 0))
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2].replace("*", "0"))) if found else (-1, 0)


def _tag(response: Response) -> str:
    """The ETag. The hub has its own of a large file, the SHA-256, on the way to where that lies."""
    linked = (each.headers.get("X-Linked-ETag") for each in response.history)
    tag = next(filter(None, linked), None) or response.headers.get("ETag", "")
    return str(tag).removeprefix("W/").strip('"')


def _identity(response: Response) -> str:
    """By which two answers are known to be of the same file."""
    return f"{_tag(response)} {_extent(response)[1]}"


def _unreachable(url: str, error: Exception) -> Unreachable:
    host, proxy, reason = urlsplit(url).hostname, _proxy(url), _reason(error)
    if proxy is None:
        return Unreachable(f"{host} cannot be reached ({reason}); check the network.")
    return Unreachable(
        f"{host} cannot be reached through the proxy {proxy} ({reason}); correct the proxy, which "
        "HTTP_PROXY, HTTPS_PROXY and ALL_PROXY name, or unset it."
    )


def _proxy(url: str) -> str | None:
    """Host and port of the proxy that leads to an address, no password; None if none does."""
    address = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(address.hostname or ""):
        return None
    return urlsplit(proxy if "//" in proxy else f"//{proxy}").netloc.rpartition("@")[2]


def _reason(error: BaseException) -> str:
    """What was behind it, in a few words."""
    behind: BaseException | None = error
    while behind is not None:
        for kind, words in _REASONS.items():
            if isinstance(behind, kind):
                return words
        behind = behind.__cause__ or behind.__context__
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
