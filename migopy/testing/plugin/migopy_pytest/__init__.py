"""The fixture ``migration`` for pytest.

Installed as the package ``migopy_pytest``: pytest imports it in every project, and importing migopy costs more than
this does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterator

import pytest

if TYPE_CHECKING:
    from migopy import MigrationsManager
    from migopy.testing import MigrationTest

__tracebackhide__ = True  # pytest leaves out the lines of this file when a test fails


@pytest.fixture
def migration_manager() -> type[MigrationsManager] | None:
    """The class of the fabfile; None for the one in the working directory or above it. To be overridden."""
    return None


@pytest.fixture
def migration(
    request: pytest.FixtureRequest, migration_manager: type[MigrationsManager] | None
) -> Iterator[Callable[..., MigrationTest]]:
    """Makes a ``MigrationTest``: ``migration("006_words", archive=[{"_id": 1}], after="005")``."""
    from migopy.testing.case import make_test

    folder = Path(request.module.__file__).parent
    tests: list[MigrationTest] = []

    def make(name: str, collections: Any = None, *, after: str | None = None, **more: Any) -> MigrationTest:
        collections = {**(collections or {}), **more}
        tests.append(make_test(migration_manager, name, collections, after, beside=folder))
        return tests[-1]

    yield make
    for test in tests:
        test.close()
