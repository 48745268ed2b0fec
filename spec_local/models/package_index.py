"""Where a wheel lies on the package index that pip is set to use, as far as we can tell.

pip does not say where a file is without fetching it, and begins anew when it breaks off. So the
plain case is looked up here: an index with a simple API (PEP 503 and 691) that asks nobody for a
password, and a wheel for every platform. Whatever else there is, only pip knows.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from spec_local.models.fetch import Unreachable, answer

_PYPI = "https://pypi.org/simple"
_ACCEPTED = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
_SETTING = re.compile(r"(global|download|:env:)\.([\w-]+)=(.+)")
_ONLY_PIP = ("cert", "client-cert", "find-links", "keyring-provider", "proxy", "trusted-host")
"""Settings by which pip finds what is not found here, or reaches what is not reached."""


class Indexes(NamedTuple):
    """Indexes in the order in which they are asked."""

    urls: tuple[str, ...]
    pip_knows_more: bool
    """Whether pip may still find a wheel when none of these has it."""


def indexes_of_pip() -> Indexes:
    """What pip is set to use, by its files and the environment."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:  # our HTTP client goes nowhere then, and pip does
        return Indexes((), True)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    return _indexes(_settings(done.stdout))


def wheel_url(requirement: str, indexes: Indexes) -> str | None:
    """Address of a wheel for every platform, of a requirement NAME==VERSION.

    None if there is none, as far as can be told without pip. Raises Unreachable if none was found
    and an index did not answer.
    """
    name, version = requirement.split("==")
    failure = None
    for index in indexes.urls:
        try:
            links = _links(f"{index.rstrip('/')}/{_normal(name)}/")
        except Unreachable as error:
            failure = failure or error
            continue
        for link in links:
            if _is_wheel(unquote(urlsplit(link).path.rsplit("/", 1)[-1]), name, version):
                return link
    if failure is not None:
        raise failure
    return None


def _settings(listed: str) -> dict[str, str]:
    """Values by their names; the command's count more than pip's own, the environment's most."""
    found = [match.groups() for match in map(_SETTING.fullmatch, listed.splitlines()) if match]
    sections = ("global", "download", ":env:")
    found.sort(key=lambda setting: sections.index(setting[0]))
    return {name: str(ast.literal_eval(value)) for _section, name, value in found}


def _indexes(settings: Mapping[str, str]) -> Indexes:
    more = any(settings.get(name) for name in _ONLY_PIP)
    if settings.get("no-index", "no").lower() not in ("0", "false", "no", "off", "n", "f"):
        return Indexes((), True)
    all_ = [settings.get("index-url", _PYPI), *settings.get("extra-index-url", "").split()]
    ours = [url for url in all_ if url.startswith("http") and "@" not in urlsplit(url).netloc]
    return Indexes(tuple(ours), more or len(ours) < len(all_))


def _links(page: str) -> list[str]:
    """Addresses of a project's files; none if the index does not have it."""
    with answer(page, {"Accept": _ACCEPTED}) as response:
        if response.status_code >= 400:
            return []
        text = response.read().decode("utf-8", "replace")
        base, kind = str(response.url), response.headers.get("Content-Type", "")
    try:
        links = [str(each["url"]) for each in json.loads(text)["files"]] if "json" in kind else None
    except (ValueError, KeyError, TypeError):
        return []
    return [urljoin(base, link) for link in (_Anchors(text).links if links is None else links)]


class _Anchors(HTMLParser):
    """The links of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for name, value in attrs if name == "href" and value]


def _is_wheel(file: str, name: str, version: str) -> bool:
    own, _dash, rest = file.partition("-")
    wanted = rf"{re.escape(version)}(-\d\w*)?-(\w+\.)*py3(\.\w+)*-none-any\.whl"
    return _normal(own) == _normal(name) and re.fullmatch(wanted, rest) is not None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
