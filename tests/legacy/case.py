"""A test whose database understands PyMongo 2 and 3."""

from __future__ import annotations

from typing import Any, Callable

from migopy import legacy
from migopy.errors import MigopyException
from tests.support import MongoTestCase


class LegacyTestCase(MongoTestCase):
    """`self.db` understands PyMongo 2 and 3; `self.plain` is the same without that, `self.shown` the warnings."""

    def setUp(self) -> None:
        super().setUp()
        self.plain: Any = self.db
        self.db: Any = legacy.database(self.plain)
        self.shown: list[str] = []
        shown = legacy.warnings_shown(self.shown.append)
        shown.__enter__()
        self.addCleanup(shown.__exit__, None, None, None)

    def documents(self, collection: str = "a") -> list[Any]:
        return list(self.plain[collection].find().sort("_id", 1))

    def assert_refused(self, call: Callable[[], Any], text: str) -> None:
        with self.assertRaises(MigopyException) as caught:
            call()
        self.assertEqual(text, str(caught.exception))

    def assert_shown(self, text: str) -> None:
        """The last warning is this one, and it names a line of the test."""
        self.assertRegex(self.shown[-1], r"^tests/test_integrations/legacy/test_\w+\.py:\d+: ")
        self.assertEqual(text, self.shown[-1].partition(": ")[2])
