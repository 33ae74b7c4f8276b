"""What the tests share: a database of their own, a project folder with a fabfile, and the real `fab` run in it."""

from __future__ import annotations

import contextlib
import functools
import os
import pty
import secrets
import select
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest
from pathlib import Path
from typing import Any, Mapping, NamedTuple

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from migopy.terminal.signals import HOLD_BACK_SECONDS
from tests.fork_server import ForkedFab, ForkServer, can_fork
from tests.reaper import reaper
from tests.server import Mongod, ReplicaSet, Server, shared, wait_for

TOP = Path(__file__).resolve().parents[1]
MIGOPY = TOP / "migopy"
PLUGIN = MIGOPY / "testing" / "plugin"
"""What is in it is installed beside migopy."""
FAB = Path(sys.executable).with_name("fab")
TOOLS = TOP / "tests" / "tools" / "stand_ins"
REAL_TOOLS = os.environ.get("MIGOPY_TESTS_TOOLS")

# Every warning is an error in fab, but the known ones of Fabric and its Paramiko. Later filters win.
if sys.version_info < (3, 10):
    KNOWN_WARNINGS = [
        "ignore:Using or importing the ABCs from 'collections':DeprecationWarning",
        "ignore:TripleDES has been moved to cryptography.hazmat.decrepit",
        "ignore:Python 3.8 is no longer supported by the Python core team",
    ]
else:
    KNOWN_WARNINGS = ["ignore:setDaemon() is deprecated:DeprecationWarning"]
WARNING_FILTERS = ",".join(["error", *KNOWN_WARNINGS])


NAMED = {"name": {"$exists": True}}
"""What makes a document of `migrations` a registration."""


SINCE = {
    "hidden": (4, 4),
    "collections made in a transaction": (4, 4),
    "expressions in find": (4, 4),
    "timeseries": (5, 0),
    "two indexes of one key": (5, 0),
    "fields that begin with $": (5, 0),
    "Stable API": (5, 0),
    "clusteredIndex": (5, 3),
    "changeStreamPreAndPostImages": (6, 0),
    "encryptedFields": (6, 0),
    "prepareUnique": (6, 0),
}
"""The version of MongoDB since which there is such a thing."""


class MongoTestCase(unittest.TestCase):
    """A test with a database of its own: `self.db`, named `self.database`, on `self.server`."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.find_server()
        self.client: MongoClient[dict[str, Any]] = MongoClient(self.server.uri)
        self.addCleanup(self.client.close)
        self.database = f"test_{secrets.token_hex(8)}"
        self.db = self.client[self.database]
        self.addCleanup(self.client.drop_database, self.database)

    def find_server(self) -> Server | Mongod:
        """The server of this test; another one for those that override it."""
        return shared()

    def project(self, body: str = "", more: str = "", **attributes: Any) -> Project:
        """A project whose fabfile is about this test's database; `body` is more of its class, `more` stands below."""
        return Project(self, basic_fabfile(self.server, self.database, body, **attributes) + more)

    def registered(self, collection: str = "migrations") -> list[str]:
        """The registered names in the order of their registration; those of 1.0, which have no time, first."""
        return [document["name"] for document in self.db[collection].find(NAMED).sort([("at", 1), ("_id", 1)])]

    @property
    def version(self) -> tuple[int, ...]:
        """That of the server, as (6, 0, 5)."""
        return tuple(self.client.server_info()["versionArray"][:3])

    @functools.cached_property
    def team(self) -> Project:
        """The project of the test."""
        return self.project()

    def fab(self, *words: str, code: int = 0, **options: Any) -> Result:
        """Run a fab in the project of the test, which ends with that code and without a traceback of ours."""
        result = self.team.fab(*words, **options)
        self.assert_code(code, result)
        return result

    def traces(self) -> list[tuple[str, str]]:
        """What the migrations did, `up` or `down`, and their names, in the order in which it came."""
        # Ids that two processes made in one second have no order.
        found = self.db.ran.find({"did": {"$exists": True}}).sort("$natural", 1)
        return [(document["did"], document["name"]) for document in found]

    def has(self, option: str) -> bool:
        """Whether the server knows that."""
        return self.version >= SINCE[option]

    def need(self, option: str) -> None:
        """Skip a test of what is newer than the server, one that MIGOPY_TESTS_MONGOD names."""
        if not self.has(option):
            self.skipTest(f"MongoDB {self.version} has no {option}.")

    def make_for_transactions(self, *names: str) -> None:
        """Make collections that a transaction will write to, where MongoDB does not do that in it: before 4.4."""
        if self.version < (4, 4):
            for name in set(names) - set(self.db.list_collection_names()):
                self.db.create_collection(name)

    def assert_code(self, code: int, result: Result) -> None:
        self.assertEqual(code, result.code, result.output)


