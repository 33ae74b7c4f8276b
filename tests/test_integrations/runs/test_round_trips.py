from __future__ import annotations

from datetime import datetime, timezone
from typing import List, Tuple

from migopy.store.lock import TRUSTED_SECONDS
from tests.support import MongoTestCase, Project, basic_fabfile

LISTENER = """
from pymongo import monitoring


class Listener(monitoring.CommandListener):
    def started(self, event):
        with open({file!r}, "a") as commands:
            commands.write("%s %s\\n" % (event.command_name, event.command[event.command_name]))

    def succeeded(self, event):
        pass

    failed = succeeded


Migrations.MONGO_CLIENT_OPTIONS = {{"event_listeners": [Listener()]}}
"""

# What PyMongo says on its own to a server, PyMongo 3 with every new client.
OF_PYMONGO = ("ismaster", "hello", "endSessions", "ping")

Commands = List[Tuple[str, str]]

READS = [("aggregate", "migrations")]
"""One command reads all that a status shows."""


class TestRoundTrips(MongoTestCase):
    """What a fab sends, noted by PyMongo, and what it makes the server do, noted by the server's profiler."""

    def setUp(self) -> None:
        super().setUp()
        self.listening = Project(self, basic_fabfile(self.server, self.database))
        self.file = self.listening.path / "commands"
        fabfile = self.listening.path / "fabfile.py"
        fabfile.write_text(fabfile.read_text() + LISTENER.format(file=str(self.file)))

    def commands(self, *words: str) -> Commands:
        """The commands that a fab has sent to the server, each with its collection, in order."""
        self.file.write_text("")
        self.db.command("profile", 2)
        result = self.listening.fab(*words)
        self.db.command("profile", 0)
        self.assertEqual(0, result.code, result.output)
        lines = [line.partition(" ") for line in self.file.read_text().splitlines()]
        sent = [(command, collection) for command, _, collection in lines if command not in OF_PYMONGO]
        of_the_database = [command for command in sent if command[0] != "listDatabases"]
        self.assertEqual(of_the_database, self.profiled())
        return sent

    def profiled(self) -> Commands:
        """The same as the server has seen it, since the last call."""
        done = []
        for entry in self.db["system.profile"].find({"command.profile": {"$exists": False}}).sort("$natural", 1):
            collection = entry["ns"].partition(".")[2]
            name = {"update": "update", "remove": "delete"}.get(entry["op"]) or next(iter(entry["command"]))
            done.append((name, collection))
        self.db["system.profile"].drop()
        return done

    def migrations(self, count: int) -> None:
        for number in range(1, count + 1):
            self.listening.migration(f"{number}_a.py", "db.notes.insert_one({})")

    def register(self, count: int) -> None:
        self.db.migrations.insert_many([{"name": f"{number}_a.py"} for number in range(1, count + 1)])

    def test_the_status_is_one_read_however_many_migrations_there_are(self) -> None:
        for count in (1, 1500):  # only where nothing has ever happened it is asked whether there is such a database
            self.migrations(count)
            self.assertEqual([*READS, ("listDatabases", "1")], sorted(self.commands("migrations")))
        self.assertEqual([], self.db.list_collection_names())
        self.register(1500)
        self.db.migrations_log.insert_many(
            [{"event": "failed", "name": "1_a.py", "at": datetime.now(timezone.utc)} for _ in range(1500)]
        )
        self.assertEqual(READS, sorted(self.commands("migrations")))

    def test_execute_sends_one_insert_for_each_migration(self) -> None:
        self.migrations(150)
        fabfile = self.listening.path / "fabfile.py"  # on a slow machine the run would ask for its lock meanwhile
        fabfile.write_text(f"{fabfile.read_text()}\nfrom migopy.store import lock\nlock.TRUSTED_SECONDS = 600\n")
        self.assertEqual(
            [
                ("find", "migrations"),
                ("findAndModify", "migrations_lock"),
                ("aggregate", "migrations"),
                ("findAndModify", "migrations_lock"),
                *[("insert", "notes"), ("insert", "migrations")] * 150,
                ("delete", "migrations_lock"),
            ],
            self.commands("migrations:execute"),
        )

    def test_a_rollback_sends_two_words_for_each_migration(self) -> None:
        self.migrations(5)
        self.assertEqual(0, self.listening.fab("migrations:execute").code)
        self.assertEqual(
            [
                ("find", "migrations"),
                ("findAndModify", "migrations_lock"),
                ("aggregate", "migrations"),
                ("findAndModify", "migrations_lock"),
                *[("delete", "migrations"), ("update", "migrations_log")] * 5,
                ("delete", "migrations_lock"),
            ],
            self.commands("migrations:rollback,last=5"),
        )

    def test_a_migration_that_takes_long_asks_for_the_lock_before_it_is_registered(self) -> None:
        for number in (1, 2):
            self.listening.migration(f"{number}_a.py", f"import time\ntime.sleep({TRUSTED_SECONDS})")
        each = [("findAndModify", "migrations_lock"), ("insert", "migrations")]
        self.assertEqual([*each * 2, ("delete", "migrations_lock")], self.commands("migrations:execute")[-5:])

    def test_ignore_registers_all_in_one_insert(self) -> None:
        self.migrations(5)
        sent = self.commands("migrations:ignore")
        self.assertEqual(1, sent.count(("insert", "migrations")))
        self.assertEqual(5, self.db.migrations.count_documents({}))

    def test_with_nothing_to_do_one_read_is_enough_and_no_lock_is_taken(self) -> None:
        self.migrations(1500)
        self.register(1500)
        for subtask in ("execute", "ignore"):
            self.assertEqual([("find", "migrations")], self.commands(f"migrations:{subtask}"))
        self.assertEqual(["migrations"], self.db.list_collection_names())

    def test_what_only_reads_creates_nothing(self) -> None:
        self.migrations(2)
        subtasks = ["show_status", "plan", "history", "help", "show_status,json=yes"]
        sent = self.commands("migrations", *(f"migrations:{subtask}" for subtask in subtasks))
        self.assertEqual(set(), {command for command, _ in sent} - {"find", "aggregate", "listDatabases"})
        self.assertEqual([], self.db.list_collection_names())

    def test_help_asks_nobody(self) -> None:
        self.assertEqual([], self.commands("migrations:help"))
