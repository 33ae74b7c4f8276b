"""Tests that need no server and no fab: python -m unittest tests.test_units"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():  # Fabric and its Paramiko warn of themselves when they are imported
    warnings.simplefilter("ignore")
    import fabric.main  # noqa: F401

from tests import load_folder
from tests.reaper import reaper

reaper()  # whose folder is that of all temporary files

load_tests = load_folder(__file__)