def basic_fabfile(server: Server | Mongod, database: str, body: str = "", **attributes: Any) -> str:
    """The text of a fabfile with a `migrations` task for that server and database.

    `attributes` are those of the class, `body` is what else stands in it.
    """
    settings = {"MONGO_HOST": server.host, "MONGO_PORT": server.port, "MONGO_DATABASE": database, **attributes}
    lines = "".join(f"    {name} = {value!r}\n" for name, value in settings.items())
    return (
        f"import migopy\n\n\nclass Migrations(migopy.MigrationsManager):\n{lines}{body}\n\n"
        "migrations = Migrations.create_task()\n"
    )


class Result(NamedTuple):
    """What a process left behind. In a terminal both streams are one, in `stdout`."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


class Project:
    """A temporary folder with a fabfile, gone after the test."""

    def __init__(self, test_case: unittest.TestCase, fabfile: str) -> None:
        self._test_case = test_case
        folder = tempfile.TemporaryDirectory(prefix="project-", dir=reaper().folder)
        test_case.addCleanup(folder.cleanup)
        self.path = Path(folder.name).resolve()
        self.write("fabfile.py", fabfile)

    def write(self, relative_path: str, text: str) -> Path:
        """Write a file, and the folders it needs; the text may be indented as a whole."""
        path = self.path / relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def migration(self, name: str, up: str = "pass", down: str | None = "pass", arguments: str = "db") -> Path:
        """Write mongomigrations/`name` with these bodies of up() and down(); without down() if that is None."""
        functions = [("up", up)] if down is None else [("up", up), ("down", down)]
        texts = [
            f"def {function}({arguments}):\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n"
            for function, body in functions
        ]
        return self.write(f"mongomigrations/{name}", "\n\n".join(texts))

    def trace(self, name: str, then: str = "", arguments: str = "db", down: str = "") -> Path:
        """Write a migration whose up() and down() note in the collection `ran` that they have run.

        `then` is what up() does after that, `down` what down() does instead.
        """
        session = ", session=session" if "session" in arguments else ""
        note = f"db.ran.insert_one({{{{'name': {name!r}, 'did': {{did!r}}}}}}{session})\n"
        up = note.format(did="up") + textwrap.dedent(then)
        return self.migration(name, up, down or note.format(did="down"), arguments)

    def fab(
        self,
        *args: str,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout: float = 60,
        cold: bool = False,
    ) -> Result:
        """Run fab in the project's folder, or in `cwd` below it, and wait for its end. It has no terminal."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.fab_start(*args, cwd=cwd, env=env, stdin=stdin, cold=cold)
        try:
            stdout, stderr = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"fab {args} still ran after {timeout} seconds:\n{process.communicate()}") from None
        return Result(process.returncode, stdout, stderr)

    def fab_start(
        self,
        *args: str,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        cold: bool = False,
    ) -> subprocess.Popen[str]:
        """Start fab and return at once; it is killed after the test.

        It leads a process group of its own: Ctrl-C is `os.killpg(process.pid, signal.SIGINT)`. A `cold` one has
        imported nothing before its fabfile.
        """
        options = {
            "cwd": self.path / (cwd or "."),
            "env": {**clean_environment(), **(env or {})},
            "stdin": stdin,
            "stdout": stdout,
            "stderr": stderr,
            "encoding": "utf-8",
        }
        process: subprocess.Popen[str]
        if cold or not can_fork(env or {}):
            process = reaper().start(fab_command_line(*args), **options)
        else:
            process = ForkedFab(fork_server(), fab_command_line(*args)[1:], **options)
        self._test_case.addCleanup(_end, process)
        return process

    def fab_in_terminal(
        self,
        *args: str,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        input: str = "",
        timeout: float = 60,
        cold: bool = False,
    ) -> Result:
        """Run fab in a terminal, where `input` is typed ahead, and wait for its end."""
        ours, theirs = pty.openpty()
        try:
            terminal = {"TERM": "xterm-256color", **(env or {})}
            streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
            process = self.fab_start(*args, cwd=cwd, env=terminal, cold=cold, **streams)
            os.close(theirs)
            os.write(ours, input.encode())
            output = _read_terminal(ours, time.monotonic() + timeout)
        finally:
            os.close(ours)
        return Result(process.wait(timeout), output.decode().replace("\r\n", "\n"), "")


def fab_command_line(*args: str) -> list[str]:
    """The command line of this environment's fab, which has to run the migopy that stands beside the tests."""
    require_same_files(migopy_of_fab())
    return [sys.executable, str(FAB), *args]


@functools.lru_cache(maxsize=None)
def fork_server() -> ForkServer:
    """Where this process has its fabs from."""
    return ForkServer(reaper(), FAB, clean_environment())


