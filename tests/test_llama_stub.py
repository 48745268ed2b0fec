"""stubs/llama_cpp/ says what the installed library has: names, parameters, fields, types."""

from __future__ import annotations

import ast
import ctypes
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from spec_local.llama.backend import JinjaFormatter, lib
from spec_local.llama.peer import Llama, LlamaPromptLookupDecoding

pytestmark = pytest.mark.llama

ROOT = Path(__file__).parent.parent
STUBS = ROOT / "stubs" / "llama_cpp"
CLASSES = {
    "Llama": Llama,
    "Jinja2ChatFormatter": JinjaFormatter,
    "LlamaPromptLookupDecoding": LlamaPromptLookupDecoding,
}

KINDS = {"int": "iIlLqQ", "float": "f", "bool": "?", "bytes": "z"}
"""The letters ctypes has for the types that become these in Python."""
POINTER = re.compile(r"(?:_Ref|_Pointer|ctypes\.Array)\[(.+)\]")


def definitions(name: str) -> list[ast.stmt]:
    return ast.parse((STUBS / name).read_text(encoding="utf-8")).body


LOW_LEVEL = definitions("llama_cpp.pyi")
FUNCTIONS = [n for n in LOW_LEVEL if isinstance(n, ast.FunctionDef) and n.name != "byref"]
HANDLES = {
    ast.unparse(node.targets[0])
    for node in LOW_LEVEL
    if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("NewType")
}
CONSTANTS = [ast.unparse(n.target) for n in LOW_LEVEL if isinstance(n, ast.AnnAssign)]


def classes(base: str) -> list[Any]:
    """The classes of the stub whose base class begins like this; "" for those without one."""
    nodes = [node for node in LOW_LEVEL if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
    bases = {node: "".join(map(ast.unparse, node.bases)) for node in nodes}
    chosen = [n for n in nodes if (bases[n].startswith(base) if base else not bases[n])]
    assert chosen
    return [pytest.param(node, id=node.name) for node in chosen]


def annotations(arguments: ast.arguments) -> dict[str, str]:
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return {a.arg: ast.unparse(a.annotation) for a in named if a.annotation is not None}


def resolved(annotation: str) -> Any:
    """The ctypes type, or None, that an annotation of the stub means at run time."""
    if pointer := POINTER.fullmatch(annotation):
        pointee = resolved(pointer[1])
        return ctypes.c_char_p if pointee is ctypes.c_char else ctypes.POINTER(pointee)
    if annotation in HANDLES:
        return ctypes.c_void_p
    return eval(annotation, {"ctypes": ctypes, **vars(lib)})


def require_match(annotation: str, ctype: Any) -> None:
    kind = annotation.split(" | ")[0]
    if annotation == "int | None":  # what a callback gets of a void pointer
        assert ctype is ctypes.c_void_p
    elif kind in KINDS:
        assert ctype._type_ in KINDS[kind], (annotation, ctype)
    else:
        assert ctype is resolved(kind), (annotation, ctype)


@pytest.mark.parametrize("node", FUNCTIONS, ids=lambda node: node.name)
def test_functions_have_these_parameters(node: ast.FunctionDef) -> None:
    function, declared = getattr(lib, node.name), annotations(node.args)
    assert node.returns is not None
    assert len(declared) == len(function.argtypes)
    for annotation, ctype in zip(declared.values(), function.argtypes, strict=True):
        require_match(annotation, ctype)
    require_match(ast.unparse(node.returns), function.restype)


@pytest.mark.parametrize("node", classes("_Structure"))
def test_structures_have_these_fields(node: ast.ClassDef) -> None:
    fields = dict(getattr(lib, node.name)._fields_)
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign):
            require_match(ast.unparse(statement.annotation), fields[ast.unparse(statement.target)])
        if isinstance(statement, ast.FunctionDef):
            made_of = annotations(statement.args)
            assert list(made_of) == list(fields)
            for name, annotation in made_of.items():
                require_match(annotation, fields[name])


def test_constants_are_integers() -> None:
    assert CONSTANTS
    assert all(isinstance(getattr(lib, name), int) for name in CONSTANTS)


def test_handles_are_pointers_as_integers() -> None:
    assert {getattr(lib, name).__supertype__ for name in HANDLES} == {int}


@pytest.mark.parametrize("node", classes("_Pointer"))
def test_pointer_types_point_to_these(node: ast.ClassDef) -> None:
    assert getattr(lib, node.name) is resolved(ast.unparse(node.bases[0]))


@pytest.mark.parametrize("node", classes(""))
def test_callbacks_take_these_arguments(node: ast.ClassDef) -> None:
    function = getattr(lib, node.name)
    found = re.search(r"Callable\[\[(.*?)\], (\w+)\]", ast.unparse(node))
    assert found is not None
    for annotation, ctype in zip(found[1].split(", "), function._argtypes_, strict=True):
        require_match(annotation, ctype)
    require_match(found[2], function._restype_)


def test_other_names_are_what_they_seem() -> None:
    assert lib.byref is ctypes.byref
    assert lib.llama_token is ctypes.c_int32


@pytest.mark.parametrize("file", ["__init__.pyi", "llama_chat_format.pyi", "llama_speculative.pyi"])
def test_methods_take_these_parameters(file: str) -> None:
    nodes = [n for n in definitions(file) if isinstance(n, ast.ClassDef) and n.name in CLASSES]
    assert nodes
    for node in nodes:
        for method in (n for n in node.body if isinstance(n, ast.FunctionDef)):
            real = getattr(CLASSES[node.name], method.name)
            if not isinstance(real, property):
                known = inspect.signature(real).parameters
                assert annotations(method.args).keys() <= known.keys(), method.name


def test_every_name_is_used() -> None:
    sources = [*(ROOT / "spec_local" / "llama").glob("*.py"), *STUBS.glob("*.pyi")]
    words = re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in sources))
    names = [*CONSTANTS, *HANDLES, *(node.name for node in FUNCTIONS)]
    assert [name for name in names if words.count(name) < 2] == []
