from __future__ import annotations

from typing import List, Tuple

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


class TestRoundTrips(MongoTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.listening = Project(self, basic_fabfile(self.server, self.database))
        self.file = self.listening.path / "commands"
        fabfile = self.listening.path / "fabfile.py"
        fabfile.write_text(fabfile.read_text() + LISTENER.format(file=str(self.file)))

    def commands(self, *words: str) -> Commands:
        """The commands that a fab has sent to the server, each with its collection, in order."""
        self.file.write_text("")
        result = self.listening.fab(*words)
        self.assertEqual(0, result.code, result.output)
        lines = [line.partition(" ") for line in self.file.read_text().splitlines()]
        return [(command, collection) for command, _, collection in lines if command not in OF_PYMONGO]

    def migrations(self, count: int) -> None:
        for number in range(1, count + 1):
            self.listening.migration(f"{number}_a.py", "db.notes.insert_one({})")

    def test_the_status_reads_each_collection_once_however_many_files_there_are(self) -> None:
        once = [("aggregate", "migrations_lock"), ("find", "migrations"), ("find", "migrations_log")]
        for count in (1, 60):
            self.migrations(count)
            self.assertEqual(once, sorted(self.commands("migrations")))
        self.assertEqual([], self.db.list_collection_names())
        self.db.migrations.insert_many([{"name": f"{number}_a.py"} for number in range(1, 61)])
        self.assertEqual(once, sorted(self.commands("migrations")))

    def test_execute_sends_one_insert_and_two_words_to_the_lock_for_each_migration(self) -> None:
        self.migrations(5)
        sent = self.commands("migrations:execute")
        # Which one runs now, and, before it is registered, whether the lock is still ours.
        lock = ("update", "migrations_lock")
        each = [lock, ("insert", "notes"), lock, ("insert", "migrations")]
        first = sent.index(each[0])
        self.assertEqual(each * 5, sent[first : first + 20])
        self.assertEqual([("delete", "migrations_lock")], sent[first + 20 :])
        self.assertEqual(1, sent.count(("findAndModify", "migrations_lock")))
        self.assertLessEqual(sent[:first].count(("find", "migrations")), 2)
        self.assertLessEqual(sent[:first].count(("find", "migrations_log")), 1)
        self.assertLessEqual(first, 4)

    def test_ignore_registers_all_in_one_insert(self) -> None:
        self.migrations(5)
        sent = self.commands("migrations:ignore")
        self.assertEqual(1, sent.count(("insert", "migrations")))
        self.assertEqual(5, self.db.migrations.count_documents({}))

    def test_with_nothing_to_do_one_read_is_enough_and_no_lock_is_taken(self) -> None:
        self.migrations(5)
        self.db.migrations.insert_many([{"name": f"{number}_a.py"} for number in range(1, 6)])
        for subtask in ("execute", "ignore"):
            self.assertEqual([("find", "migrations")], self.commands(f"migrations:{subtask}"))
        self.assertEqual(["migrations"], self.db.list_collection_names())

    def test_what_only_reads_creates_nothing(self) -> None:
        self.migrations(2)
        subtasks = ["show_status", "plan", "history", "help", "show_status,json=yes"]
        sent = self.commands("migrations", *(f"migrations:{subtask}" for subtask in subtasks))
        self.assertEqual(set(), {command for command, _ in sent} - {"find", "aggregate"})
        self.assertEqual([], self.db.list_collection_names())

    def test_help_asks_nobody(self) -> None:
        self.assertEqual([], self.commands("migrations:help"))
