"""Tests of migrations with unittest."""

from __future__ import annotations

import functools
import os
import unittest
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, Union

from ..errors import ConfigurationError
from ..manager import MigrationsManager
from ..mongo.extended_json import read_file
from .fabfile import find_manager, folder_of
from .migration import MigrationTest, keep_lines

# pytest leaves out the lines of this file when a test fails, and unittest those before the test.
__tracebackhide__ = __unittest = True

Documents = Union[Iterable[Mapping[str, Any]], str, "os.PathLike[str]"]
"""The documents of a collection, or the name of a file with them."""


class MigrationTestCase(unittest.TestCase):
    """A test of migrations, each in a database that is made for it and dropped afterwards.

    ``manager`` is the class of the fabfile. Without it, the fabfile in the working directory or above it has the class.
    """

    manager: type[MigrationsManager] | None = None

    def __init__(self, methodName: str = "runTest") -> None:  # noqa: N803 - the name comes from unittest
        super().__init__(methodName)
        test = getattr(self, methodName, None)
        if test is not None:
            setattr(self, methodName, _hide_our_lines(test))

    def migration(
        self,
        name: str,
        collections: Mapping[str, Documents] | None = None,
        *,
        after: str | None = None,
        **more: Documents,
    ) -> MigrationTest:
        """The migration ``name`` (str, as on the command line), in a database with these documents.

        ``collections`` maps names of collections to documents, and so do further arguments: dictionaries, or a file of
        Extended JSON (str or path) beside the test or the fabfile. With ``after`` (str) the migrations up to and
        including that one run first. Raises ``ConfigurationError`` where there is no MongoDB, no fabfile or no such
        file, and ``MigrationNotFound``.
        """
        test = make_test(self.manager, name, {**(collections or {}), **more}, after, beside=folder_of(type(self)))
        self.addCleanup(test.close)
        return test


def _hide_our_lines(test: Callable[[], Any]) -> Callable[[], Any]:
    """The test, whose errors have no line of this package in their tracebacks."""

    @functools.wraps(test)
    def run() -> Any:
        try:
            return test()
        except BaseException as error:
            keep_lines(error, lambda line: "__tracebackhide__" not in line.tb_frame.f_globals)
            raise error  # before Python 3.11, raise alone would bring the lines back

    return run


def make_test(
    manager: Any, name: str, collections: Mapping[str, Documents], after: str | None, *, beside: Path
) -> MigrationTest:
    """The migration under test.

    ``manager`` is the class, or None for the one of the fabfile. Files with documents are in the folder ``beside``, or
    in that of the fabfile.
    """
    found, folder = find_manager(Path.cwd()) if manager is None else (manager, folder_of(manager))
    documents = {collection: _read(given, (beside, folder)) for collection, given in collections.items()}
    return MigrationTest(found, folder, name, documents, after)


def _read(documents: Documents, folders: tuple[Path, ...]) -> Iterable[Mapping[str, Any]]:
    if isinstance(documents, Mapping):
        raise ConfigurationError("A collection is a list of documents, also if it has only one: write [{...}].")
    if not isinstance(documents, (str, os.PathLike)):
        return documents
    for folder in folders:
        if (folder / documents).is_file():
            return read_file(folder / documents)
    raise ConfigurationError(f"There is no file {documents} in {' or '.join(map(str, dict.fromkeys(folders)))}.")
