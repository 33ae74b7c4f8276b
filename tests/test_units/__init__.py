"""Tests that need no server and no fab: python -m unittest tests.test_units"""

from __future__ import annotations

import unittest
import warnings
from pathlib import Path

with warnings.catch_warnings():  # Fabric and its Paramiko warn of themselves when they are imported
    warnings.simplefilter("ignore")
    import fabric.main  # noqa: F401

from tests.reaper import reaper

reaper()  # whose folder is that of all temporary files


def load_tests(loader: unittest.TestLoader, tests: unittest.TestSuite, pattern: str | None) -> unittest.TestSuite:
    here = Path(__file__).parent
    return loader.discover(str(here), pattern or "test*.py", str(here.parent.parent))
