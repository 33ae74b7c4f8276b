"""What Ctrl-C, SIGTERM and a lost terminal leave behind."""

from __future__ import annotations

import io
import os
import signal
import subprocess
from contextlib import redirect_stderr
from typing import Any
from unittest.mock import patch

from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from migopy.terminal import signals
from tests.cases import DumpTestCase, InProcessTestCase
from tests.server import Mongod, Server, shared_replica_set, wait_for
from tests.support import Result, commands_of, until_file

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# As threading has them, with a signal before the line that knows of the lock, or that would give it back.
TAKING = """
import os, signal, threading

def __enter__(self):
    threading.Condition.__enter__ = enter
    taken = self._lock.__enter__()
    os.kill(os.getpid(), signal.{kind})
    return taken

def __exit__(self, *error):
    threading.Condition.__exit__ = leave
    os.kill(os.getpid(), signal.{kind})
    return self._lock.__exit__(*error)

enter, leave = threading.Condition.__enter__, threading.Condition.__exit__
threading.Condition.{function} = {function}
for _ in range(100):
    db.ran.find_one()
import time
time.sleep(60)
"""


SLOW = """
db.slow.update_many({{'$where': 'sleep(50) || true'}}, {{'$set': {{'done': True}}}}{more})
"""
"""50 ms for each document."""


class TestSignals(DumpTestCase):
    def end(self, process: subprocess.Popen[str], number: signal.Signals) -> Result:
        """Ctrl-C goes to all in the terminal, the other signals to fab alone."""
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
        result = self.end_of(process)
        self.assertNotEqual(0, result.code)
        return result

    def test_in_up(self) -> None:
        for number in ENDS:
            project = self.project()
            self.counting(project, "1_waits.py", until_file(project.path / "go"))
            self.counting(project, "2_last.py")
            process = project.fab_start("migrations:execute")
            self.wait_until_in("1_waits.py")
            result = self.end(process, number)
            self.assert_code(1, result)
            self.assertIn("1_waits.py was stopped by ", result.stderr)
            self.assertIn("it is not registered", result.stderr)
            self.assertIsNone(self.lock())
            self.assertEqual((["stopped"], []), (self.logged(), self.registered()))
            self.assertIn("1_waits.py: stopped by ", project.fab("migrations").stderr)
            self.assertRegex(
                project.fab("migrations:history,1").stdout, r"(?m)^stopped .* by (Ctrl-C|SIGTERM|a lost terminal)$"
            )
            self.assertEqual(["1_waits.py"], self.ran())
            self.client.drop_database(self.database)

    def test_what_the_server_does_for_up_ends_with_it(self) -> None:
        """It would go on beside the next run, and a transaction could be given up only when it had ended."""
        for uri, arguments in ((self.server.uri, ""), (shared_replica_set().uri, ", session")):
            for number in (signal.SIGINT, signal.SIGTERM):
                client: MongoClient[Any] = MongoClient(uri)
                with self.subTest(arguments=arguments, number=number), client:
                    self.assert_ended(client, uri, arguments, number)
                    client.drop_database(self.database)

    def assert_ended(self, client: MongoClient[Any], uri: str, arguments: str, number: signal.Signals) -> None:
        db = client[self.database]
        db.slow.insert_many([{} for _ in range(1000)])
        project = self.project(MONGO_URI=uri)
        more = ", session=session" if arguments else ""
        project.migration("1_slow.py", SLOW.format(more=more), down=None, arguments=f"db{arguments}")
        process = project.fab_start("migrations:execute")
        wait_for("update", lambda: commands_of(client, db.slow.full_name))
        result = self.end(process, number)
        self.assert_code(1, result)
        self.assertIn("1_slow.py was stopped by ", result.stderr)
        self.assertEqual([], commands_of(client, self.database))
        self.assertEqual(0, db.migrations_lock.count_documents({}))
        self.assertLess(db.slow.count_documents({"done": True}), 1000)

    def test_a_handler_of_the_teams_that_exits(self) -> None:
        self.db.slow.insert_many([{} for _ in range(1000)])
        handler = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        project = self.project(more=f"\n{handler}")
        project.migration("1_slow.py", SLOW.format(more=""), down=None)
        process = project.fab_start("migrations:execute")
        wait_for("update", lambda: commands_of(self.client, self.db.slow.full_name))
        self.assert_code(5, self.end(process, signal.SIGTERM))
        self.assertEqual([], commands_of(self.client, self.database))
        self.assertIsNone(self.lock())

    def test_a_timeout_of_the_teams_says_that_the_server_may_go_on(self) -> None:
        self.db.slow.insert_many([{} for _ in range(100)])
        project = self.project(MONGO_CLIENT_OPTIONS={"socketTimeoutMS": 500})
        project.migration("1_slow.py", SLOW.format(more=""), down=None)
        result = project.fab("migrations:execute")
        self.assert_code(1, result)
        self.assertIn("MongoDB may still be working on it: check db.currentOp()", result.stderr)
        self.assertIsNone(self.lock())

    def test_while_pymongo_takes_a_lock_or_gives_it_back(self) -> None:
        """It would stay taken, and what is written about the end would wait for it for ever."""
        for kind in ("SIGINT", "SIGTERM"):
            for function in ("__enter__", "__exit__"):
                project = self.project()
                self.counting(project, "1_taking.py", TAKING.format(kind=kind, function=function))
                result = project.fab("migrations:execute", timeout=20)
                self.assert_code(1, result)
                by = {"SIGINT": "Ctrl-C"}.get(kind, kind)
                self.assertIn(f"1_taking.py was stopped by {by} (line ", result.stderr)
                self.assertEqual((["stopped"], [], None), (self.logged(), self.registered(), self.lock()))
                self.client.drop_database(self.database)

    def test_in_down(self) -> None:
        project = self.project()
        self.counting(project, "1_ok.py", down="db.back.insert_one({})\n" + until_file(project.path / "go"))
        self.assert_code(0, project.fab("migrations:execute"))
        process = project.fab_start("migrations:rollback,1")
        wait_for("down()", lambda: self.db.back.count_documents({}))
        result = self.end(process, signal.SIGTERM)
        self.assertIn("it stays registered", result.stderr)
        self.assertIsNone(self.lock())
        self.assertEqual((["rollback stopped"], ["1_ok.py"]), (self.logged(), self.registered()))

    def test_during_the_dump(self) -> None:
        for number, send in ((signal.SIGINT, os.killpg), (signal.SIGTERM, os.killpg), (signal.SIGTERM, os.kill)):
            project = self.project(DO_MONGO_DUMP=True)
            self.counting_ones(project, 1)
            process = project.fab_start("migrations:execute", env=self.with_tools(project, STANDIN_SLEEP="600"))
            self.wait_for_call(project)
            send(process.pid, number)
            with self.subTest(number, send=send):
                self.assert_code(1, self.end_of(process))
                self.assertIsNone(self.lock())
                self.assertEqual(1, len(self.ended_calls(project)))
                self.assertEqual([], self.dumps(project))
                self.assertEqual(([], []), (self.ran(), self.registered()))

    def test_while_waiting(self) -> None:
        holder = self.project()
        self.counting(holder, "1_holds.py", until_file(holder.path / "go"))
        first = holder.fab_start("migrations:execute")
        self.wait_until_in("1_holds.py")
        for number in ENDS:
            second = holder.fab_start("migrations:execute")
            assert second.stderr is not None
            self.assertIn("Waiting for", second.stderr.readline())
            self.end(second, number)
            self.assertEqual(first.pid, self.lock()["pid"])
        holder.write("go", "")
        self.assert_code(0, self.end_of(first))
        self.assertEqual((["1_holds.py"], ["1_holds.py"]), (self.ran(), self.registered()))
        self.assertIsNone(self.lock())


