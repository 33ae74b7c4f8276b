"""The test cases of one subject that several files share."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from contextlib import AbstractContextManager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from fabric.state import env

import migopy
from tests.server import Server, runs, shared_replica_set, wait_for
from tests.support import (
    MongoTestCase,
    Project,
    Result,
    RunTestCase,
    basic_fabfile,
    clean_environment,
    require_stand_ins,
    tools_on_path,
)

UNREGISTERED = "Unregistered migrations (fab migrations:execute to execute them):\n"
NOTHING = "All migrations registered, nothing to execute\n"

# A task that runs one subtask after the other, as separate fabs would, and notes how each ended.
TRY_EACH = """

def try_each():
    import json
    import os
    import sys

    for options, named in json.loads(os.environ["SUBTASKS"]):
        code = 0
        try:
            migrations(*options, **named)
        except SystemExit as error:
            code = error.code
        print("exit %s" % code)
        sys.stderr.write("----\\n")
        sys.stderr.flush()
"""


def announced(result: Result) -> list[str]:
    """What the run said that it was about to do."""
    return re.findall(r"(?m)^(?:Executing|Registering|Rollback) migration \S+?\.\.\.", result.stderr)


class FabTestCase(MongoTestCase):
    """A test of what fab says and does."""

    def notes(self) -> list[str]:
        """What the migrations did: `1_a.py`, or `undone 1_a.py`."""
        return [name if did == "up" else f"undone {name}" for did, name in self.traces()]

    def noting(self, project: Project, *names: str) -> Project:
        """Write migrations that leave a trace."""
        for name in names:
            project.trace(name)
        return project

    def attempts(self, project: Project, *subtasks: tuple[Any, ...]) -> list[Result]:
        """Run subtasks one after the other; options at the end of a tuple may be a dictionary of named ones."""
        calls = [(list(s[:-1]), s[-1]) if s and isinstance(s[-1], dict) else (list(s), {}) for s in subtasks]
        result = project.fab("--hide=status", "try_each", env={"SUBTASKS": json.dumps(calls)})
        codes = [int(line[5:]) for line in result.stdout.splitlines() if line.startswith("exit ")]
        self.assertEqual(len(subtasks), len(codes), result.output)
        return [Result(code, "", text) for code, text in zip(codes, result.stderr.split("----\n"))]

    def assert_one_sentence(self, sentence: str, attempt: Result) -> None:
        """Exactly one line on stderr, which matches, and exit code 1."""
        self.assertRegex(attempt.stderr, rf"^{sentence}\n$")
        self.assertEqual(1, attempt.code)


class TeamTestCase(MongoTestCase):
    """A test of weekly work in the project of a team, `self.team`."""

    maxDiff = None

    def files(self, *names: str) -> None:
        """Migrations that leave a trace."""
        for name in names:
            self.team.trace(name)

    def fab(self, *words: str, code: int = 0, **options: Any) -> Result:
        """One in which nothing fails but by a sentence of ours."""
        result = super().fab(*words, code=code, **options)
        self.assertNotIn("Traceback", result.output)
        return result

    def json(self, subtask: str, code: int = 0) -> Any:
        return json.loads(self.fab("--hide=status", f"migrations:{subtask},json=yes", code=code).stdout)

    def ran(self) -> list[str]:
        """What was run since the last call, as `up 1_a.py`."""
        found = [f"{did} {name}" for did, name in self.traces()]
        self.db.ran.delete_many({})
        return found


class DumpTestCase(RunTestCase):
    """A test of dumps, with stand-ins of the tools."""

    def dumping(self, **attributes: Any) -> Project:
        """A project of host and port, with one document in its database and one migration that adds another."""
        project = Project(self, basic_fabfile(self.server, self.database, **attributes))
        project.migration("1_a.py", "db.notes.insert_one({'text': 'after'})", "db.notes.delete_one({'text': 'after'})")
        self.db.notes.insert_one({"text": "before"})
        return project

    def notes(self) -> list[str]:
        return sorted(document["text"] for document in self.db.notes.find())

    def with_tools(self, project: Project, **standin: str) -> dict[str, str]:
        """The environment in which fab finds the tools; its temporary files are in the folder `tmp`."""
        (project.path / "tmp").mkdir(exist_ok=True)
        path = tools_on_path(project.path / "bin", project.path / "calls", **standin)
        return {"PATH": path, "TMPDIR": str(project.path / "tmp")}

    def fab_with_tools(self, project: Project, *words: str, **standin: str) -> Result:
        """Run a fab that finds the tools; `standin` says how they behave."""
        return project.fab(*words, env=self.with_tools(project, **standin))

    @staticmethod
    def calls(project: Project) -> list[dict[str, Any]]:
        """The calls of the tools until now."""
        require_stand_ins()
        record = project.path / "calls"
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []

    def ended_calls(self, project: Project) -> list[dict[str, Any]]:
        """The calls of the tools until now, whose processes have ended and have left nothing behind."""
        for call in self.calls(project):
            self.assertFalse(runs(call["pid"]))
        self.assertEqual([], self.left_over(project))
        return self.calls(project)

    def wait_for_call(self, project: Project, number: int = 1) -> Any:
        return wait_for("call of the tool", lambda: len(self.calls(project)) >= number and self.calls(project)[-1])

    @staticmethod
    def left_over(project: Project) -> list[str]:
        """The temporary files that are still there."""
        return [path.name for path in (project.path / "tmp").iterdir()]

    @staticmethod
    def dumps(project: Project, directory: str = "mongodumps") -> list[Path]:
        return sorted((project.path / directory).glob("*"))


class InProcessTestCase(RunTestCase):
    """A test whose subtasks run in this process, which is quicker by far than a fab for each.

    `self.team` is the project. What they raise but an exit is a traceback that a person would see.
    """

    def setUp(self) -> None:
        super().setUp()
        # In a fab this is the fabfile, whose folder the migrations are beside.
        self.entered(patch.dict(env, real_fabfile=str(self.team.path / "fabfile.py")))

    def entered(self, context: AbstractContextManager[Any]) -> None:
        """Be inside of it until the end of the test."""
        context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)

    def manager(self, **attributes: Any) -> type[migopy.MigrationsManager]:
        """The class of a fabfile with these attributes and methods."""
        settings = {"MONGO_URI": self.server.uri, "MONGO_DATABASE": self.database, "LOCK_LEASE": 10, "LOCK_WAIT": 0}
        return type("Migrations", (migopy.MigrationsManager,), {**settings, **attributes})

    def run_task(self, *options: str, of: type[migopy.MigrationsManager] | None = None, **named: str) -> Result:
        """Run one subtask."""
        code = 0
        with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
            try:
                (of or self.manager()).create_task()(*options, **named)
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
        return Result(code, stdout.getvalue(), stderr.getvalue())

    def begin_anew(self) -> None:
        """No file and no document is left of what was tried before."""
        self.client.drop_database(self.database)
        for path in (self.team.path / "mongomigrations").glob("*.py"):
            path.unlink()


WORDS = """
def up(db, batches):
    batches.update(db.archive, {"words": None}, words)


