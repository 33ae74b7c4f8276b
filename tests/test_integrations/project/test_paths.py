from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import MongoTestCase, Result, basic_fabfile

NOTE = "def up(db):\n    db.notes.insert_one({'text': 'done'})\n"


class TestPaths(MongoTestCase):
    def assert_executed(self, result: Result) -> None:
        """The one migration 1_a.py was executed, and nothing else; then forget it."""
        self.assertEqual(0, result.code, result.output)
        self.assertEqual((["1_a.py"], ["done"]), (self.db.migrations.distinct("name"), self.db.notes.distinct("text")))
        self.client.drop_database(self.database)

    def files(self, folder: Path) -> list[str]:
        """All files and folders, but what Python itself keeps of the fabfile and the team's modules."""
        found = [path.relative_to(folder) for path in folder.rglob("*")]
        return sorted(str(path) for path in found if path.parts[0] != "__pycache__")

    def test_directories_count_from_the_fabfile_wherever_fab_is_called(self) -> None:
        project = self.project()
        project.write("mongomigrations/1_a.py", NOTE)
        project.write("app/deep/readme", "")
        self.assert_executed(project.fab("migrations:execute", cwd="app/deep"))
        with tempfile.TemporaryDirectory() as elsewhere:
            self.assert_executed(
                project.fab("-f", str(project.path / "fabfile.py"), "migrations:execute", cwd=elsewhere)
            )
            relative = os.path.relpath(project.path / "fabfile.py", os.path.realpath(elsewhere))
            self.assert_executed(project.fab("-f", relative, "migrations:execute", cwd=elsewhere))

    def test_beside_a_fabfile_package(self) -> None:
        project = self.project()
        text = (project.path / "fabfile.py").read_text()
        (project.path / "fabfile.py").unlink()
        project.write("fabfile/__init__.py", text)
        project.write("mongomigrations/1_a.py", NOTE)
        self.assert_executed(project.fab("migrations:execute"))
        self.assert_executed(project.fab("migrations:execute", cwd="mongomigrations"))

    def test_a_fabfile_of_another_name_in_a_folder_of_its_own(self) -> None:
        project = self.project()
        project.write("ops/deploy.py", (project.path / "fabfile.py").read_text())
        project.write("ops/mongomigrations/1_a.py", NOTE)
        self.assert_executed(project.fab("-f", "ops/deploy.py", "migrations:execute"))

    def test_nested_and_absolute_directories(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            elsewhere = Path(folder).resolve()
            for directory in ("db/migrations", "./db/../changes", str(elsewhere / "json")):
                project = self.project(MIGRATIONS_DIRECTORY=directory)
                project.write(os.path.join(directory, "1_a.py"), NOTE)
                with self.subTest(directory):
                    self.assert_executed(project.fab("migrations:execute"))

    def test_migrations_import_the_teams_own_modules(self) -> None:
        project = self.project()
        project.write("models.py", "TEXT = 'done'\n")
        project.write("shop/__init__.py", "")
        project.write("shop/texts.py", "def text():\n    from shop import parts\n    return parts.TEXT\n")
        project.write("shop/parts.py", "TEXT = 'done'\n")
        project.write("mongomigrations/_helpers.py", "def note(db, text):\n    db.notes.insert_one({'text': text})\n")
        project.write(
            "mongomigrations/1_a.py",
            """
            import models
            from shop.texts import text
            from . import _helpers

            def up(db):
                import shop.parts
                assert models.TEXT == shop.parts.TEXT == text()
                _helpers.note(db, text())

            def down(db):
                from models import TEXT
                from . import _helpers
                _helpers.note(db, 'un' + TEXT)
            """,
        )
        self.assert_executed(project.fab("migrations:execute", cwd="shop"))
        self.db.migrations.insert_one({"name": "1_a.py"})
        result = project.fab("migrations:rollback,1_a.py")
        self.assertEqual((0, ["undone"], []), (result.code, self.db.notes.distinct("text"), self.registered()))

    def test_the_init_file_of_the_directory_is_run(self) -> None:
        project = self.project()
        project.write("mongomigrations/__init__.py", "TEXT = 'done'\n")
        text = "from . import TEXT\n\n\ndef up(db):\n    db.notes.insert_one({'text': TEXT})\n"
        project.write("mongomigrations/1_a.py", text)
        self.assert_executed(project.fab("migrations:execute"))

    def test_a_directory_called_like_a_module_does_not_get_into_its_way(self) -> None:
        project = self.project(MIGRATIONS_DIRECTORY="json")
        text = "import json\n\n\ndef up(db):\n    db.notes.insert_one({'text': json.loads('\"done\"')})\n"
        project.write("json/1_a.py", text)
        self.assert_executed(project.fab("migrations:execute"))

    def test_nothing_is_written_beside_the_migrations(self) -> None:
        project = self.project()
        project.write("mongomigrations/_helpers.py", "")
        project.write("mongomigrations/1_a.py", "from . import _helpers\n\n" + NOTE)
        before = self.files(project.path)
        words = ["migrations", "migrations:show_status", "migrations:help", "migrations:execute"]
        result = project.fab(*words, env={"PYTHONDONTWRITEBYTECODE": ""})
        self.assertEqual((0, before), (result.code, self.files(project.path)), result.output)

    def test_a_read_only_folder_is_enough(self) -> None:
        project = self.project()
        migration = project.write("mongomigrations/1_a.py", NOTE)
        for path in (migration, migration.parent, project.path):
            mode = path.stat().st_mode
            path.chmod(mode & ~0o222)
            self.addCleanup(path.chmod, mode)
        self.assert_executed(project.fab("migrations", "migrations:execute"))

    def test_a_link_to_the_fabfile_counts_where_it_stands(self) -> None:
        project = self.project()
        project.write("shared/deploy.py", basic_fabfile(self.server, self.database))
        (project.path / "fabfile.py").unlink()
        (project.path / "fabfile.py").symlink_to(project.path / "shared" / "deploy.py")
        project.write("mongomigrations/1_a.py", NOTE)
        self.assert_executed(project.fab("migrations:execute"))

    def test_without_a_fab_they_count_from_the_working_directory(self) -> None:
        project = self.project()
        project.write("mongomigrations/1_a.py", NOTE)
        project.write("run.py", "import fabfile\n\nfabfile.migrations('execute')\n")
        process = subprocess.run([sys.executable, "run.py"], cwd=project.path, capture_output=True, text=True)
        self.assert_executed(Result(process.returncode, process.stdout, process.stderr))
