"""What dies, fails or loses its server: nothing is executed twice, or left unregistered, without a word."""

from __future__ import annotations

import os
import random
import re
import secrets
import signal
import socket
import threading
import time
from typing import Any

from tests.server import Mongod, Proxy, Server, wait_for
from tests.support import Result, RunTestCase, three_members, until_file

DIE = "import os, signal\nos.killpg(0, signal.SIGKILL)\n"

QUICKLY = {"serverSelectionTimeoutMS": 1000}  # PyMongo's own 30 seconds are only longer

REPAIR = re.compile(r"fab (migrations:(execute|ignore|rollback|forget),([a-z0-9_]+\.py))")


def commands_in(result: Result) -> dict[str, str]:
    """The commands that a message names as ways on, by subtask."""
    return {subtask: command for command, subtask, _ in REPAIR.findall(result.stderr)}


class KillTestCase(RunTestCase):
    kills = 3

    def kill_at_random(self) -> None:
        left = {"nothing": 0, "a rest": 0, "interrupted": 0}
        for _ in range(30 if self.IN_FULL else self.kills):
            seed = secrets.randbelow(10**9)
            print(f"{self.id()}: seed {seed}")
            with self.subTest(seed=seed):
                left[self.kill_at_random_and_repair(random.Random(seed))] += 1
            self.client.drop_database(self.database)
        print(f"{self.id()}: the kills left {left}")

    def kill_at_random_and_repair(self, chance: random.Random) -> str:
        project = self.project(LOCK_LEASE=2)
        names = self.counting_ones(project, 50, "__import__('time').sleep(0.01)")
        process = project.fab_start("migrations:execute")
        number = chance.randint(0, len(names))
        wait_for(f"{number} in ran", lambda: self.db.ran.count_documents({}) >= number)
        time.sleep(chance.uniform(0, 0.05))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        left = "a rest" if len(self.registered()) < len(names) else "nothing"
        reported: set[str] = set()
        for _ in range(5):
            result = project.fab("migrations:execute")
            if result.code == 0:
                break
            left = "interrupted"
            name = REPAIR.findall(result.stderr)[0][2]
            reported.add(name)
            self.assertIn(f"{name} was interrupted", result.stderr)
            # "Check the data": a person would see whether it ran, or repeat it all the same.
            way = "ignore" if name in self.ran() and chance.random() < 0.7 else "execute"
            self.assert_code(0, project.fab(commands_in(result)[way]))
        self.assertEqual(names, self.registered())
        ran = self.ran()
        self.assertEqual(set(names), set(ran))
        self.assertEqual(set(), {name for name in names if ran.count(name) > 1} - reported, "twice unreported")
        self.assert_code(0, project.fab("migrations:check"))
        return left


