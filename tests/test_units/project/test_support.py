from __future__ import annotations

import re
import shutil
import tempfile
import unittest
from pathlib import Path

from tests.support import MIGOPY, PLUGIN, TOP, migopy_of_fab, require_same_files


class TestTheMigopyOfFab(unittest.TestCase):
    def copy(self) -> Path:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        shutil.copytree(PLUGIN, folder.name, dirs_exist_ok=True)
        return shutil.copytree(MIGOPY, Path(folder.name) / "migopy")

    def test_it_is_that_of_this_checkout(self) -> None:
        require_same_files(migopy_of_fab())

    def test_a_copy_of_this_checkout_will_do(self) -> None:
        require_same_files(self.copy())

    def test_another_one_is_refused_with_its_place(self) -> None:
        changed, shorter = self.copy(), self.copy()
        (changed / "lazy.py").write_text("LEASE = 0\n")
        (shorter / "lazy.py").unlink()
        for other in (changed, shorter):
            with self.assertRaisesRegex(AssertionError, rf"runs the migopy in {other}, whose lazy\.py is not that of"):
                require_same_files(other)


class TestTheEnvironmentsOfTox(unittest.TestCase):
    def test_each_module_of_the_tests_runs_in_one_of_them(self) -> None:
        named = re.findall(r"tests\.test_integrations[.\w]*", (TOP / "tox.ini").read_text(encoding="utf-8"))
        files = (TOP / "tests" / "test_integrations").rglob("test_*.py")
        modules = {".".join(path.relative_to(TOP).with_suffix("").parts) for path in files}
        self.assertLess(50, len(modules))
        for module in modules:
            self.assertTrue(any(f"{module}.".startswith(f"{name}.") for name in named), module)
        for name in named:
            self.assertTrue(any(f"{module}.".startswith(f"{name}.") for module in modules), name)
