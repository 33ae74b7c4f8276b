from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import unittest

import migopy
from migopy import errors


class TestPublicNames(unittest.TestCase):
    def test_the_module_has_the_names_of_1_0(self) -> None:
        for name in ("MigrationsManager", "task", "MigopyException", "StopTaskExecution", "Str", "ColorsLogger"):
            self.assertTrue(callable(getattr(migopy, name)), name)

    def test_the_attributes_have_the_defaults_of_the_documentation(self) -> None:
        expected = {
            "MONGO_HOST": "localhost",
            "MONGO_PORT": 27017,
            "MONGO_DATABASE": None,
            "MONGO_USER": None,
            "MONGO_USER_PASSWORD": None,
            "MONGO_USER_PASS": None,
            "MONGO_URI": None,
            "MONGO_AUTH_DATABASE": None,
            "MONGO_CLIENT_OPTIONS": {},
            "MIGRATIONS_COLLECTION": "migrations",
            "MIGRATIONS_DIRECTORY": "mongomigrations",
            "MIGRATIONS_FILE_PATTERN": r"(?P<migr_nr>[0-9]+)_[a-z0-9_]+\.py",
            "DO_MONGO_DUMP": False,
            "MONGO_DUMP_DIRECTORY": "mongodumps",
            "LOCK_LEASE": 60,
            "LOCK_WAIT": 60,
            "LEGACY_PYMONGO": True,
            "FAB_TASK": "migrations",
        }
        self.assertEqual(expected, {name: getattr(migopy.MigrationsManager, name) for name in expected})
        self.assertIsInstance(migopy.MigrationsManager.logger, migopy.ColorsLogger)

    def test_a_manager_has_the_methods_of_1_0(self) -> None:
        manager = migopy.MigrationsManager()
        names = ["unregistered", "sorted", "show_status", "execute", "ignore", "rollback", "dbdump", "help", "tasks"]
        for name in [*names, "fab_command", "task_hook", "create_task", "MongoClient"]:
            self.assertTrue(callable(getattr(manager, name)), name)

    def test_sorted_gives_the_order_of_execution(self) -> None:
        names = ["10_a.py", "9_b.py", "9_a.py", "0002_z.py"]
        self.assertEqual(["0002_z.py", "9_a.py", "9_b.py", "10_a.py"], migopy.MigrationsManager().sorted(names))

    def test_sorted_refuses_a_name_that_has_no_place_in_it(self) -> None:
        with self.assertRaisesRegex(migopy.MigopyException, r"^Not the name of a migration: test_1\.py\."):
            migopy.MigrationsManager().sorted(["test_1.py", "001_abc.py"])

    def test_the_version_is_that_of_the_package(self) -> None:
        self.assertEqual(importlib.metadata.version("migopy"), migopy.__version__)

    def test_stop_task_execution_is_no_error_of_ours(self) -> None:
        self.assertFalse(issubclass(migopy.StopTaskExecution, migopy.MigopyException))
        self.assertTrue(issubclass(migopy.MigopyException, Exception))

    def test_every_kind_of_failure_is_a_migopy_exception_with_its_exit_code(self) -> None:
        kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
        codes = {kind.__name__: kind.exit_code for kind in kinds if issubclass(kind, migopy.MigopyException)}
        self.assertEqual({"StopTaskExecution"}, {kind.__name__ for kind in kinds} - set(codes))
        others = {name: code for name, code in codes.items() if code != 1}
        self.assertEqual({"LockHeld": 3, "LockLost": 3, "RegisteredMeanwhile": 3, "CheckFailed": 4}, others)


class TestImporting(unittest.TestCase):
    def test_importing_migopy_imports_no_pymongo(self) -> None:
        script = """
import sys
import migopy

class Migrations(migopy.MigrationsManager):
    MONGO_DATABASE = "x"

migrations = Migrations.create_task()
Migrations()
print([name for name in sys.modules if name.split(".")[0] in ("pymongo", "bson", "gridfs")])
"""
        # Fabric's own import is not under test here, and warns on some versions of Python.
        process = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, encoding="utf-8", check=True)
        self.assertEqual("[]\n", process.stdout)
