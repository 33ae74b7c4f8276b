"""Tests of migrations with unittest."""

from __future__ import annotations

import unittest
from pathlib import Path
from typing import Any, Mapping

from ..manager import MigrationsManager
from .fabfile import find_manager, folder_of
from .migration import Documents, MigrationTest


class MigrationTestCase(unittest.TestCase):
    """A test of migrations, each in a database that is made for it and dropped afterwards.

    ``manager`` is the class of the fabfile. Without it, the fabfile in the working directory or above it has the class.
    """

    manager: type[MigrationsManager] | None = None

    def migration(
        self,
        name: str,
        collections: Mapping[str, Documents] | None = None,
        *,
        after: str | None = None,
        **more: Documents,
    ) -> MigrationTest:
        """The migration ``name`` (str, as on the command line), in a database with these documents.

        ``collections`` maps names of collections to documents, and so do further arguments. With ``after`` (str) the
        migrations up to and including that one run first. Raises ``ConfigurationError`` where there is no MongoDB or
        no fabfile, and ``MigrationNotFound``.
        """
        test = make_test(self.manager, name, {**(collections or {}), **more}, after)
        self.addCleanup(test.close)
        return test


def make_test(manager: Any, name: str, collections: Mapping[str, Documents], after: str | None) -> MigrationTest:
    """The migration under test. ``manager`` is the class, or None for the one of the fabfile."""
    found, folder = find_manager(Path.cwd()) if manager is None else (manager, folder_of(manager))
    return MigrationTest(found, folder, name, collections, after)
