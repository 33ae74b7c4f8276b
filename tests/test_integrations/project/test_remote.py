from __future__ import annotations

import random
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple
from unittest import TestCase

import paramiko
from fabric.main import parse_arguments
from fabric.operations import _shell_wrap

from migopy import MigrationsManager
from migopy.fab import syntax
from tests.server import free_port
from tests.sshd import Sshd
from tests.support import MongoTestCase, Project, Result, basic_fabfile

LOCAL_FABFILE = """
import migopy
from fabric.api import env, run

{env_settings}
is_remote = False


def staging():
    global is_remote
    is_remote = True
    env.hosts = [{host!r}]


class Migrations(migopy.MigrationsManager):
    MONGO_PORT = {dead_port}
    MONGO_DATABASE = 'local'

    @classmethod
    def task_hook(cls, subtask, option):
        if is_remote:
            run(cls.fab_command(subtask, option))
            raise migopy.StopTaskExecution()


migrations = Migrations.create_task()


def restart():
    print('restarted')
"""

MYTASK = """
    @migopy.task
    def mytask(self, *options, **named):
        print(ascii((options, sorted(named.items()))))
"""


class TestRemote(MongoTestCase):
    """The remote side is another folder with a fabfile, migrations and a database of its own."""

    sshd: Sshd
    profile: Path
    environment: str

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.sshd = Sshd()
        cls.sshd.start()
        cls.addClassCleanup(cls.sshd.close)
        cls.profile = cls.sshd.home / ".bash_profile"
        cls.environment = cls.profile.read_text()

    def setUp(self) -> None:
        super().setUp()
        text = basic_fabfile(self.server, self.database, MYTASK)
        self.remote = Project(self, text)
        for name in ("001_test.py", "002_test.py"):
            note = "db.notes.insert_one({'text': __name__.split('.')[-1]})"
            self.remote.write(f"mongomigrations/{name}", f"def up(db):\n    print('here')\n    {note}\n")
        # Where the documentation's run() expects it: in the folder that a session begins in.
        self.profile.write_text(f"{self.environment}cd {self.remote.path}\n")
        settings = {"env_settings": self.sshd.env_settings, "host": self.sshd.host_string, "dead_port": free_port()}
        self.local = Project(self, LOCAL_FABFILE.format(**settings))

    def staging(self, *words: str, code: int = 0) -> list[str]:
        """What the remote side has printed: Fabric gives it a terminal, so both streams are one."""
        result: Result = self.local.fab("staging", *words)
        self.assertEqual(code, result.code, result.output)
        start = re.escape(f"[{self.sshd.host_string}] out: ")
        return [line for line in re.findall(rf"(?m)^{start}(.*?)\r?$", result.stdout) if line]

    def notes(self) -> list[Any]:
        return self.db.notes.distinct("text")

    def test_the_documented_commands(self) -> None:
        output = self.staging("migrations")
        title = "Unregistered migrations (fab migrations:execute to execute them):"
        self.assertEqual(["0 executed, 2 unregistered", title, "001_test.py", "002_test.py"], output[1:5])
        self.assertEqual([], self.notes())

        output = self.staging("migrations:execute,001_test.py")
        self.assertEqual((["001_test"], 1), (self.notes(), output.count("here")))

        output = self.staging("migrations:execute")
        self.assertEqual((["001_test", "002_test"], 1), (self.notes(), output.count("here")))
        self.assertEqual({"001_test.py", "002_test.py"}, set(self.db.migrations.distinct("name")))

        self.assertIn("All migrations registered, nothing to execute", self.staging("migrations"))

    def test_a_failing_remote_run_ends_the_local_one(self) -> None:
        self.remote.write("mongomigrations/003_test.py", "def up(db):\n    raise ValueError('not here')\n")
        result = self.local.fab("staging", "migrations:execute", "restart")
        self.assertEqual((1, False), (result.code, "restarted" in result.stdout), result.output)
        self.assertIn("003_test.py failed (line 2, ValueError: not here): it is not registered", result.stdout)
        self.assertEqual(["001_test", "002_test"], self.notes())

    def test_a_run_that_fabric_could_not_start_does_not_end_with_0(self) -> None:
        without_gssapi = int(paramiko.__version__.split(".")[0]) >= 5
        result = self.local.fab("--gss-auth", "staging", "migrations:execute", "restart")
        if without_gssapi:
            self.assertEqual((1, False), (result.code, "restarted" in result.stdout), result.output)
            self.assertIn(
                f"Nothing was done on {self.sshd.host_string}: env.gss_auth, env.gss_kex and fab --gss-auth need"
                " GSSAPI, which Paramiko no longer has since version 5."
                ' Install "paramiko<5" and gssapi, or connect with a key.',
                result.stderr,
            )
            self.assertEqual([], self.notes())
        else:
            self.assertNotEqual(result.code == 0, self.notes() == [], result.output)

    def test_a_log_gets_no_colours_and_a_terminal_does(self) -> None:
        self.assertNotIn("\x1b", self.local.fab("staging", "migrations").stdout)
        self.assertIn("\x1b[31m001_test.py", self.local.fab_in_terminal("staging", "migrations").stdout)

    def test_a_machine_that_does_not_write_utf_8_is_read_to_the_end(self) -> None:
        self.profile.write_text(
            f"{self.environment}export LC_ALL=C LANG=C PYTHONIOENCODING=latin-1 PYTHONCOERCECLOCALE=0 PYTHONUTF8=0\n"
            f"cd {self.remote.path}\n"
        )
        text = "# coding: utf-8\ndef up(db):\n    print(u'na\u00efve \\udcff')\n"
        self.remote.write("mongomigrations/003_test.py", text)
        self.assertIn("na\u00efve \\udcff", self.staging("migrations:execute,3"))

    def test_options_arrive_as_they_were_in_another_folder_too(self) -> None:
        self.profile.write_text(self.environment)
        fabfile = self.local.path / "fabfile.py"
        in_folder = f"with cd({str(self.remote.path)!r}):\n                run(cls."
        fabfile.write_text(fabfile.read_text().replace("run(cls.", in_folder).replace("import env", "import cd, env"))
        word = r"""migrations:mytask,a b; "c" 'd' $HOME `id` $(id) żó\\n\, & | * \= ! x,to=\=#1 \\"""
        expected = parse_arguments([word])[0]
        options, named = expected[1][1:], sorted(expected[2].items())
        self.assertIn(ascii((tuple(options), named)), self.staging(word))


