"""What a run and other terminals say about a command that takes long."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

from tests.cases import InProcessTestCase
from tests.server import Mongod, Server, shared_replica_set, wait_for
from tests.support import FailingReplicaSetTestCase, Result

SOON = (
    "\nimport migopy.run.watcher as watcher\n"
    "watcher.LONG_SECONDS, watcher.LONG_COMMAND_SECONDS = 0.3, 0.1\n"
    "watcher.ASK_SECONDS, watcher.LOOK_SECONDS = 0.1, 0.05\n"
)


class LongCommandsTestCase(InProcessTestCase):
    def start(self, up: str, arguments: str = "db", **attributes: Any) -> subprocess.Popen[str]:
        """Start a run of one migration, which asks the server soon."""
        self.team.write("fabfile.py", self.fabfile(**attributes))
        self.team.migration("1_a.py", up, arguments=arguments)
        return self.team.fab_start("migrations:execute")

    def fabfile(self, **attributes: Any) -> str:
        settings = {"MONGO_URI": self.server.uri, "MONGO_DATABASE": self.database, **attributes}
        lines = "".join(f"    {name} = {value!r}\n" for name, value in settings.items())
        of_class = f"import migopy\n\n\nclass Migrations(migopy.MigrationsManager):\n{lines}\n"
        return f"{of_class}\nmigrations = Migrations.create_task()\n{SOON}"

    def wait_for_status(self, regex: str) -> None:
        """Wait until `fab migrations` in another terminal shows this about the run."""
        shown: list[str] = []

        def is_shown() -> bool:
            shown[:] = [self.run_task("show_status").stderr]
            return bool(re.search(f"(?m)^1_a.py: {regex}$", shown[0]))

        try:
            wait_for("status", is_shown, timeout=20)
        except TimeoutError:
            self.fail(f"{regex} is not in {shown}")

    def finish(self, process: subprocess.Popen[str]) -> Result:
        result = self.end_of(process)
        self.assert_code(0, result)
        self.assertEqual(["1_a.py"], self.registered())
        return result


class TestWaitingForMember(FailingReplicaSetTestCase, LongCommandsTestCase):
    def test_an_index_that_a_stopped_member_does_not_build(self) -> None:
        self.db.users.insert_many([{"a": n} for n in range(100)])
        member = next(m for m in self.replica_set.members if m is not self.replica_set.primary())
        member.kill()
        process = self.start("db.users.create_index('a')")
        sentence = rf"createIndexes of users, for [^:]+: waiting for {member.host}:{member.port} of the replica set"
        self.wait_for_status(sentence)
        doing = json.loads(self.run_task("show_status", json="yes").stdout)["lock"]["doing"]
        self.assertRegex(doing, sentence)
        member.start()
        self.assertRegex(self.finish(process).stderr, f"(?m)^1_a.py: {sentence}$")

    def test_a_write_that_too_few_members_have(self) -> None:
        self.db.users.insert_one({"_id": 1})
        member = next(m for m in self.replica_set.members if m is not self.replica_set.primary())
        member.kill()
        options = {"wtimeout": 2000, "w": 3}
        up = (
            "import pymongo\n"
            f"users = db.users.with_options(write_concern=pymongo.WriteConcern(**{options}))\n"
            "try:\n"
            "    users.update_one({'_id': 1}, {'$set': {'a': 2}})\n"
            "except pymongo.errors.WriteConcernError:\n"
            "    pass"
        )
        self.assertRegex(
            self.finish(self.start(up)).stderr,
            rf"(?m)^1_a.py: update of users, for [^:]+: waiting until {member.host}:{member.port} of the"
            " replica set have it$",
        )


class TestInServer(LongCommandsTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_a_lock_and_a_transaction_of_others(self) -> None:
        self.db.users.insert_many([{"_id": n} for n in range(2)])
        cases = {
            "db.users.create_index('a')": "createIndexes of users, for [^:]+: waiting for a lock that another .* holds",
            "db.users.update_one({'_id': 1}, {'$set': {'a': 2}})": r"update of users, for [^:]+: waiting for another"
            r" transaction \([\d,]+ conflicts\)",
            "db.users.rename('people')": "renameCollection of users, for [^:]+: waiting for a lock that .* holds",
        }
        for up, sentence in cases.items():
            with self.subTest(up):
                with self.client.start_session() as session, session.start_transaction():
                    self.db.users.update_one({"_id": 1}, {"$set": {"a": 1}}, session=session)
                    process = self.start(up)
                    self.wait_for_status(sentence)
                    session.abort_transaction()
                self.assertRegex(self.finish(process).stderr, f"(?m)^1_a.py: {sentence}$")
                self.db.migrations.delete_many({})

    def test_how_far_an_index_is(self) -> None:
        for begin in range(0, 300_000, 100_000):
            self.db.users.insert_many([{"_id": n, "a": n % 1000} for n in range(begin, begin + 100_000)])
        result = self.finish(self.start("db.users.create_index('a')\ndb.users.create_index([('a', -1), ('_id', 1)])"))
        self.assertRegex(
            result.stderr,
            r"(?m)^1_a.py: createIndexes of users, for [^:]+: \d+ % \([\d,]+ of 300,000, scanning collection\)$",
        )

    def test_what_is_over_is_not_shown_any_more(self) -> None:
        self.db.users.insert_one({"_id": 1})
        go = self.team.path / "go"
        with self.client.start_session() as session, session.start_transaction():
            self.db.users.update_one({"_id": 1}, {"$set": {"a": 1}}, session=session)
            wait = f"import os, time\nwhile not os.path.exists({str(go)!r}):\n    time.sleep(0.02)"
            process = self.start(f"db.users.update_one({{'_id': 1}}, {{'$set': {{'a': 2}}}})\n{wait}")
            self.wait_for_status("update of users, for .*")
            session.abort_transaction()
        wait_for("end of that", lambda: "update of users" not in self.run_task("show_status").stderr)
        self.assertNotIn("doing", self.lock())
        go.touch()
        self.finish(process)

    def test_nothing_is_asked_about_what_is_quick(self) -> None:
        self.team.migration("1_a.py", "import time\nfor n in range(10):\n    db.ran.insert_one({}); time.sleep(0.1)")
        before = self.aggregations()
        self.assertEqual(0, self.run_task("execute").code)
        self.assertEqual(before, self.aggregations())

    def aggregations(self) -> int:
        """How often this server was asked for its operations."""
        stages = self.client.admin.command("serverStatus")["metrics"]["aggStageCounters"]
        return int(stages["$currentOp"])


class TestWithoutRights(LongCommandsTestCase):
    def find_server(self) -> Server | Mongod:
        mongod = Mongod(auth=True)
        self.addCleanup(mongod.close)
        mongod.start()
        return mongod

    def test_a_user_sees_the_own_command(self) -> None:
        self.db.users.insert_many([{"_id": n, "a": n % 1000} for n in range(300)])
        self.db.command("createUser", "ann", pwd="secret", roles=["readWrite"])
        uri = f"mongodb://ann:secret@{self.server.host}:{self.server.port}/?authSource={self.database}"
        slow = (
            "list(db.users.aggregate([{'$match': {'$expr': {'$function': {'body': wait, 'args': [], 'lang': 'js'}}}}]))"
        )
        process = self.start(f"wait = 'function() {{ sleep(10); return true }}'\n{slow}", MONGO_URI=uri)
        self.assertRegex(self.finish(process).stderr, r"(?m)^1_a.py: aggregate of users, for \S+ m?s$")
