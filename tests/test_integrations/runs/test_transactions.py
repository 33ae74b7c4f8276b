"""up(db, session): the migration and its registration happen together, or not at all."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from tests.server import Mongod, Proxy, Server, shared_replica_set, wait_for
from tests.support import Project, RunTestCase, until_file

IN_TRANSACTION = "db, session"

# Into the fabfile: what the client sends, one command a line, in the file "commands".
LISTENING = """
import json
import os
import pymongo.monitoring

class Listener(pymongo.monitoring.CommandListener):
    def started(self, event):
        command = {key: value for key, value in event.command.items()}
        with open(os.path.join(os.path.dirname(__file__), "commands"), "a") as file:
            file.write(json.dumps([event.command_name, command], default=str) + "\\n")
    def succeeded(self, event): pass
    def failed(self, event): pass

Migrations.MONGO_CLIENT_OPTIONS = {"event_listeners": [Listener()]}
"""


class TransactionTestCase(RunTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def setUp(self) -> None:
        super().setUp()
        self.abort_transactions_after(3)  # those of a killed client; until then they block others
        self.addCleanup(self.abort_transactions_after, 60)
        self.make_for_transactions("attempts", "back", "copies", "numbers", "ran", "seen")

    def abort_transactions_after(self, seconds: int) -> None:
        self.client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=seconds)

    def transactional(self, project: Project, name: str, then: str = "", down: str = "pass") -> None:
        self.counting(project, name, then, IN_TRANSACTION, down)


class TestTransactions(TransactionTestCase):
    def test_the_history_is_written_first_and_together_with_the_migration(self) -> None:
        project = self.project()
        inside = (
            "found = db.migrations.find_one({'name': '1_both.py'}, session=session)\n"
            "db.seen.insert_one({'inside': bool(found), 'outside': bool(db.migrations.find_one({}))}, session=session)"
        )
        self.transactional(project, "1_both.py", inside)
        self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual((["1_both.py"], ["1_both.py"]), (self.ran(), self.registered()))
        self.assertEqual([(True, False)], [(seen["inside"], seen["outside"]) for seen in self.db.seen.find()])
        self.assertIsInstance(self.db.migrations.find_one()["seconds"], float)  # type: ignore[index]

    def test_a_failure_leaves_nothing_of_it(self) -> None:
        project = self.project()
        self.counting(project, "1_ok.py")
        self.transactional(project, "2_fails.py", "raise ValueError('half way')")
        self.counting(project, "3_last.py")
        result = project.fab("migrations:execute")
        self.assert_code(1, result)
        self.assertIn("2_fails.py failed (line 3, ValueError: half way): it is not registered", result.stderr)
        self.assertEqual((["1_ok.py"], ["1_ok.py"]), (self.ran(), self.registered()))
        self.assertEqual(["failed"], self.logged())
        self.assertIsNone(self.lock())

    def test_rollback_in_a_transaction(self) -> None:
        project = self.project()
        down = "db.ran.delete_many({'name': '1_both.py'}, session=session)\n"
        self.transactional(project, "1_both.py", down=down + "raise ValueError('half way')")
        self.assert_code(0, project.fab("migrations:execute"))
        self.assert_code(1, project.fab("migrations:rollback,1"))
        self.assertEqual((["1_both.py"], ["1_both.py"]), (self.ran(), self.registered()))
        self.assertEqual(["rollback failed"], self.logged())
        self.transactional(project, "1_both.py", down=down)
        self.assert_code(0, project.fab("migrations:rollback,1"))
        self.assertEqual(([], []), (self.ran(), self.registered()))
        self.assertEqual(["rollback failed", "rolled back"], self.logged())

    def test_killed_inside_it_is_simply_executed_again(self) -> None:
        project = self.project(LOCK_LEASE=2)
        self.transactional(project, "1_dies.py", "import os, signal\nos.killpg(0, signal.SIGKILL)")
        self.assertEqual(-signal.SIGKILL, project.fab("migrations:execute").code)
        self.transactional(project, "1_dies.py")
        self.counting(project, "2_last.py")
        self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual((["1_dies.py", "2_last.py"],) * 2, (self.ran(), self.registered()))
        self.assertEqual(["interrupted"], self.logged())
        self.assert_code(0, project.fab("migrations:check"))

    def test_killed_in_down_it_is_simply_rolled_back_again(self) -> None:
        project = self.project(LOCK_LEASE=2)
        down = "db.ran.delete_many({}, session=session)\n"
        self.transactional(project, "1_dies.py", down=down + "import os, signal\nos.killpg(0, signal.SIGKILL)")
        self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual(-signal.SIGKILL, project.fab("migrations:rollback,1").code)
        self.assertEqual((["1_dies.py"], ["1_dies.py"]), (self.ran(), self.registered()))
        self.transactional(project, "1_dies.py", down=down)
        self.assert_code(0, project.fab("migrations:rollback,last=1"))
        self.assertEqual(([], []), (self.ran(), self.registered()))

    def test_index_building_gets_mongodbs_error_and_our_sentence(self) -> None:
        project = self.project()
        self.db.full.insert_one({})
        for forbidden in ("db.full.create_index('a', session=session)", "db.full.drop(session=session)"):
            self.transactional(project, "1_index.py", forbidden)
            result = project.fab("migrations:execute")
            self.assert_code(1, result)
            self.assertIn("OperationFailure", result.stderr)
            self.assertIn("MongoDB cannot do that in a transaction: remove the parameter session", result.stderr)
            self.assertEqual(([], []), (self.ran(), self.registered()))

    def test_a_transient_error_begins_up_again_and_it_happens_once(self) -> None:
        project = self.project()
        self.db.contested.insert_one({"_id": 1})
        conflict = (
            "import pymongo\n"
            "if not db.attempts.count_documents({}):\n"
            f"    with pymongo.MongoClient({self.server.uri!r}) as another:\n"
            "        another[db.name].attempts.insert_one({})\n"
            "        db.contested.find_one({}, session=session)\n"
            "        another[db.name].contested.update_one({'_id': 1}, {'$set': {'by': 'another'}})\n"
            "db.contested.update_one({'_id': 1}, {'$set': {'by': 'us'}}, session=session)"
        )
        self.transactional(project, "1_conflict.py", conflict)
        self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual((["1_conflict.py"], ["1_conflict.py"]), (self.ran(), self.registered()))
        self.assertEqual("us", self.db.contested.find_one()["by"])  # type: ignore[index]

    def test_reads_of_the_primary_whatever_the_uri_says(self) -> None:
        separator = "&" if "?" in self.server.uri else "?"
        options = "readPreference=secondaryPreferred&readConcernLevel=available&w=0"
        project = self.project(MONGO_URI=self.server.uri + separator + options)
        self.db.numbers.insert_one({"n": 1})
        reading = (
            "found = db.numbers.find_one({}, session=session)\ndb.copies.insert_one({'n': found['n']}, session=session)"
        )
        self.transactional(project, "1_reads.py", reading, down="db.copies.find_one({}, session=session)")
        self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual(([1], ["1_reads.py"]), (self.db.copies.distinct("n"), self.registered()))
        self.assert_code(0, project.fab("migrations:rollback,1"))
        self.assertEqual([], self.registered())

    def test_ctrl_c_inside_leaves_nothing(self) -> None:
        project = self.project()
        go = project.path / "go"
        self.transactional(project, "1_waits.py", f"open({str(project.path / 'in')!r}, 'w').close()\n" + until_file(go))
        process = project.fab_start("migrations:execute")
        wait_for("migration", (project.path / "in").exists)
        os.killpg(process.pid, signal.SIGINT)
        self.assert_code(1, self.end_of(process))
        self.assertEqual(([], [], ["stopped"], None), (self.ran(), self.registered(), self.logged(), self.lock()))
        go.touch()
        self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual((["1_waits.py"], ["1_waits.py"]), (self.ran(), self.registered()))


class TestBrokenLock(TransactionTestCase):
    """Two owners at once, because somebody has deleted or replaced the lock: exactly once all the same."""

    def setUp(self) -> None:
        super().setUp()
        self.abort_transactions_after(60)

    def two_owners(self, lease: float, replace: bool) -> None:
        project = self.project(LOCK_LEASE=lease)
        entered = project.path / "entered"
        waiting = f"open({str(entered)!r}, 'a').close()\n" + until_file(project.path / "go")
        self.transactional(project, "1_once.py", waiting)
        self.counting(project, "2_last.py", arguments=IN_TRANSACTION)
        self.db.create_collection("migrations")
        self.db.ran.create_index("name")  # which makes it, where it is not there
        first = project.fab_start("migrations:execute")
        wait_for("migration", entered.exists)
        if replace:
            broken = {"token": "nobody", "expires_at": self.lock()["since"]}
            self.db.migrations_lock.replace_one({"_id": "lock"}, broken)
        second = project.fab_start("migrations:execute")

        def second_has_it() -> Any:
            self.db.migrations_lock.delete_one({"pid": first.pid})  # again: the first one writes it again
            return self.db.migrations_lock.find_one({"pid": second.pid})

        wait_for("second owner", second_has_it)
        time.sleep(2 * lease / 3 if lease < 10 else 1)
        project.write("go", "")
        results = [self.end_of(first), self.end_of(second)]
        self.assertIn(3, [result.code for result in results], results)
        self.assertLessEqual({result.code for result in results}, {0, 3}, results)
        self.assertEqual((1, ["1_once.py"]), (self.ran().count("1_once.py"), self.registered()[:1]), results)
        self.assert_code(0, project.fab("migrations:execute"))
        self.assertEqual((["1_once.py", "2_last.py"],) * 2, (self.ran(), self.registered()))

    def test_replaced_and_noticed_by_the_renewal(self) -> None:
        self.two_owners(lease=3, replace=True)

    def test_deleted_and_not_noticed(self) -> None:
        self.two_owners(lease=60, replace=False)

    def test_replaced(self) -> None:
        self.two_owners(lease=60, replace=True)

    def test_stopped_past_the_lease_while_another_run_takes_over(self) -> None:
        project = self.project(LOCK_LEASE=2)
        entered = project.path / "entered"
        waiting = f"open({str(entered)!r}, 'a').close()\n" + until_file(project.path / "go")
        self.transactional(project, "1_once.py", waiting)
        first = project.fab_start("migrations:execute")
        wait_for("migration", entered.exists)
        os.killpg(first.pid, signal.SIGSTOP)
        project.write("go", "")
        second = project.fab_start("migrations:execute")
        self.wait_for_lock(pid=second.pid)
        time.sleep(1)
        os.killpg(first.pid, signal.SIGCONT)
        self.assert_code(3, self.end_of(first))
        self.assert_code(0, self.end_of(second))
        self.assertEqual((["1_once.py"], ["1_once.py"]), (self.ran(), self.registered()))


class TestWithoutTransactions(RunTestCase):
    """A standalone server has none."""

    def test_nothing_runs(self) -> None:
        project = self.project()
        self.counting(project, "1_plain.py")
        self.counting(project, "2_both.py", arguments=IN_TRANSACTION)
        for subtask in ("execute", "execute,2"):
            result = project.fab(f"migrations:{subtask}")
            self.assert_code(1, result)
            self.assertIn("2_both.py", result.stderr)
            self.assertIn("transaction", result.stderr)
            self.assertIn("neither a replica set nor a sharded cluster", result.stderr)
            self.assertEqual(([], [], []), (self.ran(), self.registered(), self.logged()))
            self.assertIsNone(self.lock())

    def test_nothing_is_rolled_back(self) -> None:
        project = self.project()
        self.counting(project, "1_plain.py", down="db.back.insert_one({})")
        self.counting(project, "2_plain.py", down="db.back.insert_one({})")
        self.assert_code(0, project.fab("migrations:execute"))
        self.counting(project, "1_plain.py", arguments=IN_TRANSACTION)
        self.assert_code(1, project.fab("migrations:rollback,last=2"))
        self.assertEqual(["1_plain.py", "2_plain.py"], self.registered())
        self.assertEqual(0, self.db.back.count_documents({}))


class TestConcerns(TransactionTestCase):
    """Majority, whatever the URI says."""

    def test_history_lock_and_log_are_written_and_read_with_majority(self) -> None:
        separator = "&" if "?" in self.server.uri else "?"
        options = "w=1&readConcernLevel=local&readPreference=secondaryPreferred"
        project = self.project(MONGO_URI=self.server.uri + separator + options)
        project.write("fabfile.py", (project.path / "fabfile.py").read_text() + LISTENING)
        self.counting(project, "1_plain.py")
        self.counting(project, "2_both.py", arguments=IN_TRANSACTION)
        for subtask in ("execute", "rollback,last=2", "ignore", "forget,1", "history"):
            self.assert_code(0, project.fab(f"migrations:{subtask}"))
        self.counting(project, "1_plain.py", "raise ValueError()")
        self.assert_code(1, project.fab("migrations:execute"))
        lines = (project.path / "commands").read_text().splitlines()
        commands = [tuple(json.loads(line)) for line in lines]
        checked = set()
        for name, command in commands:
            ours = str(command.get(name, "")).startswith("migrations")
            in_transaction = "autocommit" in command
            if name == "commitTransaction":
                self.assertEqual("majority", command["writeConcern"]["w"], command)
                self.assertTrue(command["writeConcern"]["j"], command)
            elif ours and not in_transaction and name in ("insert", "update", "delete", "findAndModify"):
                self.assertEqual("majority", command["writeConcern"]["w"], command)
                self.assertIn("wtimeout", command["writeConcern"])
                self.assertTrue(command["writeConcern"]["j"], "on a standalone 4.2 majority does not mean the journal")
            elif ours and not in_transaction and name in ("find", "aggregate"):
                self.assertEqual("majority", command["readConcern"]["level"], command)
                mode = command.get("$readPreference", {"mode": "primary"})["mode"]
                self.assertEqual("primary", mode, command)
            else:
                continue
            checked.add((name, command.get(name)))
        collections = {"migrations", "migrations_log", "migrations_lock", "migrations_batches"}
        self.assertEqual(collections, {collection for _, collection in checked if isinstance(collection, str)})
        self.assertTrue(any(name == "commitTransaction" for name, _ in checked))


class TestLostCommit(TransactionTestCase):
    def test_a_network_that_breaks_inside_is_no_half_migration(self) -> None:
        member = shared_replica_set()
        with Proxy(member.host, member.port) as proxy:
            uri = f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true"
            project = self.project(MONGO_URI=uri, LOCK_LEASE=60)
            entered = project.path / "entered"
            waiting = f"open({str(entered)!r}, 'a').close()\n" + until_file(project.path / "go")
            self.transactional(project, "1_once.py", waiting)
            process = project.fab_start("migrations:execute")
            wait_for("migration", entered.exists)
            proxy.cut()
            proxy.resume()
            project.write("go", "")
            result = self.end_of(process)
        self.assertIn(result.code, (0, 1), result.output)
        if result.code:
            self.assertEqual(([], []), (self.ran(), self.registered()))
            self.assert_code(0, project_again(self, project).fab("migrations:execute"))
        self.assertEqual((["1_once.py"], ["1_once.py"]), (self.ran(), self.registered()))


def project_again(test_case: RunTestCase, project: Project) -> Project:
    """The same migrations with a straight way to the server."""
    again = test_case.project()
    for path in (project.path / "mongomigrations").glob("*.py"):
        again.write(f"mongomigrations/{path.name}", path.read_text())
    return again
