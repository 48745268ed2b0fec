"""Hugging Face: files by repository and quantization, from its cache or over the network."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from spec_local.gguf.header import split_parts
from spec_local.models.fetch import BytesProgress, Response, SourceUnavailable, answer
from spec_local.models.fetch import fetch as fetch_bytes
from spec_local.models.registry import HuggingFaceFile
from spec_local.models.stores import is_model_name
from spec_local.util.files import sha256_of

USUAL = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q4_1", "Q8_0", "F16")
"""Quantizations to take where none is named, the first that there is."""
_NAME = re.compile(r"(hf:|hf\.co/|https://huggingface\.co/)?([\w.-]+/[\w.-]+)(?::([\w.-]+)|/(.+))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class HubName(NamedTuple):
    """A model as people name it: OWNER/REPO, with a quantization or a file."""

    repo: str
    quantization: str | None = None
    file: str | None = None

    @property
    def slug(self) -> str:
        """The same as a file's name."""
        parts = [*self.repo.split("/"), self.quantization, self.file and Path(self.file).stem]
        return "--".join(part for part in parts if part)


def hub_name(name: str) -> HubName | None:
    """What is meant by hf:OWNER/REPO[:QUANTIZATION or /FILE], or without hf: if no file is named.

    None for any other name, a path for example.
    """
    found = _NAME.fullmatch(name)
    if found is None or name.endswith(".gguf") != bool(found[4]) or (found[4] and not found[1]):
        return None
    return HubName(found[2], found[3], found[4])


