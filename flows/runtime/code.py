"""Derives the code a stage depends on from imports, so that no list has to be kept by hand.

From the stage's function the names it uses lead to imports, and imports to the modules they reach
(Grimp's graph). Two rules stand for what imports do not show. Importing a package means all of its
modules, since packages of gate checks, labelling rules and sources find their modules at run time.
The data files beside a module, such as schemas and templates, belong to it. `flows.runtime` itself
is left out: settings and parameters enter a fingerprint by value.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import grimp

from flows.runtime.settings import ROOT

PACKAGES = ("data", "models", "evaluation", "training", "flows")
_LEFT_OUT = "flows.runtime"
# Suffixes of data files in a module's folder.
_DATA_SUFFIXES = (".safetensors", ".json", ".yaml", ".yml", ".j2", ".html", ".css", ".js", ".txt")
# A folder of data files beside a module.
_TEMPLATES = "templates"


@cache
def _graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)


def code_of(function: str) -> frozenset[str]:
    """Returns the modules that `function` ("module:name") depends on, its own included.

    Raises ValueError when the module has no such name.
    """
    module, _, name = function.partition(":")
    seen, todo = {module}, set(_used_by(module, name))
    while todo:
        current = todo.pop()
        if current in seen or current == _LEFT_OUT or current.startswith(f"{_LEFT_OUT}."):
            continue
        seen.add(current)
        for imported in _graph().find_modules_directly_imported_by(current):
            todo |= _all_of(imported)
        todo |= set(_parents(current))
    return frozenset(seen)


def files_of(function: str) -> list[Path]:
    """Returns the files of `code_of` and their data files, relative to the checkout, sorted."""
    files: set[Path] = set()
    for module in code_of(function):
        file = _file(module)
        files.add(file)
        for folder in (file.parent, file.parent / _TEMPLATES):
            if folder != file.parent or len(folder.parts) > 1:
                files |= set(_data_files(folder))
    return sorted(files)


def folders_of(function: str) -> list[str]:
    """Returns the folder of each file of `files_of`.

    A file that lies directly in a top-level package stands for itself.
    """
    places = {file if len(file.parts) == 2 else file.parent for file in files_of(function)}
    tops = {place for place in places if not any(parent in places for parent in place.parents)}
    return sorted(place.as_posix() for place in tops)


@cache
def _data_files(folder: Path) -> tuple[Path, ...]:
    absolute = ROOT / folder
    if not absolute.is_dir():
        return ()
    return tuple(
        folder / path.name
        for path in sorted(absolute.iterdir())
        if path.suffix in _DATA_SUFFIXES and path.is_file()
    )


def _file(module: str) -> Path:
    path = Path(*module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def _parents(module: str) -> Iterator[str]:
    """Yields the packages whose `__init__` runs when `module` is imported."""
    parts = module.split(".")
    for end in range(1, len(parts)):
        yield ".".join(parts[:end])


def _used_by(module: str, name: str) -> Iterator[str]:
    """Yields the modules that the function uses.

    They come from imports inside it and from names imported at the top of its module.
    """
    tree = ast.parse((ROOT / _file(module)).read_text(encoding="utf-8"))
    defined: dict[str, ast.stmt] = {}
    imported: dict[str, set[str]] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imported |= _names(statement)
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
            defined[statement.name] = statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for node in (inner for target in targets for inner in ast.walk(target)):
                if isinstance(node, ast.Name):
                    defined[node.id] = statement
    if name not in defined:
        raise ValueError(f"{module}: has no function {name}. This is a fault of Keepline's.")
    seen, todo = set(), [name]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        if current in imported:
            yield from imported[current]
        if current not in defined:
            continue
        for node in ast.walk(defined[current]):
            if isinstance(node, ast.Name):
                todo.append(node.id)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                for modules in _names(node).values():
                    yield from modules
    yield from _parents(module)


def _names(statement: ast.Import | ast.ImportFrom) -> dict[str, set[str]]:
    """Returns what an import binds → the modules of this project that it brings.

    A package brings all of its modules.
    """
    graph, modules_of = _graph(), dict[str, set[str]]()
    for alias in statement.names:
        if isinstance(statement, ast.Import):
            target, bound = alias.name, alias.asname or alias.name.split(".")[0]
        else:
            inner = f"{statement.module}.{alias.name}"
            target = inner if inner in graph.modules else str(statement.module)
            bound = alias.asname or alias.name
        if target in graph.modules:
            modules_of[bound] = _all_of(target)
    return modules_of


def _all_of(module: str) -> set[str]:
    """Returns a module, or a package with all of its modules."""
    return {module, *_graph().find_descendants(module)}


def load(function: str) -> object:
    """Returns the function that "module:name" names."""
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)
