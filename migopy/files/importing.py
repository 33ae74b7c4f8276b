"""Importing a migration file as a module."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Iterator

from .faults import explain


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Keep the folder on ``sys.path`` meanwhile: Fabric takes it off after loading the fabfile (``load_fabfile``)."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


def import_file(path: Path, content: bytes) -> ModuleType:
    """Run a file as a module of a package, so that ``from . import _helpers`` works in it.

    No ``__pycache__`` is written: a file that is run once gains nothing by it, and the folder may be read-only.
    """
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return _module(f"{_package(path.parent)}.{path.stem}", path, content)
    except (Exception, SystemExit) as error:  # sys.exit(0) would look like success, and nothing has run
        raise explain(path, content, error) from error
    finally:
        sys.dont_write_bytecode = kept


def _package(directory: Path) -> str:
    """The name of the package that the files of one directory belong to; its ``__init__.py`` is run if there is one.

    It is the path, which no other module can have: a directory may be called ``json`` or ``db/migrations``.
    """
    name = str(directory)
    if name in sys.modules:
        return name
    init = directory / "__init__.py"
    if init.exists():
        _module(name, init, init.read_bytes(), submodule_search_locations=[name])
    else:
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [name]
    return name


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs what has been read already; Python's own would look for bytecode and read the file once more."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._content, self.path)


def _module(name: str, path: Path, content: bytes, **options: Any) -> ModuleType:
    """Run a file under that name; what cannot be run to its end does not stay among the modules."""
    loader = _Loader(name, str(path), content)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader, **options)
    assert spec is not None  # it has a loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