class TestKill(KillTestCase):
    """kill -9, on a standalone server."""

    def test_killed_in_up_it_is_interrupted_and_naming_it_goes_on(self) -> None:
        for way, times in (("execute", 2), ("ignore", 1)):
            project = self.project(LOCK_LEASE=60)
            names = self.counting_ones(project, 2)
            self.counting(project, "3_dies.py", DIE)
            self.counting(project, "4_last.py")
            self.assertEqual(-signal.SIGKILL, project.fab("migrations:execute").code)
            self.counting(project, "3_dies.py")
            waiting = project.fab_start("migrations:execute")
            assert waiting.stderr is not None
            self.assertRegex(waiting.stderr.readline(), r"Waiting for .*execute of 3_dies.py")
            self.let_lease_run_out()
            result = self.end_of(waiting)
            self.assert_code(1, result)
            self.assertRegex(result.stderr, r"3_dies.py was interrupted: it may be half applied, or still be running")
            self.assertEqual(["interrupted"], self.logged(name="3_dies.py"))
            self.assertIsNone(self.lock())
            status = project.fab("migrations")
            self.assert_code(0, status)
            self.assertIn("3_dies.py was interrupted", status.stderr)
            self.assert_code(1, project.fab("migrations:execute,to=4"))  # it stops there each time
            self.assertEqual([*names, "3_dies.py"], self.ran())
            command = commands_in(result)[way]
            self.assert_code(0, project.fab(command, "migrations:execute", "migrations:check"))
            self.assertEqual([*names, *["3_dies.py"] * times, "4_last.py"], self.ran())
            self.client.drop_database(self.database)

    def test_those_before_an_interrupted_one_are_executed_first(self) -> None:
        project = self.project(LOCK_LEASE=60)
        self.counting(project, "2_dies.py", DIE)
        project.fab("migrations:execute")
        self.let_lease_run_out()
        self.counting(project, "1_new.py")
        self.counting(project, "3_last.py")
        self.assert_code(1, project.fab("migrations:execute"))
        self.assertEqual(["1_new.py", "2_dies.py"], self.ran())
        self.assertEqual(["1_new.py"], self.registered())

    def test_status_says_it_before_the_next_run_does(self) -> None:
        project = self.project(LOCK_LEASE=2)
        self.counting(project, "1_dies.py", DIE)
        project.fab("migrations:execute")
        self.let_lease_run_out()
        self.assertIn("1_dies.py was interrupted", project.fab("migrations").stderr)
        self.assertEqual([], self.logged())

    def test_killed_in_down_it_is_interrupted(self) -> None:
        project = self.project(LOCK_LEASE=2)
        self.counting(project, "1_first.py", down="db.back.insert_one({'name': '1_first.py'})\n" + DIE)
        self.assert_code(0, project.fab("migrations:execute"))
        project.fab("migrations:rollback,1")
        self.let_lease_run_out()
        self.assertEqual(["1_first.py"], self.registered())
        result = project.fab("migrations:rollback,last=1")
        self.assert_code(1, result)
        self.assertIn("1_first.py was interrupted", result.stderr)
        self.assertEqual(1, self.db.back.count_documents({}))
        commands = commands_in(result)
        self.counting(project, "1_first.py", down="db.back.insert_one({'name': '1_first.py'})\n")
        self.assert_code(0, project.fab(commands["rollback"]))
        self.assertEqual([], self.registered())
        self.assertEqual(["interrupted", "rolled back"], self.logged())

    def test_killed_at_random_moments_and_repaired_as_the_messages_say(self) -> None:
        self.kill_at_random()


class TestKillOnReplicaSet(KillTestCase):
    """kill -9, on a replica set of three members."""

    kills = 1

    def test_killed_at_random_moments_and_repaired_as_the_messages_say(self) -> None:
        self.kill_at_random()

    def find_server(self) -> Server | Mongod:
        return Server(three_members().uri)


class TestFailure(RunTestCase):
    """up() or down() raises."""

    def test_the_run_stops_at_the_first_failure(self) -> None:
        project = self.project()
        self.counting(project, "1_ok.py")
        self.counting(project, "2_fails.py", "raise ValueError('no such thing')")
        self.counting(project, "3_last.py")
        self.counting(project, "4_last.py")
        result = project.fab("migrations:execute")
        self.assert_code(1, result)
        self.assertIn("2_fails.py failed (line 3, ValueError: no such thing): it is not registered", result.stderr)
        self.assertIn("2 after it did not run", result.stderr)
        self.assertIn("Traceback", result.stderr)
        self.assertEqual(["1_ok.py", "2_fails.py"], self.ran())
        self.assertEqual(["1_ok.py"], self.registered())
        self.assertEqual(["failed"], self.logged(name="2_fails.py"))
        self.assertIsNone(self.lock())
        self.assertRegex(project.fab("migrations").stderr, "2_fails.py: failed .*ValueError: no such thing")
        self.counting(project, "2_fails.py")
        result = project.fab("migrations:execute")
        self.assert_code(0, result)
        self.assertRegex(result.stderr, "2_fails.py: failed .*; it runs again from the start")
        self.assertEqual(["1_ok.py", "2_fails.py", "2_fails.py", "3_last.py", "4_last.py"], self.ran())

    def test_a_migration_that_exits_ends_fab_with_a_failure(self) -> None:
        for exiting in ("import sys\nsys.exit()", "from fabric.api import abort\nabort('no')"):
            project = self.project()
            self.counting(project, "1_exits.py", exiting)
            result = project.fab("migrations:execute")
            self.assertEqual((["failed"], []), (self.logged(), self.registered()))
            self.assertIn("1_exits.py failed", result.stderr)
            self.assertIsNone(self.lock())
            self.assert_code(1, result)
            self.client.drop_database(self.database)

    def test_a_failed_rollback_stays_registered_and_is_shown(self) -> None:
        project = self.project()
        self.counting(project, "1_ok.py", down="raise ValueError('no way back')")
        self.assert_code(0, project.fab("migrations:execute"))
        result = project.fab("migrations:rollback,1")
        self.assert_code(1, result)
        self.assertIn("1_ok.py failed (line 6, ValueError: no way back): it stays registered", result.stderr)
        self.assertEqual(["1_ok.py"], self.registered())
        self.assertEqual(["rollback failed"], self.logged())
        self.assertRegex(project.fab("migrations").stderr, "1_ok.py: rollback failed .*no way back")
        self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual(["1_ok.py"], self.ran())
        self.counting(project, "1_ok.py")
        self.assert_code(0, project.fab("migrations:rollback,1"))
        self.assertEqual([], self.registered())
        self.assertEqual(["rollback failed", "rolled back"], self.logged())

    def test_nothing_runs_when_a_later_file_is_broken(self) -> None:
        project = self.project()
        self.counting(project, "1_ok.py")
        project.write("mongomigrations/2_broken.py", "def up(db:\n")
        self.assert_code(1, project.fab("migrations:execute"))
        self.assertEqual([], self.ran())
        self.assertIsNone(self.lock())


