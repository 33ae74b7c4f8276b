"""Processes that the team's code forks: they end where it does, and the run is not theirs."""

from __future__ import annotations

import time

from tests.support import WARNING_FILTERS, Project, RunTestCase

# Python 3.12 warns of every fork of a process with threads, and PyMongo has some; PyMongo warns where a child calls it.
OF_FORKS = ("ignore:This process:DeprecationWarning", "ignore:MongoClient opened before fork:UserWarning")
MAY_FORK = {"PYTHONWARNINGS": ",".join([WARNING_FILTERS, *OF_FORKS])}

POOLS = """
import multiprocessing
for _ in range(3):
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert pool.map(abs, range(-20, 0)) == list(range(20, 0, -1))
"""

# What a child does, and with which code it ends then: None where nobody but Python decides that.
CHILDREN = {
    "return": 0,
    "raise ValueError('in the child')": 1,
    "sys.exit(5)": 5,
    "sys.exit('in the child')": 1,
    "raise KeyboardInterrupt": 1,
    "import migopy; raise migopy.StopTaskExecution()": 1,
    "import migopy; raise migopy.MigopyException('in the child')": 1,
    "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)": -15,
    "os.kill(os.getpid(), signal.SIGHUP); time.sleep(60)": -1,
    "os.kill(os.getpid(), signal.SIGINT); time.sleep(60)": 1,
}

FORK = """
import os, signal, sys, time
sys.stderr.flush()
child = os.fork()
if not child:
    {does}
else:
    _, status = os.waitpid(child, 0)
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    if code != {code}:
        raise AssertionError(code)
"""


def forking(does: str = "pass", code: int = 0) -> str:
    return FORK.format(does=does, code=code)


class TestPools(RunTestCase):
    def test_none_hangs(self) -> None:
        """Those of multiprocessing end their processes by SIGTERM, wherever in Python's start these are."""
        runs = 24 if self.IN_FULL else 2
        slowest = 0.0
        for _ in range(runs):
            project = self.project()
            self.counting(project, "1_pools.py", POOLS)
            self.counting(project, "2_last.py")
            began = time.monotonic()
            result = project.fab("migrations:execute", env=MAY_FORK)
            slowest = max(slowest, time.monotonic() - began)
            self.assert_code(0, result)
            self.assertEqual((["1_pools.py", "2_last.py"],) * 2, (self.ran(), self.registered()))
            self.client.drop_database(self.database)
        print(f"{self.id()}: {3 * runs} pools, none hung; the slowest three took {slowest:.1f} s")


class TestForks(RunTestCase):
    def execute(self, project: Project, *more: str) -> str:
        """Run what is there, to its end; what it has said."""
        result = project.fab("--hide=status", "migrations:execute", *more, env=MAY_FORK)
        self.assert_code(0, result)
        self.assertIsNone(self.lock())
        return result.stderr

    def test_a_child_ends_as_it_would_without_migopy_and_does_nothing_of_the_run(self) -> None:
        project = self.project()
        for place, (does, code) in enumerate(CHILDREN.items(), start=1):
            self.counting(project, f"{place}_forks.py", forking(does, code))
        self.counting(project, "99_last.py")
        names = [*(f"{place}_forks.py" for place in range(1, len(CHILDREN) + 1)), "99_last.py"]
        said = self.execute(project)
        self.assertEqual((names, names, []), (self.ran(), self.registered(), self.logged()))
        self.assertEqual([1] * len(names), [said.count(f"Executed {name} in ") for name in names])
        self.assertNotIn("failed (", said)
        self.assertIn("ValueError: in the child", said)

    def test_a_child_that_outlives_the_run_does_nothing_of_it(self) -> None:
        project = self.project()
        late = "import os, time\nif not os.fork():\n    time.sleep(1.5)\n    {}\n"
        self.counting(project, "1_late.py", late.format("return"))
        self.counting(project, "2_late.py", late.format("raise ValueError('late')"))
        self.counting(project, "3_last.py", "db.waits.insert_one({})\nimport time\ntime.sleep(2)")
        said = self.execute(project)
        names = ["1_late.py", "2_late.py", "3_last.py"]
        self.assertEqual((names, names, []), (self.ran(), self.registered(), self.logged()))
        self.assertEqual(1, said.count("Executing migration 3_last.py"))

    def test_wherever_code_of_the_team_is_called(self) -> None:
        fork = forking().replace("\n", "\n        ")
        hooks = (
            f"\n    def before_each(self, name):{fork}\n"
            f"    def after_each(self, name):{fork}\n"
            f"    def on_failure(self, name, error):{fork}\n"
            f"    def dbdump(self):{fork}\n"
        )
        project = self.project(hooks, DO_MONGO_DUMP=True)
        self.counting(project, "1_forks.py", forking(), down="db.back.insert_one({})\n" + forking())
        self.counting(project, "2_fails.py", "raise ValueError('in the parent')")
        project.write("mongomigrations/3_loads.py", f"{forking()}\ndef up(db):\n    pass\n")
        result = project.fab("--hide=status", "migrations:execute", env=MAY_FORK)
        self.assert_code(1, result)
        self.assertEqual((["1_forks.py", "2_fails.py"], ["1_forks.py"]), (self.ran(), self.registered()), result)
        self.assertEqual((["failed"], None), (self.logged(), self.lock()))
        self.assertEqual(1, result.stderr.count("2_fails.py failed ("), result.stderr)
        self.assertEqual(1, result.stderr.count("Executing migration 1_forks.py"))
        self.assertNotIn("on_failure", result.stderr)
        self.assert_code(0, project.fab("migrations:rollback,1", env=MAY_FORK))
        self.assertEqual((1, ["failed", "rolled back"]), (self.db.back.count_documents({}), self.logged()))


WORKERS = """
import concurrent.futures
import multiprocessing

from . import _helpers


class Total:
    def __init__(self, value):
        self.value = value


def work(number):
    return Total(_helpers.double(number))


def up(db):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert [total.value for total in pool.map(work, [1, 2])] == [2, 4]
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
        assert pool.submit(work, 3).result().value == 6
    db.ran.insert_one({"name": "1_workers.py", "did": "up"})
"""


class TestWorkers(RunTestCase):
    def test_they_import_the_migration_that_started_them(self) -> None:
        """Those that are not forked have imported nothing."""
        for directory, has_init in (("mongomigrations", False), ("data/base.v1/json", True)):
            with self.subTest(directory):
                project = self.project(MIGRATIONS_DIRECTORY=directory)
                project.write(f"{directory}/1_workers.py", WORKERS)
                project.write(f"{directory}/_helpers.py", "import models\n\ndef double(n): return models.TWO * n\n")
                project.write("models.py", "TWO = 2\n")
                if has_init:
                    project.write(f"{directory}/__init__.py", "")
                self.assert_code(0, project.fab("migrations:execute", env=MAY_FORK, timeout=50))
                self.assertEqual((["1_workers.py"],) * 2, (self.ran(), self.registered()))
                self.client.drop_database(self.database)
