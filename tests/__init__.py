from __future__ import annotations

import unittest
from pathlib import Path
from typing import Callable

LoadTests = Callable[[unittest.TestLoader, unittest.TestSuite, "str | None"], unittest.TestSuite]


def load_folder(init_file: str) -> LoadTests:
    """The `load_tests` of a package with which `python -m unittest PACKAGE` runs all tests in its folder."""

    def load_tests(loader: unittest.TestLoader, tests: unittest.TestSuite, pattern: str | None) -> unittest.TestSuite:
        return loader.discover(str(Path(init_file).parent), pattern or "test*.py", str(Path(__file__).parent.parent))

    return load_tests