class TestServerGoesAway(RunTestCase):
    """A server of its own, which dies."""

    def find_server(self) -> Server | Mongod:
        mongod = Mongod()
        self.addCleanup(mongod.close)
        mongod.start()
        self.mongod = mongod
        self.addCleanup(self.bring_back)  # the database is dropped afterwards
        return mongod

    def killing(self) -> str:
        """A piece of up() that kills the server."""
        assert self.mongod.process is not None
        pid = self.mongod.process.pid
        return f"import os, signal, time\nos.kill({pid}, signal.SIGKILL)\ntime.sleep(0.5)\n"

    def bring_back(self) -> None:
        self.mongod.kill()
        self.mongod.start()

    def test_between_up_and_registering_the_sentence_says_so(self) -> None:
        project = self.project(LOCK_LEASE=2, MONGO_CLIENT_OPTIONS=QUICKLY)
        self.counting(project, "1_ok.py")
        self.counting(project, "2_kills.py", "__import__('time').sleep(0.5)\n" + self.killing())
        self.counting(project, "3_last.py")
        result = project.fab("migrations:execute", timeout=120)
        self.assertIn(result.code, (1, 3), result.output)
        self.assertIn("2_kills.py was executed, but it could not be registered", result.stderr)
        self.assertEqual("migrations:ignore,2_kills.py", commands_in(result)["ignore"])
        self.bring_back()
        self.assertEqual((["1_ok.py", "2_kills.py"], ["1_ok.py"]), (self.ran(), self.registered()))
        again = project.fab("migrations:execute")
        self.assert_code(1, again)
        self.assertIn("2_kills.py was interrupted", again.stderr)
        self.assertEqual(["1_ok.py", "2_kills.py"], self.ran())
        self.assert_code(0, project.fab(commands_in(result)["ignore"], "migrations:execute", "migrations:check"))
        self.assertEqual(["1_ok.py", "2_kills.py", "3_last.py"], self.ran())

    def test_between_up_and_registering_and_back_within_the_lease_it_is_registered(self) -> None:
        project = self.project(LOCK_LEASE=60)
        go = project.path / "go"
        self.counting(project, "1_waits.py", "__import__('time').sleep(0.5)\n" + self.killing() + until_file(go))
        process = project.fab_start("migrations:execute")
        assert self.mongod.process is not None
        self.mongod.process.wait()
        go.touch()
        time.sleep(0.5)
        self.bring_back()
        self.assert_code(0, self.end_of(process))
        self.assertEqual((["1_waits.py"], ["1_waits.py"]), (self.ran(), self.registered()))
        self.assertIsNone(self.lock())

    def test_during_up(self) -> None:
        project = self.project(LOCK_LEASE=2, MONGO_CLIENT_OPTIONS=QUICKLY)
        self.counting(
            project,
            "1_kills.py",
            "__import__('time').sleep(0.5)\n" + self.killing() + "db.ran.insert_one({'name': '1_kills.py'})\n",
        )
        result = project.fab("migrations:execute", timeout=120)
        self.assert_code(1, result)
        self.assertIn("1_kills.py failed", result.stderr)
        self.assertIn("it is not registered", result.stderr)
        self.assertIn("The log could not be written either", result.stderr)
        self.assertIn(
            "What it had changed stays. Once MongoDB answers, check the data, then fab migrations:execute,1_kills.py",
            result.stderr,
        )
        self.assertNotIn("Topology", result.stderr)
        self.bring_back()
        again = project.fab("migrations:execute")
        self.assert_code(1, again)
        self.assertIn("1_kills.py was interrupted", again.stderr)
        self.assertEqual((["1_kills.py"], []), (self.ran(), self.registered()))

    def test_what_a_dying_server_had_acknowledged_is_not_lost_unnoticed(self) -> None:
        project = self.project(LOCK_LEASE=2, MONGO_CLIENT_OPTIONS=QUICKLY)
        self.counting_ones(project, 9)
        assert self.mongod.process is not None
        project.migration("10_kills.py", f"import os\nos.kill({self.mongod.process.pid}, 9)\ndb.x.insert_one({{}})")
        result = project.fab("migrations:execute", timeout=120)
        self.assertEqual(9, result.stderr.count("Executed "), result.output)
        self.bring_back()
        project.migration("10_kills.py")
        registered, ran = self.registered(), self.ran()
        again = project.fab("migrations:execute")
        twice = {name for name in ran if self.ran().count(name) > 1}
        self.assertEqual(set(), twice, again.output)
        self.assertEqual(9, len(registered), f"said to be executed, and after a crash of the server: {registered}")

    def test_a_second_ctrl_c_while_it_waits_for_the_server_to_register(self) -> None:
        """The first is held back as long as the migration is not registered; with the second nobody waits longer."""
        with LosesReply(self.server, b"") as proxy:
            project = self.project(LOCK_LEASE=60, MONGO_URI=proxy.uri)
            self.counting(project, "1_waits.py", until_file(project.path / "go"))
            process = project.fab_start("migrations:execute")
            self.wait_until_in("1_waits.py")
            proxy.cut()
            project.write("go", "")
            time.sleep(1)
            result = self.end_of_pressed_twice(process, timeout=20)  # PyMongo would look for a server for 30 s
            proxy.resume()
        self.assertNotEqual(0, result.code)
        self.assertEqual((["1_waits.py"], []), (self.ran(), self.registered()))
        other = self.project(LOCK_LEASE=60, LOCK_WAIT=0)
        self.counting(other, "1_waits.py")
        again = other.fab("migrations", "migrations:execute")
        self.assertEqual(["1_waits.py"], self.ran(), f"executed twice unnoticed, after:\n{result}\n{again}")
        self.assertIn("1_waits.py was executed", result.stderr)

    def test_a_second_ctrl_c_while_it_waits_for_the_server_to_log(self) -> None:
        """What has failed is said, and neither the log nor the end of the client's sessions is waited for."""
        with LosesReply(self.server, b"") as proxy:
            for break_off in (proxy.cut, proxy.stop_forwarding):
                with self.subTest(break_off.__name__):
                    project = self.project(LOCK_LEASE=60, MONGO_URI=proxy.uri)
                    self.counting(project, "1_waits.py", until_file(project.path / "go"))
                    process = project.fab_start("migrations:execute")
                    self.wait_until_in("1_waits.py")
                    break_off()
                    result = self.end_of_pressed_twice(process, timeout=20)
                    proxy.resume()
                    self.assert_code(1, result)
                    self.assertRegex(
                        result.stderr,
                        r"1_waits\.py was stopped by Ctrl-C \(line \d+\): it is not registered\. .* It may"
                        r" be missing from the log\.\n\nStopped",
                    )
                    self.client.drop_database(self.database)


