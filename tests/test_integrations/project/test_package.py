"""What people install: a wheel that was built from the source distribution, and what an index shows of it."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import venv
import zipfile
from pathlib import Path

import migopy
from tests.documents import ALL, PAGES, README
from tests.support import FAB, TOP, clean_environment

FABFILE = """
import migopy


class Migrations(migopy.MigrationsManager):
    MONGO_DATABASE = "blog"


migrations = Migrations.create_task()
print(migopy.__file__)
"""


class TestThePackage(unittest.TestCase):
    folder: Path
    unpacked: Path
    wheel: Path

    @classmethod
    def setUpClass(cls) -> None:
        """Build it as a release is built, from a copy: a build leaves files beside the sources."""
        super().setUpClass()
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name).resolve()
        venv.create(cls.folder / "venv", with_pip=True)
        cls.run_python("-m", "pip", "install", "--quiet", "setuptools", "wheel")
        ignored = shutil.ignore_patterns(".venv*", ".tox", ".git", "build", "dist", "*.egg-info", "__pycache__")
        sources = shutil.copytree(TOP, cls.folder / "sources", ignore=ignored)
        cls.run_python("setup.py", "--quiet", "sdist", cwd=sources)
        (archive,) = (sources / "dist").iterdir()
        (cls.folder / "unpacked").mkdir()
        subprocess.run(["tar", "xf", str(archive)], cwd=cls.folder / "unpacked", check=True)
        (cls.unpacked,) = (cls.folder / "unpacked").iterdir()
        cls.run_python("setup.py", "--quiet", "bdist_wheel", cwd=cls.unpacked)
        (cls.wheel,) = (cls.unpacked / "dist").iterdir()

    @classmethod
    def run_python(cls, *arguments: str, cwd: Path = TOP) -> None:
        """Run the Python of the virtual environment, which may say what it likes."""
        environment = {**clean_environment(), "PYTHONWARNINGS": "ignore"}
        command = [str(cls.folder / "venv" / "bin" / "python"), *arguments]
        done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout.decode()

    def test_the_sources_have_the_documents_and_the_tests(self) -> None:
        for path in (*ALL, "tests/all.py", "tests/documents.py", "tox.ini", "setup.py"):
            self.assertEqual((TOP / path).read_bytes(), (self.unpacked / path).read_bytes(), path)

    def test_the_wheel_has_the_pages_and_no_tests(self) -> None:
        with zipfile.ZipFile(self.wheel) as packed:
            names = set(packed.namelist())
        pages = {f"migopy/docs/{topic}.md" for topic in PAGES}
        self.assertLess({"migopy/py.typed", "migopy/manager.py", *pages}, names)
        tops = {name.partition("/")[0] for name in names}
        self.assertEqual(["migopy", f"migopy-{migopy.__version__}.dist-info", "migopy_pytest"], sorted(tops))

    def test_help_prints_a_page_of_what_is_installed(self) -> None:
        self.run_python("-m", "pip", "install", "--quiet", "--no-deps", str(self.wheel))
        (installed,) = (self.folder / "venv" / "lib").glob("python*/site-packages")
        project = self.folder / "project"
        project.mkdir()
        (project / "fabfile.py").write_text(FABFILE)
        shown = subprocess.run(
            [sys.executable, str(FAB), "--hide=status", "migrations:help,batches"],
            cwd=project,
            env={**clean_environment(), "PYTHONPATH": os.fspath(installed), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        ).stdout
        self.assertEqual(f"{installed}/migopy/__init__.py\n{PAGES['batches']}", shown)

    def test_an_index_shows_the_readme_without_what_lies_beside_it(self) -> None:
        with zipfile.ZipFile(self.wheel) as packed:
            (name,) = [name for name in packed.namelist() if name.endswith(".dist-info/METADATA")]
            metadata = email.message_from_bytes(packed.read(name))
        self.assertEqual("text/markdown", metadata["Description-Content-Type"])
        description = metadata.get_payload(decode=True).decode()  # type: ignore[union-attr]
        self.assertEqual([], re.findall(r"\]\((?!https?:)[^)]*\)", description))
        self.assertIn("- batches: a collection of any size", description)
        self.assertIn("`fab migrations:help,batches` prints ", description)
        code = r"(?ms)^```\w+\n.*?^```$"
        self.assertEqual(re.findall(code, README), re.findall(code, description))
