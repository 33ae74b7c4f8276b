"""Files of 2014 that PyMongo 3 already could not run: each says itself what it has to find afterwards.

On Python 2.7 with PyMongo 2.8.1 and MongoDB 5.0 they find the same, but for what MongoDB 5.0 itself refuses: `safe` in
an index (02), `$pushAll` and `$atomic` (08), and `err` among the replies (06), which ended with MongoDB 2.6.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from tests.support import MongoTestCase

FOLDER = Path(__file__).parents[2] / "legacy" / "pymongo2"


class TestFilesOfPyMongo2(MongoTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.archive = self.database + "_archive"
        self.addCleanup(self.client.drop_database, self.archive)
        self.files = sorted(path.name for path in FOLDER.glob("[0-9]*.py"))

    def test_they_run_as_they_are_and_can_be_undone(self) -> None:
        project = self.project()
        shutil.copytree(FOLDER, project.path / "mongomigrations", ignore=shutil.ignore_patterns("__pycache__"))
        result = project.fab("migrations:execute")
        self.assertEqual(0, result.code, result.output)
        self.assertEqual(self.files, sorted(self.db.migrations.distinct("name")))
        self.assertEqual(15, self.client[self.archive]["notes.old"].count_documents({}))
        self.assertEqual([], [name for name in self.db.list_collection_names() if name.startswith("connection")])
        for line in ("01_archive_old_notes.py:4: connection: write client", "03_totals_by_year.py:4: aggregate"):
            self.assertIn(line, result.stderr)
        result = project.fab(f"migrations:rollback,last={len(self.files)}")
        self.assertEqual(0, result.code, result.output)
        self.assertNotIn(self.archive, self.client.list_database_names())

    def test_a_warning_about_its_code_is_shown_once(self) -> None:
        """Though the code is read for its checksum, its calls, `keep` and what `down()` raises too."""
        project = self.project()
        body = "import re\nre.compile('\\d')\ndb.users.update({}, {'$set': {'keep': 1}})"
        project.migration("1_a.py", body, "raise NotImplementedError('no way back')")
        result = project.fab("migrations:execute", env={"PYTHONWARNINGS": "default"})
        # With the import of Fabric3, no DeprecationWarning is shown any more.
        shown = 0 if sys.version_info < (3, 10) else 1
        self.assertEqual((0, shown), (result.code, result.stderr.count("invalid escape sequence")), result.stderr)

    def test_without_legacy_pymongo_the_first_one_stops(self) -> None:
        project = self.project(LEGACY_PYMONGO=False)
        shutil.copytree(FOLDER, project.path / "mongomigrations", ignore=shutil.ignore_patterns("__pycache__"))
        result = project.fab("migrations:execute", env={"PYTHONWARNINGS": "ignore"})
        self.assertEqual(1, result.code, result.output)
        self.assertTrue(re.search(r"01_archive_old_notes.py failed \(line \d", result.stderr), result.stderr)
        self.assertEqual([], self.db.migrations.distinct("name"))
