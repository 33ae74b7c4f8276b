"""Finds the class of a fabfile, without running Fabric."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from ..errors import ConfigurationError
from ..files.importing import on_sys_path
from ..manager import MigrationsManager

# pytest leaves out the lines of this file when a test fails.
__tracebackhide__ = True

HINT = "set manager = Migrations in the test case (with pytest: a fixture migration_manager that returns it)"


def find_manager(start: Path) -> tuple[type[MigrationsManager], Path]:
    """The class of the fabfile in ``start`` or in a folder above it, and that folder.

    Raises ``ConfigurationError`` where there is no fabfile, or not one class in it.
    """
    folder = _folder_with_fabfile(start)
    with on_sys_path(folder):
        module = importlib.import_module("fabfile")
    found = {value for value in vars(module).values() if _is_of_team(value)}
    bases = {base for each in found for base in each.__mro__[1:]}
    leaves = [each for each in found if each not in bases]
    if len(leaves) != 1:
        names = ", ".join(sorted(each.__name__ for each in leaves)) or "none"
        raise ConfigurationError(f"{module.__file__} has to have one class of migrations, not {names}: {HINT}.")
    return leaves[0], folder


def _folder_with_fabfile(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / "fabfile.py").is_file() or (folder / "fabfile" / "__init__.py").is_file():
            return folder
    raise ConfigurationError(f"There is no fabfile in {start} or above it: {HINT}.")


def folder_of(written: type) -> Path:
    """The folder of the file in which a class was written."""
    file = sys.modules[written.__module__].__file__
    return Path(file or ".").resolve().parent


def _is_of_team(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, MigrationsManager) and value is not MigrationsManager
