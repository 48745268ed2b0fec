"""Hugging Face: files by repository and quantization, from its cache or over the network."""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spec_local.errors import DownloadError
from spec_local.gguf.header import split_parts
from spec_local.models.registry import HuggingFaceFile
from spec_local.models.stores import is_model_name

BytesProgress = Callable[[int, int], None]
"""Called with (bytes so far, bytes in all); the total is 0 while it is not known."""

USUAL = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q4_1", "Q8_0", "F16")
"""Quantizations to take where none is named, the first that there is."""
_NAME = re.compile(r"(hf:|hf\.co/|https://huggingface\.co/)?([\w.-]+/[\w.-]+)(?::([\w.-]+)|/(.+))?")


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

    Raises DownloadError naming what there is.
    """
    models = sorted(filter(is_model_name, files), key=lambda file: (file.count("/"), file))
    if wanted.file is not None:
        if wanted.file in models:
            return wanted.file
        raise DownloadError(f"{wanted.repo} has no model {wanted.file}; {_there(models)}")
    for quantization in [wanted.quantization] if wanted.quantization else USUAL:
        named = re.compile(rf"(?i)(^|[-._/]){re.escape(quantization)}([-._/]|$)")
        for file in models:
            if named.search(file.removesuffix(".gguf")):
                return file
    if models and wanted.quantization is None:
        return models[0]
    what = wanted.quantization or "GGUF model"
    raise DownloadError(f"{wanted.repo} has no {what}; {_there(models)}")


def _there(models: Sequence[str]) -> str:
    if not models:
        return "choose a repository whose name ends in -GGUF."
    return f"there are {', '.join(models[:8])}{' …' if len(models) > 8 else ''}."


def found_file(wanted: HubName) -> HuggingFaceFile:
    """Ask the hub which file that is; raises DownloadError."""
    from huggingface_hub import HfApi

    try:
        files = HfApi(endpoint=os.environ.get("HF_ENDPOINT")).list_repo_files(wanted.repo)
    except Exception as error:
        raise _sentence(error, wanted.repo, wanted.repo) from None
    return HuggingFaceFile(wanted.repo, choose(wanted, files))


def _sentence(error: Exception, what: str, repo: str) -> DownloadError:
    """Of the hub's own errors, its transport's, and plain ValueErrors."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return DownloadError(
            f"{repo} has terms to accept; do so at huggingface.co/{repo}, then `hf auth login`."
        )
    if isinstance(error, RepositoryNotFoundError):
        return DownloadError(
            f"Hugging Face has no repository {repo} that you may see; check the name, or log in "
            "with `hf auth login`."
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return DownloadError(
        f"{what} cannot be downloaded ({reason}); check the name, the network and, for gated "
        "models, `hf auth login`."
    )


def in_cache(source: HuggingFaceFile) -> Path | None:
    """A file other tools have downloaded already is used where it is."""
    from huggingface_hub import try_to_load_from_cache

    names = [str(part) for part in split_parts(Path(source.file))]
    found = [try_to_load_from_cache(source.repo, n, revision=source.revision) for n in names]
    paths = [path for path in found if isinstance(path, str)]
    return Path(paths[0]) if len(paths) == len(names) else None


def fetch(source: HuggingFaceFile, staging: Path, progress: BytesProgress) -> Path:
    """Download a file into a folder; of a split model its parts, and then the folder they are in.

    Raises DownloadError, or OSError when the disk is full.
    """
    from huggingface_hub import hf_hub_download

    parts = split_parts(Path(source.file))
    try:
        for part in parts:
            hf_hub_download(
                source.repo,
                str(part),
                revision=source.revision,
                local_dir=staging,
                endpoint=os.environ.get("HF_ENDPOINT"),
                tqdm_class=_tqdm_reporting_to(progress),
            )
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise _sentence(error, f"{source.file} of {source.repo}", source.repo) from None
    first = staging / source.file
    return first.parent if len(parts) > 1 else first


def _tqdm_reporting_to(progress: BytesProgress) -> Any:
    """A progress bar class that draws nothing: huggingface_hub reports through tqdm only."""
    from tqdm import tqdm

    class Reporter(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # huggingface_hub's own addition to tqdm
            super().__init__(*args, **{**kwargs, "file": io.StringIO(), "disable": False})

        def display(self, *args: Any, **kwargs: Any) -> None:
            progress(int(self.n), int(self.total or 0))

    return Reporter
