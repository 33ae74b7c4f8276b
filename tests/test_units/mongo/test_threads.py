"""Threads that start later, or never."""

from __future__ import annotations

import functools
import gc
import subprocess
import sys
import threading
import unittest
import weakref
from typing import Any

from migopy.mongo.threads import end, start_later
from tests.server import wait_for

IN_A_FORK = """
import os, threading
from migopy.mongo.threads import end, start_later

start_later(60, print, threading.Event(), "of the parent")
if not os.fork():
    began = threading.Event()
    start_later(0.01, began.set, threading.Event(), "of the child")
    os._exit(0 if began.wait(20) else 1)
print(os.wait()[1])
"""


def _work(client: object, started: threading.Event) -> None:
    started.set()


def _is_gone(reference: weakref.ref[Any]) -> bool:
    gc.collect()
    return reference() is None


class TestStartLater(unittest.TestCase):
    def test_they_start_at_their_time_unless_they_have_ended(self) -> None:
        ran: list[str] = []
        last = threading.Event()

        def run() -> None:
            ran.append(threading.current_thread().name)
            if len(ran) == 2:
                last.set()

        ended = threading.Event()
        start_later(0.3, run, threading.Event(), "second")
        start_later(0.05, run, ended, "never")
        end(ended)
        start_later(0.1, run, threading.Event(), "first")
        self.assertTrue(last.wait(20))
        self.assertEqual(["first", "second"], ran)

    def test_what_has_ended_keeps_nothing_alive(self) -> None:
        class Client:
            """Something that a run uses."""

        for seconds, starts in ((60.0, False), (0.0, True)):
            client, ended, started = Client(), threading.Event(), threading.Event()
            start_later(seconds, functools.partial(_work, client, started), ended, "migopy test")
            self.assertTrue(not starts or started.wait(20))
            end(ended)
            reference = weakref.ref(client)
            del client
            wait_for("its end", functools.partial(_is_gone, reference))

    def test_a_forked_process_starts_its_own(self) -> None:
        command = [sys.executable, "-c", IN_A_FORK]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8", timeout=60)
        self.assertEqual("0\n", found.stdout)
