"""Modules of the user's own, `pkg.module:Name`: found and hashed without being imported.

Importing runs the user's code, and torch with it; a plan does neither.  A child process imports later, with `load`.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from bench.yaml_places import nearest

OWN_KEYS = ("g_norm", "d_norm", "network", "loss")
"""The settings where a name of the user's own may stand."""


class OwnModuleError(Exception):
    """A name of the user's own that no file defines, or code of the user's own that does not do what is asked of it."""


def locate(own: str) -> Path:
    """Find the source file of `pkg.module:Name` on `sys.path` and in the working directory.

    Goes package by package, as import would, and reads the file; runs nothing.  Raises OwnModuleError when there
    is no such file, it is no Python, or it defines no such name.
    """
    module, _, name = own.partition(":")
    looked = list(dict.fromkeys([str(Path.cwd()), *(entry for entry in sys.path if entry)]))
    path: list[str] | None = looked
    origin = None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        package = ".".join(parts[:depth])
        spec = PathFinder.find_spec(package, path)
        if spec is None:
            where = ", ".join(path or ()) or f"{'.'.join(parts[: depth - 1])} (a module, not a package)"
            raise OwnModuleError(f"there is no module {package}; looked in {where}")
        origin, found = spec.origin, spec.submodule_search_locations
        path = list(found) if found is not None else []
    if origin is None or Path(origin).suffix != ".py":
        raise OwnModuleError(f"{module} has no Python source file")
    file = Path(origin)
    _check_name(file, name)
    return file


def source_hash(own: str) -> str:
    """Hash the source file of `pkg.module:Name`: sixteen hex digits.  Raises OwnModuleError as `locate` does."""
    return hashlib.sha256(locate(own).read_bytes()).hexdigest()[:16]


def load(own: str) -> Any:
    """Import `pkg.module:Name`; this runs the user's code.

    Raises OwnModuleError if the module does not import or has no such name.
    """
    module_name, _, name = own.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise OwnModuleError(f"{own}: {module_name} does not import: {said(error)}") from error
    found = getattr(module, name, None)
    if found is None:
        raise OwnModuleError(f"{own}: {module_name} has no {name}")
    return found


def said(error: Exception) -> str:
    """Write an error of the user's code as `TypeError: what it says`."""
    return f"{type(error).__name__}: {error}"


def _check_name(file: Path, name: str) -> None:
    try:
        body = ast.parse(file.read_bytes()).body
    except (SyntaxError, ValueError) as error:
        raise OwnModuleError(f"{file} is not Python: {error}") from error
    names = list(_defined(body))
    if name not in names and "*" not in names:
        raise OwnModuleError(f"{file} defines no {name}{nearest(name, names)}")


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that statements at a module's top level bind; `*` for what cannot be known."""
    for statement in body:
        for node in ast.walk(statement) if not isinstance(statement, _SCOPES) else [statement]:
            if isinstance(node, _SCOPES):
                yield node.name
            elif isinstance(node, ast.Import | ast.ImportFrom):
                yield from (alias.asname or alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


_SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
