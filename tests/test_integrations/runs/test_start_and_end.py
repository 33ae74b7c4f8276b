"""What migopy costs a process beside its work: the import at the start, and PyMongo's threads at the end."""

from __future__ import annotations

from tests.support import MongoTestCase, Project, basic_fabfile

# PyMongo's exit handler is registered when PyMongo is imported, so one that is registered before runs after it.
WATCHED = """
import atexit

joined = []
atexit.register(lambda: print("joined:", *sorted(set(joined))))

from pymongo import MongoClient
try:
    from pymongo.periodic_executor import PeriodicExecutor
except ImportError:  # PyMongo 4.9 and 4.10
    from pymongo.synchronous.periodic_executor import PeriodicExecutor

join = PeriodicExecutor.join


def noted(executor, timeout=None):
    joined.append(executor._name)
    join(executor, timeout)


PeriodicExecutor.join = noted
"""

OF_A_CLIENT = "joined: pymongo_kill_cursors_thread pymongo_server_monitor_thread"
"""And another one with most versions of PyMongo, which knows the threads of a client as long as that is referred to."""


OF_THE_IMPORT = {
    "migopy",
    *(f"migopy.{name}" for name in ["errors", "fab", "lazy", "manager", "settings", "terminal", "version"]),
    *(f"migopy.fab.{name}" for name in ["door", "entry", "task"]),
    *(f"migopy.terminal.{name}" for name in ["messages", "options", "streams", "texts"]),
}

OF_HELP = {
    *(f"migopy.fab.{name}" for name in ["dispatch", "help", "remote", "syntax"]),
    *(f"migopy.terminal.{name}" for name in ["signals", "signature", "tables"]),
}

# An audit hook cannot be taken away again, so it is set up in the process of the fab.
OPENED = """
import atexit
import os
import sys

opened = []
atexit.register(lambda: print("opened:", *sorted(opened)))


def note(event, arguments):
    # Without a mode it is os.open(), by which Python 3.8 and 3.9 open a Path once more.
    if event == "open" and arguments[1] and "mongomigrations" in str(arguments[0]):
        opened.append(os.path.basename(arguments[0]))


sys.addaudithook(note)
"""


class TestTheStart(MongoTestCase):
    def test_other_tasks_import_what_a_fabfile_needs_and_no_more(self) -> None:
        fabfile = basic_fabfile(self.server, self.database)
        shown = "import atexit, sys\natexit.register(lambda: print('modules:', *sys.modules))\n"
        project = Project(self, f"{shown}{fabfile}\n\ndef deploy():\n    pass\n")
        for task in ("-l", "deploy", "migrations:help"):
            result = project.fab(task, cold=True)
            self.assertEqual(0, result.code, result.output)
            modules = result.stdout.splitlines()[-1].split()[1:]
            of_help = OF_HELP if task == "migrations:help" else set()
            self.assertEqual(OF_THE_IMPORT | of_help, {name for name in modules if name.startswith("migopy")}, task)
            self.assertEqual([], [name for name in modules if name.partition(".")[0] in ("pymongo", "bson")], task)

    def test_each_migration_file_is_read_once_and_none_by_what_only_needs_names(self) -> None:
        project = Project(self, OPENED + basic_fabfile(self.server, self.database))
        names = [f"{number}_a.py" for number in (1, 2, 3)]
        for name in names:
            project.migration(name)

        def opened(subtask: str) -> list[str]:
            result = project.fab(f"migrations:{subtask}")
            self.assertEqual(0, result.code, result.output)
            return result.stdout.splitlines()[-1].split()[1:]

        self.assertEqual([], opened("show_status"))
        self.assertEqual(names, opened("plan"))
        self.assertEqual(names[:1], opened("execute,to=1"))
        self.assertEqual(names[1:], opened("execute"))
        self.assertEqual([], opened("execute"))
        self.assertEqual([], opened("show_status"))
        self.assertEqual(names, opened("check"))
        self.assertEqual(names[2:], opened("rollback,last=1"))
        self.assertEqual(names[2:], opened("ignore"))


class TestTheEnd(MongoTestCase):
    def watched(self, more: str = "") -> Project:
        """A project whose fab prints, as the last thing it does, which threads PyMongo waited for at exit."""
        project = Project(self, WATCHED + basic_fabfile(self.server, self.database) + more)
        project.migration("1_a.py")
        return project

    def test_no_thread_of_our_client_is_waited_for(self) -> None:
        project = self.watched()
        for subtask in ("show_status", "execute", "rollback,1"):
            result = project.fab(f"migrations:{subtask}", cold=True)
            self.assertEqual("joined:", result.stdout.splitlines()[-1], result.output)

    def test_a_client_of_the_team_ends_as_it_did_closed_or_not(self) -> None:
        for then in ("", "    client.close()\n"):
            body = f"    client = MongoClient({self.server.uri!r})\n    client.admin.command('ping')\n{then}"
            project = self.watched(f"\n\ndef own():\n    global client\n{body}")
            result = project.fab("own", "migrations", "migrations:execute", cold=True)
            self.assertEqual(0, result.code, result.output)
            self.assertTrue(result.stdout.splitlines()[-1].startswith(OF_A_CLIENT), result.stdout)

    def test_a_client_that_is_not_pymongos_own_is_closed_all_the_same(self) -> None:
        other = """

class Wrapped:
    nodes = True

    def __init__(self, *args, **options):
        global client
        self.client = client = MongoClient(*args, **options)

    def __getitem__(self, name):
        return self.client[name]

    def close(self):
        print("closed")
        self.client.close()


Migrations.MongoClient = Wrapped
"""
        result = self.watched(other).fab("migrations", cold=True)
        self.assertEqual(0, result.code, result.output)
        self.assertIn("closed", result.stdout)
        self.assertTrue(result.stdout.splitlines()[-1].startswith(OF_A_CLIENT), result.stdout)
