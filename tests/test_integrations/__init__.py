"""Tests with a real MongoDB, a real fab and a real sshd: python -m unittest tests.test_integrations"""

from __future__ import annotations

import signal
import warnings

with warnings.catch_warnings():  # Fabric and its Paramiko warn of themselves when they are imported
    warnings.simplefilter("ignore")
    import fabric.main  # noqa: F401

from tests import load_folder

# What a shell starts in the background ignores Ctrl-C, under nohup also SIGHUP, and so would every fab started here.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

load_tests = load_folder(__file__)