class TestLostReply(RunTestCase):
    """The server did it, and the network dies before it says so."""

    def test_of_registering(self) -> None:
        with LosesReply(self.server, b"\x02insert\x00\x0b\x00\x00\x00migrations\x00") as proxy:
            project = self.project(MONGO_URI=proxy.uri, LOCK_LEASE=60)
            names = self.counting_ones(project, 2)
            result = project.fab("migrations:execute")
            self.assertTrue(proxy.lost.is_set())
        self.assert_code(0, result)
        self.assertEqual((names, names), (self.ran(), self.registered()))

    def test_of_unregistering(self) -> None:
        with LosesReply(self.server, b"\x02delete\x00\x0b\x00\x00\x00migrations\x00") as proxy:
            project = self.project(MONGO_URI=proxy.uri)
            self.counting(project, "1_ok.py", down="db.back.insert_one({})")
            self.assert_code(0, project.fab("migrations:execute"))
            result = project.fab("migrations:rollback,1")
            self.assertTrue(proxy.lost.is_set())
        self.assertEqual(1, self.db.back.count_documents({}))
        self.assertEqual([], self.registered())
        if result.code:
            self.assertIn("down() of 1_ok.py has run, but it could not be unregistered", result.stderr)

    def test_of_taking_the_lock(self) -> None:
        with LosesReply(self.server, b"findAndModify\x00\x10\x00\x00\x00migrations_lock\x00") as proxy:
            project = self.project(MONGO_URI=proxy.uri, LOCK_LEASE=2)
            names = self.counting_ones(project, 2)
            first = project.fab("migrations:execute")
            self.assertTrue(proxy.lost.is_set())
            if first.code:
                self.assertEqual([], self.ran())
                self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual((names, names), (self.ran(), self.registered()))
        self.assertEqual([], self.logged())

    def dead_and_taken_over_by_a_dead_one(self) -> None:
        """A run dies in 1_dies.py, and the one who takes over dies too, before it has logged what it found."""
        project = self.project(LOCK_LEASE=2)
        self.counting(project, "1_dies.py", DIE)
        project.fab("migrations:execute")
        self.let_lease_run_out()
        with LosesReply(self.server, b"interrupted", kill=True) as proxy:
            other = self.project(LOCK_LEASE=2, MONGO_URI=proxy.uri)
            self.counting(other, "1_dies.py")
            second = other.fab_start("migrations:execute")
            proxy.wait()
            os.killpg(second.pid, signal.SIGKILL)
            second.wait()
        self.db.migrations_log.delete_many({})

    def assert_stops_at(self, name: str) -> None:
        project = self.project(LOCK_LEASE=2)
        self.counting(project, name)
        result = project.fab("migrations:execute")
        self.assertEqual([name], self.ran(), f"executed twice unnoticed:\n{result}")
        self.assert_code(1, result)
        self.assertIn(f"{name} was interrupted", result.stderr)

    def test_a_second_death_before_it_was_logged_does_not_forget_the_first(self) -> None:
        self.dead_and_taken_over_by_a_dead_one()
        self.let_lease_run_out()
        self.assert_stops_at("1_dies.py")

    def test_unlock_after_a_second_death_does_not_forget_the_first(self) -> None:
        self.dead_and_taken_over_by_a_dead_one()
        project = self.project(LOCK_LEASE=2)
        self.counting(project, "1_dies.py")
        self.assert_code(0, project.fab("migrations:unlock,force=yes"))
        self.assert_stops_at("1_dies.py")

    def test_of_unlock(self) -> None:
        project = self.project(LOCK_LEASE=60)
        self.counting(project, "1_dies.py", DIE)
        project.fab("migrations:execute")
        with LosesReply(self.server, b"findAndModify\x00\x10\x00\x00\x00migrations_lock\x00") as proxy:
            other = self.project(MONGO_URI=proxy.uri)
            self.counting(other, "1_dies.py")
            self.assert_code(1, other.fab("migrations:unlock,force=yes"))
            self.assertTrue(proxy.lost.is_set())
        self.let_lease_run_out()  # unlock has not come to give it back
        self.assert_stops_at("1_dies.py")


