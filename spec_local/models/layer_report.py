"""What a search for layers has found, as a record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from spec_local.models.layer_search import Earns, LayerSearch, Tried
from spec_local.models.layers import Cut, Layers, spell_layers
from spec_local.util.files import write_text


@dataclass(slots=True)
class LayerReport:
    """One search, as far as it came."""

    target: str
    file_type: str | None
    """What the layers were quantized to once more; None: they are as they were."""
    search: LayerSearch
    """Of it only what it measured of the target, which stays when it is closed."""
    tried: list[Tried] = field(default_factory=list)
    """In the order they were tried, by the answers that the best was chosen by."""
    cut: Cut | None = None
    """The file with the best of them that can be written."""
    written: Earns | None = None
    """What it earns, by other answers; None: it was not measured."""
    stopped: BaseException | None = None
    """What ended it before its time."""
    beside: dict[str, Earns] = field(default_factory=dict)
    """Other drafts, by the same answers as the file."""

    @property
    def ranked(self) -> list[Tried]:
        """What is expected to be fastest first."""
        return sorted(self.tried, key=lambda each: -each.earns.speedup)

    def save(self, path: Path, facts: Mapping[str, object]) -> None:
        """Write it as JSON, with these facts of what it was measured on."""
        document = {
            **facts,
            "target": self.target,
            "file_type": self.file_type,
            "layers": self.search.layers,
            "verify_milliseconds": self.search.verify,
            "influence": self.search.influence,
            "tried": [_entry(each.earns, each.kept) for each in self.tried],
            "kept": spell_layers(self.cut.kept) if self.cut else None,
            "written": self.written and _entry(self.written),
            "beside": {name: _entry(earns) for name, earns in self.beside.items()},
        }
        write_text(path, json.dumps(document, indent=1) + "\n")


def _entry(earns: Earns, kept: Layers = ()) -> dict[str, float | str]:
    named = {"kept": spell_layers(kept)} if kept else {}
    return {**named, **asdict(earns), "per_millisecond": earns.per_millisecond}