@functools.lru_cache(maxsize=None)
def migopy_of_fab() -> Path:
    """The folder of the migopy that fab imports: the first on the path that begins with fab's own folder."""
    look = "import importlib.util; print(importlib.util.find_spec('migopy').origin)"
    command = [sys.executable, "-c", look]
    found = subprocess.run(command, cwd=FAB.parent, env=clean_environment(), stdout=subprocess.PIPE, check=True)
    return Path(os.fsdecode(found.stdout).strip()).parent


@functools.lru_cache(maxsize=None)
def require_same_files(installed: Path) -> None:
    """Raise AssertionError if that migopy differs from ours in a file: then fab would test something else."""
    for ours in sorted(MIGOPY.rglob("*.py")) if installed != MIGOPY else ():
        is_of_plugin = PLUGIN in ours.parents
        theirs = installed.parent / ours.relative_to(PLUGIN) if is_of_plugin else installed / ours.relative_to(MIGOPY)
        if not theirs.exists() or theirs.read_bytes() != ours.read_bytes():
            raise AssertionError(
                f"{FAB} runs the migopy in {installed}, whose {ours.relative_to(MIGOPY)} is not that of {MIGOPY}: "
                f"install this checkout there (pip install -e {TOP})."
            )


def clean_environment() -> dict[str, str]:
    """Our environment without what changes the behaviour of fab, of Python or of the terminal."""
    unwanted = ("FABRIC_", "PYTHON", "MIGOPY_", "STANDIN_", "NO_COLOR", "TERM", "LC_", "LANG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "LANG": "C.UTF-8", "PYTHONWARNINGS": WARNING_FILTERS, "TMPDIR": str(reaper().folder)}


def tools_on_path(directory: str | Path, record_file: str | Path, **variables: str) -> str:
    """Put the stand-ins of mongodump and mongorestore into `directory`; return a PATH that begins with it.

    Each call is noted in `record_file`. `variables` are for the stand-ins only: STANDIN_SLEEP, the seconds before they
    begin, and STANDIN_FAIL: "connect" as if no server answered, "quietly" for half of the work and exit code 0,
    anything else for half of the work and a failure. With MIGOPY_TESTS_TOOLS, a folder, the tools in it are called
    instead: the real ones, which heed no such variable and note nothing.
    """
    if variables:
        require_stand_ins()
    environment = {**variables, "STANDIN_RECORD": str(Path(record_file).resolve())}
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    for tool in ("mongodump", "mongorestore"):
        wrapper = directory / tool
        command = shlex.join([f"{REAL_TOOLS}/{tool}"] if REAL_TOOLS else [sys.executable, str(TOOLS / tool)])
        wrapper.write_text(f'#!/bin/sh\n{exports}exec {command} "$@"\n', encoding="utf-8")
        wrapper.chmod(0o755)
    return f"{directory}{os.pathsep}{os.environ['PATH']}"


def require_stand_ins() -> None:
    """Leave a test out that asks of the tools what the real ones do not do."""
    if REAL_TOOLS:
        raise unittest.SkipTest("It needs the stand-ins of mongodump and mongorestore: without MIGOPY_TESTS_TOOLS.")


def _end(process: subprocess.Popen[str]) -> None:
    """Kill what is left of a process group, and close the pipes to its leader."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with process:
        process.kill()
    reaper().ended(process)


def _read_terminal(terminal: int, deadline: float) -> bytes:
    """Everything that is written to a terminal until all who have it open are gone."""
    output = b""
    while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # how Linux says the end
            return output
        if not data:
            return output
        output += data
    raise AssertionError(f"fab still ran when its time was over:\n{output.decode()}")


class RunTestCase(MongoTestCase):
    """A test of runs. Its migrations count themselves in the collection `ran`, which has no unique index."""

    IN_FULL = bool(os.environ.get("MIGOPY_TESTS_IN_FULL"))
    """Whether the long tests run as often as they should, once: MIGOPY_TESTS_IN_FULL=1."""

    def project(self, body: str = "", more: str = "", **attributes: Any) -> Project:
        """A project that reaches the server by its URI: a replica set has more than one host."""
        return super().project(body, more, **{"MONGO_URI": self.server.uri, "LOCK_LEASE": 3, **attributes})

    def counting(self, project: Project, name: str, then: str = "", arguments: str = "db", down: str = "pass") -> None:
        """Write a migration whose up() leaves a trace and does something more; its down() leaves none."""
        if "session" in arguments:
            self.make_for_transactions("ran")
        project.trace(name, then, arguments, down)

    def counting_ones(self, project: Project, number: int, then: str = "") -> list[str]:
        names = [f"{position}_counts.py" for position in range(1, number + 1)]
        for name in names:
            self.counting(project, name, then)
        return names

    def ran(self) -> list[str]:
        """The names of the migrations as often as they ran, in the order of their numbers."""
        names = [document["name"] for document in self.db.ran.find({"did": {"$ne": "down"}})]
        return sorted(names, key=lambda name: int(name.partition("_")[0]))

    def lock(self) -> Any:
        """The document of the lock, or None."""
        return self.db.migrations_lock.find_one({"_id": "lock"})

    def logged(self, **wanted: Any) -> list[str]:
        """The events of the log in their order."""
        return [document["event"] for document in self.db.migrations_log.find(wanted).sort([("at", 1), ("_id", 1)])]

    def kill_after(self, seconds: float, process: subprocess.Popen[str]) -> None:
        """kill -9 of a run, which may have ended by then."""
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    def wait_until_in(self, name: str, times: int = 1) -> None:
        """Wait until up() of a migration has counted itself."""
        wait_for(f"{name} in ran", lambda: self.db.ran.count_documents({"name": name}) >= times)

    def wait_for_lock(self, **wanted: Any) -> Any:
        """Wait for a lock of which this is true."""
        return wait_for(f"lock with {wanted}", lambda: self.db.migrations_lock.find_one(wanted))

    def let_lease_run_out(self) -> None:
        """What a dead run has left of its lease is over."""
        self.db.migrations_lock.update_one({"_id": "lock"}, [{"$set": {"expires_at": "$$NOW"}}])

    def wait_for_dead_lock(self) -> None:
        """Wait until the lease of the lock has run out, by the server's clock."""
        ran_out = {"$expr": {"$lte": ["$expires_at", "$$NOW"]}}
        wait_for("lock that has run out", lambda: self.db.migrations_lock.find_one(ran_out))

    def end_of_pressed_twice(self, process: subprocess.Popen[str], timeout: float) -> Result:
        """Press Ctrl-C, and again when it is no longer held back, and wait for the end of the process."""
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(HOLD_BACK_SECONDS + 0.5)
        os.killpg(process.pid, signal.SIGINT)
        return self.end_of(process, timeout)

    def end_of(self, process: subprocess.Popen[str], timeout: float = 120) -> Result:
        """Wait for the end of a process."""
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"It still ran after {timeout} seconds:\n{process.communicate()}") from None
        return Result(process.returncode, stdout, stderr)