Parsed = Tuple[Optional[str], List[str], Dict[str, str]]

PARTS = [
    *"ab1 '\";$()`\n\t,=\\!*?~#&|<>%{}[]^-:żé\U0001f600",
    "\\\\",
    "\\,",
    "\\=",
    "$(id)",
    "to=",
    "x.py",
    "\\'",
    '\\"',
    "\\$",
]
SEED = 20140114
CASES = 1500


class TestFabCommand(TestCase):
    """Whatever the local task got, the remote one gets through fab_command, a shell and Fabric's parser."""

    def test_any_option_through_a_shell_and_through_the_shells_of_run(self) -> None:
        print(f"seed {SEED}")
        local = self.random_arguments(random.Random(SEED))
        commands = [self.command(parsed) for parsed in local]
        run_by_fabric = [_shell_wrap(command, True) for command in commands[: CASES // 5]]
        for lines in (commands, run_by_fabric):
            words = self.words(lines)
            self.assertEqual(len(lines), len(words))
            for parsed, command, word in zip(local, lines, words):
                self.assertEqual(parsed, self.parsed(word), command)

    def random_arguments(self, chance: random.Random) -> list[Parsed]:
        """What tasks got from random words of the command line that Fabric takes."""
        found: list[Parsed] = []
        while len(found) < CASES:
            text = "".join(chance.choices(PARTS, k=chance.randrange(1, 12)))
            subtask = chance.choice(["execute,", "mytask,", "", "my task,"])
            try:
                found.append(self.parsed(f"migrations:{subtask}{text}"))
            except ValueError:  # a value with two =
                continue
        return found

    @staticmethod
    def parsed(word: str) -> Parsed:
        task, options, named = parse_arguments([word])[0][:3]
        assert task == "migrations", word
        return syntax.parse(options, named)

    @staticmethod
    def command(parsed: Parsed) -> str:
        subtask, options, named = parsed
        return MigrationsManager.fab_command(subtask, syntax.option_text(options, named))

    def words(self, commands: list[str]) -> list[str]:
        """Run the commands in one shell, where `fab` says what it was called with; the one argument of each."""
        fab = """fab() { printf '%s\\0' "$#" "$@"; }\n"""
        with tempfile.TemporaryDirectory() as home:
            Path(home, ".bash_profile").write_text(fab)
            script = Path(home, "script")
            script.write_text(fab + "".join(f"{command}\n" for command in commands), encoding="utf-8")
            environment = {"HOME": home, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
            output = subprocess.run(
                ["/bin/sh", str(script)], env=environment, check=True, stdout=subprocess.PIPE
            ).stdout
        fields = output.decode().split("\0")[:-1]
        self.assertEqual({"1"}, set(fields[::2]))
        return fields[1::2]
