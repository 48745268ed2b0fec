"""Rooms, floors, arrows and circles of the package, counted from its imports.

    python scripts/rooms.py [FOLDER] [--json]

A room is a folder, or a file that stands beside folders; an arrow, that one room imports another; a
floor, one more than the highest floor below; a circle, rooms that reach each other. FOLDER is the
package or a folder in it: spec_local by default.
"""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Arrows = Mapping[str, set[str]]
"""For each room, the rooms it imports."""


def imported(file: Path) -> Iterator[str]:
    """Full names of modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(folder: Path) -> Arrows:
    """Rooms directly in the folder, and which of each other they import."""
    package = ".".join(folder.resolve().parts[_root_index(folder) :])
    rooms = {
        path.stem if path.suffix == ".py" else path.name: path
        for path in folder.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    rooms = {name: path for name, path in rooms.items() if not name.startswith("__")}
    found: dict[str, set[str]] = {}
    for name, path in rooms.items():
        files = [path] if path.is_file() else path.rglob("*.py")
        names = {module for file in files for module in imported(file)}
        inside = {n.removeprefix(f"{package}.") for n in names if n.startswith(f"{package}.")}
        found[name] = ({each.split(".")[0] for each in inside} & rooms.keys()) - {name}
    return found


def _root_index(folder: Path) -> int:
    """Where in the path the outermost package is."""
    parts = folder.resolve()
    depth = len(parts.parts)
    while (parts.parent / "__init__.py").exists():
        parts, depth = parts.parent, depth - 1
    return depth - 1


def circles(rooms: Arrows) -> list[list[str]]:
    """One circle after the other, each cut at its first arrow before the next is looked for."""
    graph = {room: set(below) for room, below in rooms.items()}
    found = []
    while circle := _circle(graph):
        found.append(circle)
        graph[circle[1]].discard(circle[0])
    return found


def _circle(graph: Arrows) -> list[str]:
    """Rooms each of which is imported by the next, the first one twice; none if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def floors(rooms: Arrows) -> int:
    """How many floors the rooms stand on, circles cut open."""
    graph = {room: set(below) for room, below in rooms.items()}
    for circle in circles(rooms):
        graph[circle[1]].discard(circle[0])
    height: dict[str, int] = {}
    for room in TopologicalSorter(graph).static_order():
        height[room] = 1 + max((height[below] for below in graph[room]), default=0)
    return max(height.values(), default=0)


def count(folder: Path) -> dict[str, int]:
    """The four figures of a folder."""
    rooms = arrows(folder)
    return {
        "rooms": len(rooms),
        "floors": floors(rooms),
        "arrows": sum(map(len, rooms.values())),
        "circles": len(circles(rooms)),
    }


def main() -> None:
    """Count the folder and every folder in it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("spec_local"))
    parser.add_argument("--json", action="store_true")
    how = parser.parse_args()
    folders = [how.folder, *sorted(path.parent for path in how.folder.rglob("*/__init__.py"))]
    found = {str(folder): count(folder) for folder in folders if list(folder.glob("[!_]*"))}
    if how.json:
        print(json.dumps(found, indent=1))
        return
    for folder, figures in found.items():
        print(f"{folder:36}", ", ".join(f"{value} {name}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
