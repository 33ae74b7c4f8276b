"""Tests of migrations, on a real MongoDB: ``MigrationTestCase``, and the fixture ``migration`` for pytest.

Imports everything below it. Nothing in migopy imports it.
"""

from .case import MigrationTestCase as MigrationTestCase
from .migration import MigrationTest as MigrationTest
from .server import server_uri as server_uri
