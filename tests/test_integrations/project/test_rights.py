"""The rights that the table of their page names, on servers that let only users in."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
from typing import Any

from pymongo.errors import OperationFailure

from tests.cases import TRY_EACH, FabTestCase
from tests.documents import PAGES
from tests.server import ROOT_PASSWORD, ROOT_USER, Mongod, wait_for
from tests.support import Project, RunTestCase, commands_of

READING = [("show_status",), ("plan",), ("check", {"pending": "ok"}), ("history",), ("history", "1")]
WRITING = [
    ("execute", "1"),
    ("rollback", "1"),
    ("execute",),
    ("forget", "2"),
    ("ignore",),
    ("rollback", "1"),
    ("unlock", {"force": "yes"}),
]


def table() -> dict[str, dict[str, set[str]]]:
    """The actions that the page names, by the subtasks of the row and the collection."""
    head, _, *rows = re.search(r"(?m)^\| subtasks \|.*\n(?:\|.*\n)+", PAGES["rights"])[0].splitlines()  # type: ignore[index]
    collections = re.findall(r"`(\w+)`", head)
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {
        subtasks: {
            name: set(re.findall(r"find|insert|update|remove", cell)) for name, cell in zip(collections, actions)
        }
        for subtasks, *actions in cells
    }


class RightsTestCase(FabTestCase):
    mongod: Mongod

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.mongod = cls.make_server()
        cls.addClassCleanup(cls.mongod.close)

    @classmethod
    def make_server(cls) -> Mongod:
        mongod = Mongod(auth=True)
        mongod.start()
        return mongod

    def find_server(self) -> Mongod:
        return self.mongod

    def user_with(self, actions: dict[str, set[str]]) -> None:
        """The user, with a role of exactly these actions on our collections, and all on what migrations write."""
        of_migrations = {name: {"find", "insert", "remove"} for name in ("notes", "ran")}
        given = {name: sorted(found) for name, found in {**actions, **of_migrations}.items() if found}
        privileges = [
            {"resource": {"db": self.database, "collection": name}, "actions": found} for name, found in given.items()
        ]
        self.forget_user()
        self.db.command("createRole", "ours", privileges=privileges, roles=[])
        self.db.command("createUser", "ann", pwd="secret", roles=["ours"])
        self.addCleanup(self.forget_user)

    def forget_user(self) -> None:
        with contextlib.suppress(OperationFailure):
            self.db.command("dropUser", "ann")
        with contextlib.suppress(OperationFailure):
            self.db.command("dropRole", "ours")

    def team_with(self) -> Project:
        user: dict[str, Any] = {"MONGO_USER": "ann", "MONGO_USER_PASSWORD": "secret", "LOCK_WAIT": 1}
        return self.noting(self.project(more=TRY_EACH, **user), "1_a.py", "2_b.py")

    def codes(self, project: Project, subtasks: list[Any]) -> list[int]:
        return [attempt.code for attempt in self.attempts(project, *subtasks)]

    def assert_all_work(self, project: Project, subtasks: list[Any]) -> None:
        attempts = self.attempts(project, *subtasks)
        self.assertEqual([0] * len(subtasks), [attempt.code for attempt in attempts], attempts)


class TestRights(RightsTestCase):
    def test_read_is_enough_to_read_and_readwrite_for_all(self) -> None:
        for role, subtasks in (("read", READING), ("readWrite", READING + WRITING)):
            self.forget_user()
            self.db.command("createUser", "ann", pwd="secret", roles=[role])
            self.assert_all_work(self.team_with(), subtasks)
        self.forget_user()

    def test_the_actions_of_the_table_are_enough(self) -> None:
        rows = table()
        self.assertEqual(6, len(rows))
        reading, creating, writing, accepting, operating, unlocking = rows.values()
        self.user_with(reading)
        self.assert_all_work(self.team_with(), READING)
        self.user_with(creating)
        self.assert_all_work(self.team_with(), [("create", "words")])
        self.user_with({**writing, "migrations": writing["migrations"] - {"update"}})
        self.assert_all_work(self.team_with(), WRITING[:-1])
        self.db.migrations.update_many({}, {"$set": {"checksum": "another"}, "$unset": {"code_checksum": 1}})
        self.user_with(accepting)
        self.assert_all_work(self.team_with(), [("accept", "2")])
        self.user_with(operating)
        self.leave_a_lock()
        self.db.migrations_lock.update_one(
            {}, [{"$set": {"expires_at": {"$add": ["$$NOW", 60_000]}, "batches": ["1_a.py"]}}]
        )
        for attempt in self.attempts(self.team_with(), ("pause",), ("resume",), ("stop",)):
            self.assertRegex(attempt.stderr, "Asked me@here .* to (pause|resume|stop)\n")
        self.user_with(unlocking)
        self.leave_a_lock()
        self.assert_all_work(self.team_with(), WRITING[-1:])

    def test_they_are_enough_too_when_a_migration_has_failed(self) -> None:
        reading, _, writing, *_ = table().values()
        self.user_with({**writing, "migrations": writing["migrations"] - {"update"}})
        team = self.team_with()
        team.migration("2_b.py", "1 / 0", "pass")
        self.assertEqual([1, 0], self.codes(team, [("execute",), ("rollback", "1")]))
        self.user_with(reading)
        shown = self.attempts(team, *READING, ("show_status",))
        self.assertEqual([0, 0, 0, 0, 0, 0], [attempt.code for attempt in shown], shown)
        self.assertIn("2_b.py: failed on", shown[-1].stderr)
        self.user_with({**writing, "migrations": writing["migrations"] - {"update"}})
        self.noting(team, "2_b.py")
        self.assert_all_work(team, [("execute", "1"), ("rollback", "1"), ("ignore",), ("forget", "2")])

    def test_they_are_enough_to_end_what_the_server_still_does_after_ctrl_c(self) -> None:
        self.db.notes.insert_many([{} for _ in range(200)])
        copy = f"{self.database}_rehearsal"
        self.addCleanup(self.client.drop_database, copy)
        self.user_with(table()["execute, ignore, rollback, forget"])
        self.db.command("grantRolesToUser", "ann", roles=["read", {"role": "dbOwner", "db": copy}])
        for subtask, database in (("execute", self.database), ("rehearse", copy)):
            team = self.team_with()
            team.migration("1_a.py", "db.notes.delete_many({'$where': 'sleep(50) || true'})", down=None)
            process = team.fab_start(f"migrations:{subtask}")
            wait_for("delete", functools.partial(commands_of, self.client, f"{database}.notes"))
            os.killpg(process.pid, signal.SIGINT)
            self.assertEqual(1, process.wait(20))
            process.communicate()
            self.assertEqual([], commands_of(self.client, database))
            self.assertNotIn(copy, self.client.list_database_names())
            self.assertLess(100, self.db.notes.count_documents({}))

    def leave_a_lock(self) -> None:
        now = self.client.admin.command("isMaster")["localTime"]
        holder = {"token": "x", "by": "me@here", "pid": 1, "subtask": "execute", "since": now, "expires_at": now}
        self.db.migrations_lock.replace_one({"_id": "lock"}, {**holder, "migrations": ["1_a.py"]}, upsert=True)

    def test_without_any_of_them_something_is_refused(self) -> None:
        """All of them in the full form, one of each collection else."""
        _, _, writing, *_, unlocking = table().values()
        without_transactions = {**writing, "migrations": writing["migrations"] - {"update"}}
        for actions, subtasks in ((without_transactions, WRITING[:-1]), (unlocking, WRITING[-1:])):
            for name, needed in actions.items():
                for action in sorted(needed)[: None if RunTestCase.IN_FULL else 1]:
                    with self.subTest(f"{subtasks[0][0]} without {action} on {name}"):
                        self.client.drop_database(self.database)
                        self.leave_a_lock()  # of a run that died, so that there is something to log from the beginning
                        self.user_with({**actions, name: needed - {action}})
                        self.assertNotEqual([0] * len(subtasks), self.codes(self.team_with(), subtasks))


class TestRightsInTransactions(RightsTestCase):
    @classmethod
    def make_server(cls) -> Mongod:
        """A replica set of one member that lets only users in; its first user is made by who sits at its machine."""
        mongod = Mongod(replica_set="rs0")
        key_file = mongod.folder / "key"
        key_file.write_text("c2VjcmV0" * 10)
        key_file.chmod(0o600)
        mongod.arguments = ["--keyFile", str(key_file)]
        mongod.start()
        with mongod.client() as client:
            member = {"_id": 0, "host": f"{mongod.host}:{mongod.port}"}
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
            wait_for("primary", lambda: client.admin.command("isMaster").get("ismaster"))
            client.admin.command("createUser", ROOT_USER, pwd=ROOT_PASSWORD, roles=["root"])
        mongod.has_root = True
        return mongod

    def test_they_need_to_update_what_they_have_registered(self) -> None:
        actions = table()["execute, ignore, rollback, forget"]
        if self.version < (4, 4):
            for name in ("migrations", "migrations_log"):
                actions[name] = actions[name] | {"createCollection"}
        self.db.create_collection("notes")
        for lacking, codes in ((set(), [0, 0]), ({"update"}, [1, 1])):
            self.user_with({**actions, "migrations": actions["migrations"] - lacking})
            project = self.team_with()
            project.migration("1_a.py", "db.notes.insert_one({}, session=session)", arguments="db, session")
            self.assertEqual(codes, self.codes(project, [("execute", "1"), ("rollback", "1")]))