class FailingReplicaSetTestCase(RunTestCase):
    """A test on a replica set of three members, of which some go away."""

    def find_server(self) -> Server | Mongod:
        self.replica_set: ReplicaSet = three_members()
        self.addCleanup(self.make_whole)
        return Server(self.replica_set.uri)

    def make_whole(self) -> None:
        """Bring back what a test has killed."""
        for member in self.replica_set.members:
            if member.process is None:
                member.start()
        self.replica_set.primary()
        self.replica_set.wait_for_members()

    def step_down(self) -> None:
        """Make the primary step down, as soon as another member can take over: one that just came back cannot."""
        wait_for("primary that steps down", self._has_stepped_down)

    def _has_stepped_down(self) -> bool:
        try:
            self.replica_set.step_down(5)
        except OperationFailure:
            return False
        return True

    def let_time_for_heartbeats(self, milliseconds: int) -> None:
        """A member that is silent for longer is down, and then not waited for."""
        config = self.client.admin.command("replSetGetConfig")["config"]
        config["version"] += 1
        config["settings"].update(
            electionTimeoutMillis=milliseconds, heartbeatTimeoutSecs=max(10, milliseconds // 1000)
        )
        self.client.admin.command("replSetReconfig", config)


class WithUsersTestCase(MongoTestCase):
    """A test on a server of its class that lets only users in."""

    mongod: Mongod

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.mongod = Mongod(auth=True)
        cls.mongod.start()
        cls.addClassCleanup(cls.mongod.close)

    def find_server(self) -> Mongod:
        return self.mongod


def commands_of(client: MongoClient[Any], namespace: str) -> list[Any]:
    """What the server is at work on in a database, or in a collection of it."""
    here = {"ns": {"$regex": rf"^{namespace}(\.|$)"}}
    return list(client.admin.aggregate([{"$currentOp": {"allUsers": True}}, {"$match": here}]))


def until_file(path: str | Path) -> str:
    """A piece of up() that waits until there is such a file."""
    return f"import os, time\nwhile not os.path.exists({str(path)!r}):\n    time.sleep(0.02)\n"


@functools.lru_cache(maxsize=None)
def three_members() -> ReplicaSet:
    """A replica set of three members for all tests of this process that leave it as they found it."""
    replica_set = ReplicaSet()
    replica_set.start()
    return replica_set