class CtrlCAtCommit(CommandListener):
    """The server has committed, and PyMongo has not said so yet."""

    def started(self, event: Any) -> None: ...

    def succeeded(self, event: Any) -> None:
        if event.command_name == "commitTransaction":
            os.kill(os.getpid(), signal.SIGINT)

    def failed(self, event: Any) -> None: ...


class TestWhileATransactionCommits(InProcessTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def interrupted(self) -> str:
        """What was said of a migration whose commit has been interrupted."""
        self.begin_anew()
        self.counting(self.team, "1_once.py", arguments="db, session")
        stderr = io.StringIO()
        with redirect_stderr(stderr), self.assertRaises(KeyboardInterrupt):
            of = self.manager(MONGO_CLIENT_OPTIONS={"event_listeners": [CtrlCAtCommit()]})
            of.create_task()("execute")
        self.assertIsNone(self.lock())
        return stderr.getvalue()

    def test_it_is_said_to_be_registered_and_it_is(self) -> None:
        said = self.interrupted()
        self.assertIn("the migration is registered", said)
        self.assertNotIn("not registered", said)
        self.assertEqual((["1_once.py"], ["1_once.py"]), (self.ran(), self.registered()))

    def test_where_nobody_waits_for_the_answer_it_is_not_known(self) -> None:
        with patch.object(signals, "HOLD_BACK_SECONDS", 0):
            said = self.interrupted()
        self.assertIn("it is not known whether its transaction was committed, check fab migrations.", said)
        self.assertNotIn("registered", said)
        self.assertEqual(0, self.run_task("execute").code)
        self.assertEqual((["1_once.py"], ["1_once.py"]), (self.ran(), self.registered()))
