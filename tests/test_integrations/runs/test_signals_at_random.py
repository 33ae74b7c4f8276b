"""Signals at random moments of runs of short migrations: what is left behind is whole, and what was said of it true."""

from __future__ import annotations

import random
import re
import secrets
import signal
import time
from typing import Callable

from tests.server import Mongod, Server, shared_replica_set, wait_for
from tests.support import Project, Result, RunTestCase

BEGINS = """
    @classmethod
    def task_hook(cls, subtask, option):
        cls.logger.white("begins")
"""

ANNOUNCED = re.compile(r"(?m)^Executing migration (\S+)\.\.\.")
EXECUTED = re.compile(
    r"(?m)^Executed (\S+) in |^(\S+) was stopped by .*: it was in after_each\(\), the migration is registered"
)
FAILED = re.compile(r"(?m)^(\S+) was stopped by .*: it is not registered")

KINDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

MIGRATIONS = 30


class TestSignalsAtRandom(RunTestCase):
    """On a standalone server."""

    each, in_full = 2, 300
    arguments = "db"
    goes_on = False

    def test_after_each_end_all_is_in_order_and_the_next_execute_goes_on(self) -> None:
        left = {"all": 0, "a rest": 0, "failed": 0}
        for kind in KINDS:
            for trial in range(self.in_full if self.IN_FULL else self.each):
                seed = secrets.randbelow(10**9)
                print(f"{self.id()}: {kind.name}, seed {seed}")
                if not self.goes_on:
                    self.begin_anew()
                with self.subTest(kind=kind.name, pair=trial % 2, seed=seed):
                    self.goes_on = False  # where this one fails, the next is not to blame
                    left[self.one_trial(kind, trial % 2 == 1, random.Random(seed))] += 1
                    self.goes_on = len(self.registered()) < MIGRATIONS
        print(f"{self.id()}: the signals left {left}")
        if self.goes_on:
            self.end_well()

    def begin_anew(self) -> None:
        self.client.drop_database(self.database)
        self.team = self.project(BEGINS)
        self.names = self.counting_ones(self.team, MIGRATIONS)

    def counting_ones(self, project: Project, number: int, then: str = "") -> list[str]:
        names = [f"{position}_counts.py" for position in range(1, number + 1)]
        for name in names:
            self.counting(project, name, then, self.arguments)
        return names

    def one_trial(self, kind: signal.Signals, pair: bool, chance: random.Random) -> str:
        """One run that goes on with what the last one has left, and one or two signals; what they have left."""
        registered, ran, events = set(self.registered()), self.ran(), len(self.logged())
        result = self.signalled(kind, pair, chance, of=MIGRATIONS - len(registered))
        self.assertIsNone(self.lock(), result)
        now_registered = set(self.registered()) - registered
        now_ran = self.ran()
        for name in ran:
            now_ran.remove(name)
        began = ANNOUNCED.findall(result.stderr)
        failed = FAILED.findall(result.stderr)
        self.assertEqual(now_registered, {one or other for one, other in EXECUTED.findall(result.stderr)}, result)
        self.assertEqual(len(set(now_ran)), len(now_ran), f"Twice in one run: {result}")
        self.assertLessEqual(now_registered, set(now_ran), result)
        self.assertLessEqual(set(now_ran) - now_registered, set(failed), f"Ran and nobody said so: {result}")
        self.assertLessEqual(set(failed), set(began[-1:]), f"Failed and never begun: {result}")
        self.assertEqual(["stopped"] * len(failed), self.logged()[events:], result)
        self.assertNotIn("interrupted", result.stderr)
        if result.code == 0:
            self.assertEqual(set(self.names), now_registered | registered, result)
        return "failed" if failed else "all" if len(self.registered()) == MIGRATIONS else "a rest"

    def signalled(self, kind: signal.Signals, pair: bool, chance: random.Random, of: int) -> Result:
        """What a run of so many migrations left behind that got a signal, or two, at a moment of its way.

        The moments are counted in the lines that it has said, the first of which comes before it connects.
        """
        lines = chance.randint(1, 2 * of + 2)
        said = self.team.path / "said"
        with said.open("wb") as stderr:
            process = self.team.fab_start("migrations:execute", stderr=stderr.fileno())
        has_come = moment(lambda: process.poll() is not None or said.read_bytes().count(b"\n") >= lines)
        wait_for(f"{lines} lines", has_come)
        time.sleep(chance.uniform(0, 0.2 if lines == 1 else 0.01))
        process.send_signal(kind)
        if pair:
            time.sleep(chance.uniform(0.002, 0.05))
            process.send_signal(kind)
        result = self.end_of(process)
        return Result(result.code, result.stdout, said.read_text())

    def end_well(self) -> None:
        """Nothing is in the way of what is left, and nothing of what went before is held against anybody."""
        self.assert_code(0, self.team.fab("migrations:execute", "migrations:check"))
        self.assertEqual(set(self.names), set(self.registered()))


class TestInTransactions(TestSignalsAtRandom):
    """On a replica set: what failed has left nothing."""

    each, in_full = 1, 60
    arguments = "db, session"

    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def one_trial(self, kind: signal.Signals, pair: bool, chance: random.Random) -> str:
        left = super().one_trial(kind, pair, chance)
        self.assertEqual(set(self.registered()), set(self.ran()))
        self.assertEqual(len(self.registered()), len(self.ran()))
        return left


def moment(has_come: Callable[[], bool]) -> Callable[[], bool]:
    """Look closer than `wait_for()` does, and give in to it now and then."""

    def look() -> bool:
        until = time.monotonic() + 1
        while not has_come():
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        return True

    return look
