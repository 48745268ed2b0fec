"""What changed between two versions of llama-cpp-python in its ctypes structures and functions.

python scripts/llama_structures.py 0.3.36 0.3.37

A version is a number, which pip downloads; an sdist (.tar.gz) or a wheel (.whl); or a folder that
the package is in, such as site-packages. It is parsed, never imported. In use are the names that
stubs/llama_cpp/llama_cpp.pyi declares and what they are made of; the others are counted. The exit
status is 1 when something in use changed.
"""

import argparse
import ast
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

PACKAGE = "llama-cpp-python"
SOURCE = "llama_cpp/llama_cpp.py"
STUB = Path(__file__).parent.parent / "stubs" / "llama_cpp" / "llama_cpp.pyi"

Declaration = dict[str, str]
"""Of a structure its fields, of a function its parameters and `return`, in order, each with its
type as it is written; of anything else its `value`."""


def read_source(version: str) -> str:
    """The text of llama_cpp.py in a folder, an archive or a released version."""
    path = Path(version)
    if path.is_dir():
        return (path / SOURCE).read_text(encoding="utf-8")
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(SOURCE).decode()
    if path.suffix == ".gz":
        with tarfile.open(path) as sdist:
            (name,) = (n for n in sdist.getnames() if n.count("/") == 2 and n.endswith(SOURCE))
            file = sdist.extractfile(name)
            assert file is not None
            return file.read().decode()
    return _download(version)


def _download(version: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
        command = [*pip, "--no-binary", ":all:", f"{PACKAGE}=={version}"]
        if subprocess.run(command).returncode != 0:
            raise SystemExit(f"{version} is no folder, archive or released version of {PACKAGE}.")
        (sdist,) = Path(folder).iterdir()
        return read_source(str(sdist))


def declarations(source: str) -> dict[str, Declaration]:
    """What the source declares at its top level, by name."""
    found: dict[str, Declaration] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {}
            for statement in node.body:
                if isinstance(statement, ast.Assign):
                    found[node.name] |= _fields(statement)
        elif isinstance(node, ast.FunctionDef):
            found[node.name] = _signature(node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            found[ast.unparse(node.targets[0].value)] = _fields(node)  # a structure declared before
        elif isinstance(node, ast.Assign):
            found[ast.unparse(node.targets[0])] = {"value": ast.unparse(node.value)}
    return found


def _fields(statement: ast.Assign) -> Declaration:
    if not ast.unparse(statement.targets[0]).endswith("_fields_"):
        return {}
    pairs = map(_elements, _elements(statement.value))
    return {ast.literal_eval(name): ast.unparse(ctype) for name, ctype, *_bits in pairs}


def _elements(node: ast.expr) -> list[ast.expr]:
    assert isinstance(node, (ast.List, ast.Tuple))
    return node.elts


def _signature(node: ast.FunctionDef) -> Declaration:
    """Names from the Python signature, types from the decorator that binds the C function."""
    names = [parameter.arg for parameter in (*node.args.posonlyargs, *node.args.args)]
    for decorator in node.decorator_list:
        if isinstance(decorator, ast.Call) and len(decorator.args) > 2:
            _symbol, ctypes, returned = decorator.args[:3]
            types = map(ast.unparse, _elements(ctypes))
            typed = {name or "?": ctype for name, ctype in zip_longest(names, types, fillvalue="")}
            return typed | {"return": ast.unparse(returned)}
    return dict.fromkeys(names, "")


def names_in_use(declared: dict[str, Declaration]) -> set[str]:
    """The public names of the stub, and the types that their declarations are made of."""
    nodes = ast.parse(STUB.read_text(encoding="utf-8")).body
    named = {node.name for node in nodes if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    named |= {ast.unparse(node.target) for node in nodes if isinstance(node, ast.AnnAssign)}
    named |= {ast.unparse(node.targets[0]) for node in nodes if isinstance(node, ast.Assign)}
    waiting, found = {name for name in named if not name.startswith("_")}, set()
    while waiting:
        name = waiting.pop()
        found.add(name)
        words = set(re.findall(r"\w+", " ".join(declared.get(name, {}).values())))
        waiting |= (words & declared.keys()) - found
    return found


def differences(old: Declaration, new: Declaration) -> Iterator[str]:
    """One line for each part that was added (+), removed (-), changed (~) or moved."""
    for part in {**old, **new}:
        if part not in new:
            yield f"- {part}: {old[part]}"
        elif part not in old:
            yield f"+ {part}: {new[part]}"
        elif old[part] != new[part]:
            yield f"~ {part}: {old[part]} -> {new[part]}"
    if [part for part in old if part in new] != [part for part in new if part in old]:
        yield "the order is another one"


def main() -> None:
    """Compare and print; exit code 1 if something in use changed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old")
    parser.add_argument("new")
    arguments = parser.parse_args()
    old, new = (declarations(read_source(version)) for version in (arguments.old, arguments.new))
    lines = {name: [*differences(old[name], new[name])] for name in old.keys() & new.keys()}
    gone, added = old.keys() - new.keys(), new.keys() - old.keys()
    changed = {name for name in lines if lines[name]}
    used = names_in_use(old) | names_in_use(new)
    for name in sorted(used & (gone | added | changed)):
        print(name + (": gone" if name in gone else ": new" if name in added else ""))
        for line in lines.get(name, ()):
            print(f"  {line}")
    for title, names in ("In use", used), ("Others", (old.keys() | new.keys()) - used):
        counts = len(names & added), len(names & gone), len(names & changed)
        print("{}: {} new, {} gone, {} changed.".format(title, *counts))
    sys.exit(bool(used & (gone | added | changed)))


if __name__ == "__main__":
    main()
