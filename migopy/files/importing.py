"""Importing a migration file as a module."""

from __future__ import annotations

import ast
import contextlib
import importlib.abc
import importlib.util
import os
import sys
from functools import lru_cache
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Iterator, Sequence

from .faults import import_failure
from .python_2 import refuse_python_2

PACKAGE = __name__.rpartition(".")[0]
"""The package of the packages of migrations directories. A process that has imported nothing can import it."""


@contextlib.contextmanager
def on_sys_path(folder: Path) -> Iterator[None]:
    """Keep the fabfile's folder on ``sys.path``. Fabric removes it after loading the fabfile."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


def import_file(path: Path, content: bytes) -> ModuleType:
    """Run the file as a module of a package, so that ``from . import _helpers`` works in it.

    Raises ``BadMigration`` or ``MigrationFailed`` if that fails.
    """
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # a migration is run once, and its folder may be read-only
    try:
        return _run_module(f"{_package_name(path.parent)}.{path.stem}", path, content)
    except (Exception, SystemExit) as error:  # sys.exit(0) would look like success
        raise import_failure(path, content, error) from error
    finally:
        sys.dont_write_bytecode = before


def _package_name(directory: Path) -> str:
    """The package of the files in the directory. Runs its ``__init__.py`` if there is one."""
    # Unique, unlike the name of the directory, which may be json; and with a dot in it there would be two packages.
    name = PACKAGE + "." + str(directory).replace("%", "%25").replace(".", "%2E")
    importlib.import_module(name)
    return name


class _DirectoryFinder(importlib.abc.MetaPathFinder):
    """Finds the packages of migrations directories, in the processes that multiprocessing starts too."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package.startswith(f"{PACKAGE}./"):  # a helper, or a migration in another process
            return _spec(fullname, os.path.join(path[0], f"{name}.py")) if path else None
        if package != PACKAGE or not name.startswith("/"):
            return None
        directory = name.replace("%2E", ".").replace("%25", "%")
        spec = _spec(fullname, os.path.join(directory, "__init__.py")) or ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [directory]
        return spec


def _spec(fullname: str, file: str) -> ModuleSpec | None:
    """None if there is no such file."""
    loader = _Loader(fullname, file)
    return importlib.util.spec_from_file_location(fullname, loader=loader) if os.path.isfile(file) else None


sys.meta_path.insert(0, _DirectoryFinder())  # before Python's own, which would find helpers too


class _Loader(SourceFileLoader):
    """Runs the text of a file, which may have been read before, and refuses Python 2 in it."""

    content: bytes | None = None

    def get_code(self, fullname: str) -> CodeType:
        # Python's own loader would take the bytecode, and write it.
        content = self.get_data(self.path) if self.content is None else self.content
        return _compile(content, self.path)


@lru_cache(maxsize=None)
def _compile(content: bytes, path: str) -> CodeType:
    """The code of a file. Cached, because it runs once for each of many databases, each time as a new module."""
    tree = ast.parse(content, path)
    refuse_python_2(tree, content, path)
    return compile(tree, path, "exec", dont_inherit=True)


def _run_module(name: str, path: Path, content: bytes) -> ModuleType:
    """Run the file as the module of this name. A module that fails is removed from ``sys.modules``."""
    loader = _Loader(name, str(path))
    loader.content = content
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # it has a loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
