"""A fab that the fork server starts is what a cold one is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any
from unittest import TestCase

from tests.fork_server import ForkedFab, can_fork
from tests.support import Project, clean_environment

FACTS = """
import json, os, random, re, signal, sys, tempfile, threading, warnings
from pathlib import Path


def shown(stream):
    lines = stream.line_buffering, stream.write_through, stream.newlines
    return [stream.fileno(), stream.encoding, stream.errors, stream.isatty(), stream.name, stream.mode, *lines]


def facts():
    found = {
        "arguments": sys.argv,
        "path": sys.path,
        "folder": os.getcwd(),
        "variables": {name: value for name, value in os.environ.items() if name != "_"},
        "streams": [shown(stream) for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "first streams": [sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
        "open": sorted(os.listdir("/proc/self/fd")),
        "handlers": {name: str(signal.getsignal(getattr(signal, name))) for name in ("SIGINT", "SIGTERM", "SIGHUP")},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "ignored": re.findall("SigIgn.*", Path("/proc/self/status").read_text()),
        "leads": [os.getpid() == os.getsid(0), os.getpid() == os.getpgrp()],
        "parent": os.getppid(),
        "threads": [thread.name for thread in threading.enumerate()],
        "temporary files": tempfile.gettempdir(),
        "options": sys.warnoptions,
        "name": __name__,
        "flags": str(sys.flags),
        "main": sys.modules["__main__"].__name__,
    }
    with open("facts", "w") as file:
        json.dump(found, file)
    with open("random", "a") as file:
        print(random.random(), file=file)


def reads():
    print(sys.stdin.read())


def warns():
    warnings.warn("something", UserWarning)


def exits():
    sys.exit(7)


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def waits():
    import time
    print("here", flush=True)
    time.sleep(600)


def prints():
    import atexit
    atexit.register(print, "in the end")
    print("to stdout")
    sys.stderr.write("to stderr")
"""


class TestForkServer(TestCase):
    maxDiff = None

    def setUp(self) -> None:
        if not can_fork({}):
            self.skipTest("Without Linux, or with MIGOPY_TESTS_COLD, every fab is a cold one.")
        self.team = Project(self, FACTS)

    def facts(self, terminal: bool, cold: bool) -> Any:
        run = self.team.fab_in_terminal if terminal else self.team.fab
        result = run("facts", env={"OWN": "zażółć"}, cold=cold)
        self.assertEqual(0, result.code, result.output)
        return json.loads((self.team.path / "facts").read_text())

    def test_it_finds_what_a_cold_one_finds(self) -> None:
        for terminal in (False, True):
            with self.subTest(terminal=terminal):
                self.assertEqual(self.facts(terminal, cold=True), self.facts(terminal, cold=False))
        numbers = (self.team.path / "random").read_text().splitlines()
        self.assertEqual((4, 4), (len(numbers), len(set(numbers))))

    def test_it_ends_as_a_cold_one_ends(self) -> None:
        for words in (["prints"], ["warns"], ["exits"], ["dies"], ["nothing"], ["-l"], ["reads"], ["--nonsense"]):
            with self.subTest(words):
                cold, forked = (self.team.fab(*words, input="typed", cold=cold) for cold in (True, False))
                self.assertEqual(cold, forked)

    def test_codes_of_ends(self) -> None:
        codes = [self.team.fab(task).code for task in ("prints", "warns", "exits", "dies", "nothing")]
        self.assertEqual([0, 1, 7, -signal.SIGKILL, 1], codes)

    def test_ctrl_c(self) -> None:
        for cold in (True, False):
            process = self.team.fab_start("waits", cold=cold)
            assert process.stdout is not None
            while process.stdout.readline() != "here\n":
                pass
            os.killpg(process.pid, signal.SIGINT)
            stderr = process.communicate()[1]
            self.assertEqual((1, "\nStopped.\n"), (process.returncode, stderr))

    def test_only_a_fab_that_reads_nothing_else_at_its_start_is_forked(self) -> None:
        for own, cold, is_forked in (
            ({}, False, True),
            ({"PATH": "/"}, False, True),
            ({}, True, False),
            ({"PYTHONWARNINGS": ""}, False, False),
            ({"LANG": "C"}, False, False),
        ):
            process: subprocess.Popen[str] = self.team.fab_start("-l", env=own, cold=cold)
            self.assertEqual(is_forked, isinstance(process, ForkedFab))
            process.communicate()
        self.assertIn("error", clean_environment()["PYTHONWARNINGS"])