class LosesReply(Proxy):
    """A proxy that loses the reply to the first message with these bytes in it, and the connection with it.

    With `kill` the message itself does not arrive either, and nothing else passes from then on.
    """

    def __init__(self, server: Any, message: bytes, kill: bool = False) -> None:
        super().__init__(server.host, server.port)
        self.uri = f"mongodb://{self.host}:{self.port}/"
        self.lost = threading.Event()
        self._message = message
        self._kill = kill
        self._losing: set[socket.socket] = set()

    def __enter__(self) -> LosesReply:
        self.resume()
        return self

    def wait(self) -> None:
        assert self.lost.wait(60), "The message did not come."

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        super()._pump(_Watched(self, source, target), target)  # type: ignore[arg-type]

    def seen(self, data: bytes, source: socket.socket, target: socket.socket) -> bytes:
        """What to pass on of what has come."""
        if source in self._losing:
            return b""
        if self._message and self._message in data and not self.lost.is_set():
            self.lost.set()
            if self._kill:
                self.stop_forwarding()
            else:
                self._losing.add(target)
        return data


class _Watched:
    """A socket whose owner sees what comes out of it."""

    def __init__(self, proxy: LosesReply, source: socket.socket, target: socket.socket) -> None:
        self._proxy, self._source, self._target = proxy, source, target

    def recv(self, size: int) -> bytes:
        return self._proxy.seen(self._source.recv(size), self._source, self._target)

    def close(self) -> None:
        self._source.close()

    def __hash__(self) -> int:
        return hash(self._source)

    def __eq__(self, other: object) -> bool:
        return self._source == other
