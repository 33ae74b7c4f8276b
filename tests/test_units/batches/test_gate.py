"""The gate between two batches, with several workers and a member of a replica set that falls behind."""

from __future__ import annotations

import threading
import unittest
from typing import Any

from migopy.batches.control import NoControl
from migopy.batches.gate import Gate, WalkEnded
from migopy.batches.lag import Lag, ReplicaSet
from migopy.store.checkpoints import Progress

PROGRESS = Progress("1_first.py", "blog.users", 0, None, 0.0)


class SlowMember(ReplicaSet):
    """A replica set with one secondary."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def largest_lag(self) -> Lag:
        return Lag("b:27017", self.seconds)


def do_nothing(*_: Any) -> None: ...


class TestGate(unittest.TestCase):
    def gate(self, lag: float) -> Gate:
        gate = Gate(do_nothing, do_nothing, do_nothing, 10, NoControl(), SlowMember(lag))
        gate.wait(PROGRESS, 0)
        return gate

    def at_once(self, gate: Gate) -> bool:
        """Whether two workers may write a batch at the same time."""
        began = threading.Event()

        def write() -> None:
            with gate.turn():
                began.set()

        with gate.turn():
            worker = threading.Thread(target=write)
            worker.start()
            is_beside = began.wait(0.1)
        worker.join()
        self.assertTrue(began.is_set())
        return is_beside

    def test_the_workers_take_turns_while_a_member_is_behind_by_half_of_what_is_allowed(self) -> None:
        self.assertTrue(self.at_once(self.gate(4)))
        self.assertFalse(self.at_once(self.gate(6)))

    def test_nothing_begins_once_it_is_closed(self) -> None:
        gate = self.gate(0)
        gate.close()
        with self.assertRaises(WalkEnded), gate.turn():
            self.fail("a batch has begun")
        with self.assertRaises(WalkEnded):
            gate.wait(PROGRESS, 0)