def choose(wanted: HubName, files: Sequence[str]) -> str:
    """The file that is meant, of a repository's files; of a split model its first part.

    Raises SourceUnavailable naming the nearest files, or what there is.
    """
    models = sorted(filter(is_model_name, files), key=lambda file: (file.count("/"), file))
    if wanted.file is not None:
        if wanted.file in models:
            return wanted.file
        near = difflib.get_close_matches(wanted.file, models, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else _there(models)
        raise SourceUnavailable(f"{wanted.repo} has no model {wanted.file}; {hint}")
    for quantization in [wanted.quantization] if wanted.quantization else USUAL:
        named = re.compile(rf"(?i)(^|[-._/]){re.escape(quantization)}([-._/]|$)")
        for file in models:
            if named.search(file.removesuffix(".gguf")):
                return file
    if models and wanted.quantization is None:
        return models[0]
    what = wanted.quantization or "GGUF model"
    raise SourceUnavailable(f"{wanted.repo} has no {what}; {_there(models)}")


def _there(models: Sequence[str]) -> str:
    if not models:
        return "choose a repository whose name ends in -GGUF."
    return f"there are {', '.join(models[:8])}{' …' if len(models) > 8 else ''}."


def found_file(wanted: HubName) -> HuggingFaceFile:
    """Ask the hub which file that is; raises SourceUnavailable."""
    return HuggingFaceFile(wanted.repo, choose(wanted, _files(wanted.repo)))


def in_cache(source: HuggingFaceFile) -> Path | None:
    """A file other tools have downloaded already is used where it is."""
    from huggingface_hub import constants

    folder = f"models--{source.repo.replace('/', '--')}"
    if not os.path.isdir(os.path.join(constants.HF_HUB_CACHE, folder)):
        return None  # the rest of that library takes a third of a second to import
    from huggingface_hub import try_to_load_from_cache

    names = [str(part) for part in split_parts(Path(source.file))]
    found = [try_to_load_from_cache(source.repo, n, revision=source.revision) for n in names]
    paths = [path for path in found if isinstance(path, str)]
    return Path(paths[0]) if len(paths) == len(names) else None


def fetch(
    source: HuggingFaceFile, staging: Path, progress: BytesProgress
) -> tuple[Path, tuple[str, ...]]:
    """Download a file into a folder; of a split model its parts, and then the folder they are in.

    Returns that, and the SHA-256 that the hub gives of each part, by which they are checked; none
    where it gives none. Raises SourceUnavailable, also if the bytes are not those, DownloadError if
    the disk is full, and OSError.
    """
    from huggingface_hub import hf_hub_url

    parts, digests = split_parts(Path(source.file)), list[str]()
    folder = staging / "parts" if len(parts) > 1 else staging
    for part in parts:
        whole = folder / part.name
        url = hf_hub_url(
            source.repo, part.as_posix(), revision=source.revision, endpoint=_endpoint()
        )
        check = partial(_check_file, source)
        digest = fetch_bytes(url, whole, progress, _headers(), check)
        if _SHA256.fullmatch(digest) and sha256_of(whole) != digest:
            whole.unlink()
            raise SourceUnavailable(f"{part.name} of {source.repo} arrived damaged; pull again.")
        digests.append(digest)
    known = tuple(digests) if all(map(_SHA256.fullmatch, digests)) else ()
    if len(parts) == 1:
        return folder / parts[0].name, known
    for mark in folder.glob("*.etag"):
        mark.unlink()
    return folder, known


def _endpoint() -> str:
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT") or constants.ENDPOINT


def _headers() -> dict[str, str]:
    """What says who we are: the token of HF_TOKEN, or the one that `hf auth login` has kept."""
    from huggingface_hub import constants, get_token

    try:
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    except OSError:  # kept where we may not read, as with the HOME of another user
        token = None
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _files(repo: str, revision: str | None = None) -> list[str]:
    """Names of all files of a repository; raises SourceUnavailable."""
    url = f"{_endpoint()}/api/models/{repo}/revision/{quote(revision or 'main', safe='')}"
    with answer(url, _headers()) as response:
        if response.status_code >= 400:
            raise _refusal(repo, response)
        listing = response.read()
    try:
        return [str(each["rfilename"]) for each in json.loads(listing)["siblings"]]
    except (ValueError, KeyError, TypeError):
        raise _no_hub() from None


def _check_file(source: HuggingFaceFile, response: Response) -> None:
    """Raise SourceUnavailable unless that is the hub, and it has the file for us."""
    if response.headers.get("X-Error-Code") == "EntryNotFound":
        choose(HubName(source.repo, file=source.file), _files(source.repo, source.revision))
        raise SourceUnavailable(
            f"{source.repo} lacks a part of {source.file}; choose another file."
        )
    if response.status_code >= 400:
        raise _refusal(source.repo, response)
    if not any("X-Repo-Commit" in each.headers for each in (*response.history, response)):
        raise _no_hub()


def _no_hub() -> SourceUnavailable:
    return SourceUnavailable(
        f"What {urlsplit(_endpoint()).hostname} answers is not from Hugging Face; check the "
        "network, where you may have to log in, and HF_ENDPOINT."
    )


def _refusal(repo: str, response: Response) -> SourceUnavailable:
    """Why the hub gives nothing, and what to do."""
    site, status = _endpoint(), response.status_code
    code = response.headers.get("X-Error-Code")
    if code == "GatedRepo":
        return SourceUnavailable(
            f"{repo} has terms to accept; accept them at {site}/{repo}, and give your token in "
            "HF_TOKEN or by `hf auth login`."
        )
    if response.headers.get("X-Error-Message", "").startswith("Invalid credentials"):
        return SourceUnavailable(
            f"Hugging Face does not know your token; set HF_TOKEN to one from "
            f"{site}/settings/tokens, or run `hf auth login`."
        )
    if code == "RevisionNotFound":
        return SourceUnavailable(f"{repo} has no such revision; correct it in models.toml.")
    if code == "RepoNotFound" or status in (401, 404):
        return SourceUnavailable(
            f"Hugging Face has no repository {repo} that you may see; check the name or, if it is "
            "private, give a token in HF_TOKEN or by `hf auth login`."
        )
    if status == 403:
        return SourceUnavailable(
            f"Your token may not read {repo}; allow it at {site}/settings/tokens."
        )
    return SourceUnavailable(f"Hugging Face answers {status} for {repo}; try again later.")
