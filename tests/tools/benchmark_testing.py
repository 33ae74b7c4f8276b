"""What tests of migrations cost: python -m tests.tools.benchmark_testing

Needs pytest and pytest-xdist. Each number is the median of some rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Callable

from tests.support import clean_environment

FABFILE = """
import migopy


class Migrations(migopy.MigrationsManager):
    MONGO_DATABASE = "blog"
"""

MIGRATION = """
def up(db, batches):
    batches.update(db.archive, {}, {"$set": {"seen": False}})


def down(db):
    db.archive.update_many({}, {"$unset": {"seen": 1}})
"""

TESTS = """
import unittest

from migopy.testing import MigrationTestCase


class TestSmall(MigrationTestCase):
    pass


def small(self):
    notes = self.migration("1", archive=[{{"_id": n, "text": "a b"}} for n in range(3)])
    notes.up()
    self.assertFalse(notes.documents("archive")[0]["seen"])
    notes.down()
    notes.assert_restored()


for number in range({tests}):
    setattr(TestSmall, f"test_{{number:03}}", small)
"""

START = "import time; from migopy.testing import server_uri; t = time.time(); server_uri(); print(time.time() - t)"


class Project:
    """A project with a migration, and so many tests of it."""

    def __init__(self, folder: str, rounds: int) -> None:
        self.path = Path(folder)
        self.rounds = rounds
        (self.path / "mongomigrations").mkdir()
        (self.path / "fabfile.py").write_text(FABFILE)
        (self.path / "mongomigrations" / "1_seen.py").write_text(MIGRATION)

    def run(self, *words: str) -> str:
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=self.path, env=clean_environment(), stdout=subprocess.PIPE, text=True)
        done.check_returncode()
        return done.stdout

    def seconds(self, tests: int, *words: str) -> float:
        """How long a command takes with so many tests."""
        (self.path / "test_small.py").write_text(TESTS.format(tests=tests))

        def once() -> float:
            started = time.perf_counter()
            self.run(*words)
            return time.perf_counter() - started

        return self.median(once)

    def median(self, measure: Callable[[], float]) -> float:
        return median(measure() for _ in range(self.rounds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = Project(folder, options.rounds)
        pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_small.py")
        start = project.median(lambda: float(project.run("-c", START)))
        one = project.seconds(1, "-m", "unittest", "test_small")
        many = project.seconds(options.tests, "-m", "unittest", "test_small")
        alone = project.seconds(options.tests, *pytest)
        workers = project.seconds(options.tests, *pytest, "-n", "2")
    print(f"load of this machine: {os.getloadavg()[0]:.1f}")
    print("| what | seconds |", "| --- | --- |", sep="\n")
    print(f"| start of the server | {start:.2f} |")
    print(f"| one test, from an empty shell | {one:.2f} |")
    print(f"| each further test | {(many - one) / (options.tests - 1):.3f} |")
    print(f"| {options.tests} tests with unittest | {many:.1f} |")
    print(f"| {options.tests} tests with pytest | {alone:.1f} |")
    print(f"| the same with two workers of xdist | {workers:.1f} ({workers / alone:.2f} x) |")


if __name__ == "__main__":
    main()