def words(note):
    return {"$set": {"words": note["text"].split()}}


def down(db):
    db.archive.update_many({}, {"$unset": {"words": 1}})
"""
"""The migration in the project of a ``KitTestCase``."""


class KitTestCase(RunTestCase):
    """A test of a team's own tests, which use the server of this test unless they are told otherwise."""

    def find_server(self) -> Server:
        return shared_replica_set()

    def setUp(self) -> None:
        super().setUp()
        self.team = self.project(MONGO_URI="mongodb://nobody.invalid/", MONGO_DATABASE="real")
        self.team.write("mongomigrations/006_words.py", WORDS)

    def write_test(self, body: str) -> None:
        lines = "".join(f"        {line}\n" for line in body.strip().splitlines())
        text = (
            "from migopy.testing import MigrationTestCase\n\n\nclass TestIt(MigrationTestCase):\n    def test(self):\n"
        )
        self.team.write("test_it.py", text + lines)

    def run_python(self, *words: str, **variables: str) -> Result:
        environment = {**clean_environment(), "MIGOPY_TEST_URI": self.server.uri, **variables}
        done = subprocess.run(
            [sys.executable, *words], cwd=self.team.path, env=environment, capture_output=True, text=True, timeout=120
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def run_it(self, body: str, code: int = 0) -> str:
        """Run a test with this body; what unittest prints."""
        self.write_test(body)
        result = self.run_python("-m", "unittest", "test_it")
        self.assert_code(code, result)
        self.assertEqual([], self.left_over())
        return result.stderr

    def left_over(self) -> list[str]:
        return [name for name in self.client.list_database_names() if name.startswith("migopy_testing_")]
