"""Many databases: one command, each in its own state."""

from __future__ import annotations

import datetime
import json
import os
import random
import re
import shlex
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import migopy
from migopy.files.migration import Migration
from migopy.rehearsal.ahead import LookAhead, OtherDatabase
from migopy.rehearsal.preflight import Questions, Scale
from migopy.rehearsal.result import RehearsedMigration
from migopy.rehearsal.scratch.recorder import Sent
from tests.documents import PAGES, blocks
from tests.server import Mongod, Server, shared_replica_set, wait_for
from tests.support import Project, Result, RunTestCase, WithUsersTestCase, basic_fabfile, tools_on_path, until_file
from tests.test_integrations.project.test_readme import NewcomerTestCase
from tests.tools.benchmark_databases import memory

NUMBER = 12


class DatabasesTestCase(RunTestCase):
    """A test of a team with a database for each of its customers."""

    number = NUMBER

    def setUp(self) -> None:
        super().setUp()
        self.names = [f"{self.database}_{place:02}" for place in range(1, self.number + 1)]
        for name in self.names:
            self.addCleanup(self.client.drop_database, name)
        self.customers = self.project(MONGO_DATABASES=self.names, MONGO_DATABASE=None)

    def fab(self, *words: str, code: int = 0, **options: Any) -> Result:
        result = self.customers.fab("--hide=status", *words, **options)
        self.assert_code(code, result)
        return Result(result.code, self.short(result.stdout), self.short(result.stderr))

    def short(self, text: str) -> str:
        """The text with `d01` for the first database."""
        return text.replace(f"{self.database}_", "d")

    def json(self, subtask: str, code: int = 0) -> Any:
        return json.loads(self.fab(f"migrations:{subtask},json=yes", code=code).stdout)

    def ran_in(self) -> dict[str, list[str]]:
        """What has run in each database, as often as it did."""
        return {self.short(name): [row["name"] for row in self.client[name].ran.find()] for name in self.names}

    def databases_with(self, name: str) -> list[str]:
        """Where a migration is registered."""
        return [self.short(d) for d in self.names if self.client[d].migrations.find_one({"name": name})]

    def locks(self) -> list[str]:
        return [name for name in self.names if self.client[name].migrations_lock.find_one()]


class TestExecute(DatabasesTestCase):
    def test_each_database_gets_each_migration_once(self) -> None:
        self.customers.trace("1_a.py", "print('told by', db.name)")
        result = self.fab("migrations:execute")
        self.assertEqual({f"d{place:02}": ["1_a.py"] for place in range(1, NUMBER + 1)}, self.ran_in())
        self.assertEqual("execute in 12 databases: 12 done", result.stderr.splitlines()[-1])
        for name in map(self.short, self.names):
            self.assertIn(f"{name}: told by {name}\n", result.stderr)
            self.assertRegex(result.stderr, rf"(?m)^{name}: Executed 1_a\.py in .* m?s$")
        self.assertEqual([], self.locks())
        self.assertEqual("execute in 12 databases: 12 nothing to do\n", self.fab("migrations:execute").stderr)

    def test_the_first_is_tried_alone(self) -> None:
        self.customers.migration("1_a.py", "1 / 0")
        result = self.fab("migrations:execute", code=1)
        self.assertEqual({"d01"}, set(re.findall(r"(?m)^(d\d+): Executing", result.stderr)))
        self.assertRegex(result.stderr, r"(?m)^d01: ZeroDivisionError: division by zero$")
        self.assertEqual(
            "execute in 12 databases: 1 failed (d01), 11 not begun (d02, d03, d04, d05, d06 and 6 more)."
            " fab migrations:execute continues; fab migrations:execute,databases=d01 only where it failed.",
            result.stderr.splitlines()[-1],
        )

    def test_a_failure_stops_what_has_not_begun(self) -> None:
        self.customers.trace("1_a.py", f"assert not db.name.endswith('_03'), 'not here'\n{self.wait_after_third()}")
        result = self.fab("migrations:execute", code=1)
        self.assertIn("1 failed (d03)", result.stderr.splitlines()[-1])
        self.assertRegex(result.stderr.splitlines()[-1], r"\d not begun")
        self.assertNotIn("d12", self.databases_with("1_a.py"))
        self.assertEqual([], self.locks())

        self.customers.trace("1_a.py")
        result = self.fab("migrations:execute,databases=failed")
        self.assertIn("d03: Executed 1_a.py", result.stderr)
        self.assertEqual("execute in 1 database: 1 done", result.stderr.splitlines()[-1])
        self.fab("migrations:execute")
        self.assertEqual([self.short(name) for name in self.names], self.databases_with("1_a.py"))

    def wait_after_third(self) -> str:
        """A piece of up() that keeps the others at work until the third has failed."""
        third = f"db.client[{self.names[2]!r}].migrations_log"
        return f"import time\nwhile db.name[-3:] != '_01' and not {third}.find_one():\n    time.sleep(0.02)\n"

    def test_go_on_goes_on(self) -> None:
        self.customers.trace("1_a.py", "assert db.name[-3:] not in ('_01', '_07'), 'not here'")
        result = self.fab("migrations:execute,go_on=yes", code=1)
        self.assertIn("10 done, 2 failed (d01, d07). fab", result.stderr.splitlines()[-1])
        self.assertEqual(10, len(self.databases_with("1_a.py")))
        states = {row["name"][-2:]: row["result"] for row in self.json("execute", code=1)["databases"]}
        self.assertEqual(
            {"01": "failed", "07": "not begun", "02": "not begun"}, {k: states[k] for k in ("01", "07", "02")}
        )

    def test_a_database_that_another_run_holds_comes_last(self) -> None:
        self.customers.migration("1_wait.py", until_file(self.customers.path / "go"))
        other = self.customers.fab_start("migrations:execute,databases=" + self.names[4])
        wait_for("lock", lambda: self.client[self.names[4]].migrations_lock.find_one({"migrations": "1_wait.py"}))
        self.customers.trace("1_wait.py")
        process = self.customers.fab_start("migrations:execute")
        wait_for("the others", lambda: len(self.databases_with("1_wait.py")) == NUMBER - 1)
        (self.customers.path / "go").touch()
        result, first = self.end_of(process), self.end_of(other)
        self.assertEqual((0, 0), (result.code, first.code), result.output)
        self.assertIn("d05: another run holds the lock, so it comes last\n", self.short(result.stderr))
        self.assertEqual([], self.ran_in()["d05"])

    def test_what_is_locked_all_the_time_is_said(self) -> None:
        self.customers.trace("1_a.py")
        self.client[self.names[1]].migrations_lock.insert_one(self.lock_of_another_machine())
        path = self.customers.path / "fabfile.py"
        path.write_text(path.read_text().replace("\n\nmigrations =", "\n    LOCK_WAIT = 0\n\n\nmigrations ="))
        result = self.fab("migrations:execute", code=3)
        self.assertIn("11 done, 1 locked (d02). fab migrations:execute continues.", result.stderr)
        self.assertNotIn("Waiting for", result.stderr)
        self.client[self.names[1]].migrations_lock.update_one({}, {"$set": {"migrations": ["1_a.py"]}})
        self.assertIn(
            "d02: 0 executed, 1 running\n  d02: locked by ann@web1 (process 1), execute of 1_a.py\n",
            self.fab("migrations").stderr,
        )

    def lock_of_another_machine(self) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.timezone.utc)
        facts = {"by": "ann@web1", "pid": 1, "subtask": "execute", "migrations": [], "since": now}
        return {"_id": "lock", "token": "x", "expires_at": now + datetime.timedelta(hours=1), **facts}

    def test_a_database_that_is_dropped_meanwhile_is_not_made_again(self) -> None:
        for name in self.names:
            self.client[name].notes.insert_one({})
        listed = f"[d for d in client.list_database_names() if d.startswith({self.database!r})]"
        self.customers = self.project(
            f"    MONGO_DATABASES = lambda self, client: {listed}\n    DATABASES_AT_ONCE = 1\n"
        )
        gone = f"db.client.drop_database({self.names[6]!r}) if db.name.endswith('_02') else None"
        self.customers.trace("1_a.py", gone)
        result = self.fab("migrations:execute")
        self.assertIn("d07: Nothing was done: d07 was dropped after this command had begun.\n", result.stderr)
        self.assertEqual("execute in 12 databases: 11 done, 1 nothing to do", result.stderr.splitlines()[-1])
        self.assertNotIn(self.names[6], self.client.list_database_names())

    def test_a_database_that_nobody_has_made_yet_is_made(self) -> None:
        self.customers.trace("1_a.py")
        self.client[self.names[0]].notes.insert_one({})
        self.fab("migrations:execute")
        self.assertEqual(NUMBER, len(self.databases_with("1_a.py")))

    def test_two_runs_share_the_work(self) -> None:
        self.customers.trace("1_a.py")
        results = [self.end_of(run) for run in [self.customers.fab_start("migrations:execute") for _ in range(2)]]
        self.assertEqual([0, 0], [result.code for result in results], results)
        self.assertEqual({self.short(name): ["1_a.py"] for name in self.names}, self.ran_in())

    def test_ctrl_c_ends_the_running_ones_in_order(self) -> None:
        self.customers.migration("1_wait.py", f"if db.name[-3:] != '_01':\n    {self.indented_wait()}")
        process = self.customers.fab_start("migrations:execute")
        wait_for("locks", lambda: len(self.locks()) >= 4)
        os.killpg(process.pid, signal.SIGINT)
        result = self.end_of(process)
        self.assertEqual(1, result.code, result.output)
        self.assertEqual([], self.locks())
        self.assertEqual(["d01"], self.databases_with("1_wait.py"))
        self.assertRegex(self.short(result.stderr), r"1 done, 4 failed \(d02, d03, d04, d05\), 7 not begun")

    def indented_wait(self) -> str:
        return until_file(self.customers.path / "never").replace("\n", "\n    ")


class TestScale(DatabasesTestCase):
    number = 1000 if RunTestCase.IN_FULL else NUMBER

    def test_memory_and_result(self) -> None:
        self.customers.trace("1_a.py")
        for subtask, said in (("execute", f"{self.number:,} done"), ("show_status", ": 1 executed; last 1_a.py")):
            process = self.customers.fab_start("--hide=status", f"migrations:{subtask}", cold=True)
            with ThreadPoolExecutor() as beside:
                most = beside.submit(memory, process)
                result = self.end_of(process, timeout=1200)
            self.assert_code(0, result)
            self.assertIn(said, result.stderr.splitlines()[-1])
            self.assertLess(most.result(), 150e6)
            print(f"{self.id()}: {subtask} in {self.number} databases took {most.result() / 1e6:.0f} MB")
        self.assertEqual({self.short(name): ["1_a.py"] for name in self.names}, self.ran_in())


class TestKilled(DatabasesTestCase):
    number = 20 if RunTestCase.IN_FULL else NUMBER

    def find_server(self) -> Server:
        return shared_replica_set()

    def test_the_next_run_does_the_rest(self) -> None:
        """In transactions, so that each migration runs once although its run may be killed in it."""
        self.customers.trace("1_a.py", "import time\ntime.sleep(0.05)", arguments="db, session")
        for _ in range(30 if self.IN_FULL else 2):
            process = self.customers.fab_start("migrations:execute")
            time.sleep(random.uniform(0.2, 1.2))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        # The workers give their locks back when they notice it.
        wait_for("end of the workers", lambda: not self.locks())
        self.fab("migrations:execute")
        self.assertEqual({self.short(name): ["1_a.py"] for name in self.names}, self.ran_in())


class TestChoice(DatabasesTestCase):
    number = 3

    def test_names_patterns_and_states(self) -> None:
        self.customers.trace("1_a.py")
        first, second, _ = self.names
        self.fab(f"migrations:execute,databases={first} {second}")
        self.assertEqual(["d01", "d02"], self.databases_with("1_a.py"))
        self.fab("migrations:rollback,1,databases=*_02")
        self.assertEqual(["d01"], self.databases_with("1_a.py"))
        result = self.fab("migrations:execute,databases=behind")
        self.assertEqual("execute in 2 databases: 2 done", result.stderr.splitlines()[-1])
        self.assertEqual(
            "execute in 0 databases: nothing to do\n", self.fab("migrations:execute,databases=failed").stderr
        )

    def test_mistakes(self) -> None:
        self.customers.trace("1_a.py")
        for words, sentence in (
            (
                "execute,databases=nobody",
                r"Nothing was done: databases=nobody matches none of MONGO_DATABASES \(d01, d02,",
            ),
            (f"execute,databases={self.database}_04", r"Nothing was done: databases=d04 .* Did you mean d0\d\?"),
            (
                "execute,databases=",
                r"Nothing was done: in which databases\? Add databases=NAME to fab migrations:execute",
            ),
            ("rollback,1", r"Nothing was done: in which databases\? Add databases=NAME to fab migrations:rollback"),
            ("forget,1", r"Nothing was done: in which databases\?"),
            ("unlock,force=yes", r"Nothing was done: in which databases\?"),
            ("execute,go_on=maybe", r"go_on can only be yes"),
        ):
            with self.subTest(words):
                result = self.fab(f"migrations:{words}", code=1)
                self.assertRegex(result.stderr, rf"^{sentence}")
                self.assertEqual(1, result.stderr.count("\n"))
        self.assertEqual([], self.databases_with("1_a.py"))

    def test_without_many_databases_the_option_is_refused(self) -> None:
        self.customers = self.project()
        result = self.fab("migrations:execute,databases=x", code=1)
        self.assertIn("databases= needs MONGO_DATABASES", result.stderr)

    def test_wrong_settings(self) -> None:
        for value in ("'tenant'", "[]", "[5]", "lambda client: 'tenant'", "lambda client: 5", "5"):
            with self.subTest(value):
                self.customers = self.project(f"    MONGO_DATABASES = {value}\n")
                result = self.fab("migrations:execute", code=1)
                self.assertRegex(result.stderr, r"^MONGO_DATABASES has to be a list of ")
                self.assertEqual(1, result.stderr.count("\n"), result.stderr)

    def test_a_name_that_no_database_can_have(self) -> None:
        for name in ("ten.ant", "ten ant", "ten$ant", "t" * 64):
            with self.subTest(name):
                self.customers = self.project(MONGO_DATABASES=[self.names[0], name], MONGO_DATABASE=None)
                self.assertEqual(
                    f"MONGO_DATABASES cannot have {name!r}: the name of a database has at most 63 bytes and none of"
                    ' / \\ . " $ or a space.\n',
                    self.fab("migrations:execute", code=1).stderr,
                )
        uris = {"ten ant": f"{self.server.uri}{self.names[0]}"}
        self.customers = self.project(MONGO_DATABASES=uris, MONGO_DATABASE=None)
        self.customers.trace("1_a.py")
        self.assertIn("ten ant: 0 executed", self.fab("migrations").stderr)

    def test_a_connection_string_for_each(self) -> None:
        first, second, _ = self.names
        uris = {first: f"{self.server.uri}", "the second": f"{self.server.uri}{second}"}
        self.customers = self.project(MONGO_DATABASES=uris, MONGO_DATABASE=None)
        self.customers.trace("1_a.py")
        result = self.fab("migrations:execute")
        self.assertIn("the second: Executed 1_a.py", result.stderr)
        self.assertEqual(["d01", "d02"], self.databases_with("1_a.py"))

    def test_the_first_numbers_a_file_and_one_stands_for_all_in_a_rehearsal(self) -> None:
        self.customers.trace("1_a.py")
        self.fab("migrations:execute")
        self.assertIn("2_b.py", self.fab("migrations:create,b").stdout)
        for name in self.names:
            self.client[name].notes.insert_many([{"text": "a"} for _ in range(5)])
        self.client[self.names[0]].more.insert_one({})
        self.client[self.names[1]].notes.insert_many([{"text": ["a"]}, {"text": {"a": 1}}, {"text": {"a": "b"}}])
        result = self.fab("migrations:rehearse,2")
        self.assertRegex(
            result.stderr,
            r"^d02 stands for all databases: samples of its collections have \d+ shapes of documents, the most\."
            " databases=NAME takes another\\.\n",
        )
        self.assertIn(" to d02_rehearsal at", result.stderr)
        self.assertIn(" to d03_rehearsal at", self.fab("migrations:rehearse,2,databases=*_03").stderr)
        self.assertIn("d02 stands for all", self.fab("migrations:rehearse,2,databases=behind").stderr)
        failed = self.fab("migrations:rehearse,2,databases=failed")
        self.assertEqual("rehearse in 0 databases: nothing to do\n", failed.stderr)

    def test_looking_for_shapes_ends_in_time(self) -> None:
        from migopy.databases.choice import Target
        from migopy.databases.managers import Managers
        from migopy.databases.representative import find_representative

        settings = {"MONGO_URI": self.server.uri, "MONGO_DATABASES": self.names}
        self.client[self.names[2]].notes.insert_one({})
        with Managers(type("Migrations", (migopy.MigrationsManager,), settings)) as managers:
            chosen = find_representative(managers, [*map(Target, self.names)], seconds=0)
        self.assertEqual((self.names[2], 1), (chosen.target.name, chosen.looked_into))
        self.assertRegex(chosen.sentence, r"have 1 shape of documents, the most of the 1 looked into in 20 s\.")


class TestRehearse(DatabasesTestCase):
    """The first four wait for a migration that makes a unique index; the last one is rehearsed for all."""

    number = 5

    def setUp(self) -> None:
        super().setUp()
        self.customers.migration("1_a.py", "db.users.create_index('email', unique=True)", "db.users.drop_indexes()")
        for name in self.names:
            self.client[name].users.insert_many([{"_id": n, "email": f"{n}@b.c"} for n in range(4)])
        self.client[self.names[4]].users.insert_many([{"email": 5}, {"email": 1.5}, {"email": ["a"]}])
        for place in (1, 2):
            twice = [{"_id": -n, "email": f"{n % place}@b.c"} for n in range(1, place + 1)]
            self.client[self.names[place]].users.insert_many(twice)
        self.fab("migrations:ignore,databases=*_04")

    def test_what_other_databases_have_in_common_is_said_once(self) -> None:
        result = self.fab("migrations:rehearse", code=4)
        self.assertIn("d05 stands for all databases", result.stderr)
        self.assertRegex(result.stdout, r"1_a.py .* users +duplicates\n")
        self.assertIn(
            "  on the real data:\n    users: in 2 other databases (d02, d03), such as d03: unique index email_1: 2"
            " values stand in more than one document: ",
            result.stdout,
        )
        self.assertIn("The real data will have trouble with 1_a.py (duplicates)", result.stderr)
        (rehearsed,) = self.json("rehearse", code=4)["rehearsed"]
        graves = {
            self.short(name): [each["documents"] for each in findings if each["is_grave"]]
            for name, findings in rehearsed["other_databases"].items()
        }
        self.assertEqual({"d01": [], "d02": [2], "d03": [4]}, graves)
        self.assertEqual(["new index"], [each["kind"] for each in rehearsed["preflight"]])
        self.assertEqual({}, self.json("rehearse,databases=*_01")["rehearsed"][0]["other_databases"])
        self.assertEqual({}, self.json("rehearse,preflight=no")["rehearsed"][0]["other_databases"])

    def test_the_one_that_is_rehearsed_waits_for_the_migration(self) -> None:
        self.fab("migrations:ignore,databases=*_05")
        result = self.fab("migrations:rehearse,1", code=1)  # the copy has the same value twice
        self.assertRegex(result.stderr, "^d0[123] stands for all databases")
        self.fab("migrations:ignore,databases=all")
        self.assertIn("nothing to execute", self.fab("migrations:rehearse").stderr)

    def test_on_several_servers(self) -> None:
        another = Mongod()
        another.start()
        self.addCleanup(another.close)
        with another.client() as client:
            client["far"].users.insert_many([{"_id": n, "email": "a@b.c"} for n in range(2)])
        uris = {self.names[4]: self.server.uri, "far": another.uri}
        self.customers = self.project(MONGO_DATABASES=uris, MONGO_DATABASE=None)
        self.customers.migration("1_a.py", "db.users.create_index('email', unique=True)")
        result = self.fab("migrations:rehearse", code=4)
        self.assertNotIn("before the rehearsal, by the fabfile", result.stderr)
        self.assertIn("users: in far: unique index email_1: 1 value stands in more than one document: ", result.stdout)

    def test_databases_that_are_not_asked_are_named(self) -> None:
        dbs = [self.client[name] for name in self.names[:3]]
        others = [OtherDatabase(db.name, db, ["1_a.py"]) for db in dbs]
        others += [OtherDatabase("down", trouble="MongoDB does not answer."), OtherDatabase("new", dbs[0], ["2_b.py"])]
        steps: list[str] = []
        self.assertEqual(
            ["in down: no question was asked: MongoDB does not answer."], self.not_asked(60, others, steps)
        )
        self.assertEqual((5, f"asking {dbs[0].name} (1 of 5)"), (len(steps), steps[0]))
        no_time = "no time was left of 0 s"
        self.assertEqual(
            [
                f"no answer about the index of createIndexes: {no_time}",
                f"in 3 other databases (d01, d02, d03), such as d01: no question was asked: {no_time}",
                "in down: no question was asked: MongoDB does not answer.",
            ],
            [self.short(text) for text in self.not_asked(0, others, steps)],
        )

    def not_asked(self, seconds: float, others: list[OtherDatabase], steps: list[str]) -> list[str]:
        """What is said of questions that were not asked within the time."""
        index = {"key": {"email": 1}, "name": "email_1", "unique": True}
        rehearsed = RehearsedMigration("1_a.py", sent=[Sent("createIndexes", "users", index, times=1)])
        loaded = Migration(1, "1_a.py", self.customers.path / "mongomigrations").load("up")
        questions, scale = Questions(self.client[self.names[4]], seconds), Scale(100, has_oplog=False, factors={})
        ahead = LookAhead(questions, scale, {}, [loaded], [rehearsed])
        ahead.ask()
        ahead.ask_others(others, steps.append)
        return [each.text for each in rehearsed.findings if each.kind == "not asked"]


class TestOverview(DatabasesTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.customers.trace("1_a.py")
        self.fab("migrations:execute")
        self.customers.trace("2_b.py", "assert db.name[-3:] != '_07', 'not here'")
        self.fab("migrations:execute,databases=*_0?,go_on=yes", code=1)

    def test_databases_in_one_state_stand_together(self) -> None:
        lines = self.fab("migrations").stderr.splitlines()
        self.assertRegex(lines[0], r"^12 databases at ")
        self.assertEqual("8 databases (d01, d02, d03, d04, d05 and 3 more): 2 executed; last 2_b.py", lines[1])
        self.assertEqual("3 databases (d10, d11, d12): 1 executed, 1 unregistered; last 1_a.py", lines[2])
        self.assertEqual("  2_b.py", lines[3])
        self.assertEqual("d07: 1 executed, 1 unregistered; last 1_a.py", lines[4])
        self.assertRegex(lines[6], r"^  d07: 2_b\.py: failed .*fab migrations:execute,databases=d07\b")

    def test_check_plan_and_history(self) -> None:
        result = self.fab("migrations:check", code=4)
        self.assertRegex(
            result.stderr.splitlines()[-1], r"^Something is wrong in 4 of 12 databases: d07, d10, d11, d12\.$"
        )
        self.fab("migrations:check,databases=*_01")
        plan = self.fab("migrations:plan")
        self.assertEqual(2, plan.stdout.count("2_b.py"))
        history = self.fab("migrations:history,2")
        self.assertEqual(3, history.stdout.count("NAME "))
        self.assertIn("d05 and 3 more), times of d01:\n", history.stderr)

    def test_a_difference_that_only_the_contents_of_files_show(self) -> None:
        other = {"checksum": "another", "code_checksum": "another"}
        self.client[self.names[1]].migrations.update_one({"name": "1_a.py"}, {"$set": other})
        result = self.fab("migrations:check", code=4)
        self.assertIn("d02:\n1_a.py: changed, ", result.stderr)
        self.assertIn("5 of 12 databases", result.stderr.splitlines()[-1])

    def test_programs_get_all(self) -> None:
        rows = self.json("show_status")["databases"]
        self.assertEqual([self.short(name) for name in self.names], [row["database"] for row in rows])
        self.assertEqual(["2_b.py"], rows[6]["unregistered"])
        rows = self.json("check", code=4)["databases"]
        self.assertEqual([True] * 6 + [False], [row["ok"] for row in rows[:7]])
        self.assertRegex(rows[6]["error"], r"Not up to date")

    def test_many_states_are_shortened(self) -> None:
        from migopy.databases.overview import MAX_GROUPS

        more = [f"{self.database}_x{place}" for place in range(MAX_GROUPS + 1)]
        for place, name in enumerate(more):
            self.addCleanup(self.client.drop_database, name)
            self.client[name].migrations.insert_many([{"name": f"{n}_c.py"} for n in range(place + 1)])
        self.customers = self.project(MONGO_DATABASES=more, MONGO_DATABASE=None)
        self.customers.trace("1_a.py")
        lines = self.fab("migrations").stderr.splitlines()
        self.assertIn("There are 1 more such groups; json=yes shows all.", lines)
        result = self.fab("migrations:check", code=4)
        self.assertIn(f"in {MAX_GROUPS + 1} of {MAX_GROUPS + 1} databases", result.stderr.splitlines()[-1])


class TestSignals(DatabasesTestCase):
    number = 2

    def test_while_the_databases_are_listed(self) -> None:
        listing = f"    def MONGO_DATABASES(self, client):\n        {self.indented(self.touch_and_wait())}\n"
        self.customers = self.project(listing, MONGO_DATABASE=None)
        self.assert_ended_by_signal(self.customers.fab_start("migrations:execute"))

    def test_while_they_are_read(self) -> None:
        """What was read until then is not taken for all, and nothing is executed."""
        uris = dict.fromkeys(self.names, self.server.uri)
        connecting = f"    def MongoClient(self, *args, **options):\n        {self.indented(self.touch_and_wait())}\n"
        self.customers = self.project(connecting, MONGO_DATABASES=uris, MONGO_DATABASE=None)
        self.customers.trace("1_a.py")
        self.assert_ended_by_signal(self.customers.fab_start("migrations:execute,databases=failed"))

    def touch_and_wait(self) -> str:
        begun = f"open({str(self.customers.path / 'begun')!r}, 'w').close()\n"
        return begun + until_file(self.customers.path / "never")

    def indented(self, text: str) -> str:
        return text.rstrip("\n").replace("\n", "\n        ")

    def assert_ended_by_signal(self, process: Any) -> None:
        first = self.customers.path.parent
        wait_for("begun", lambda: [*first.glob("*/begun")])
        os.kill(process.pid, signal.SIGTERM)
        result = self.end_of(process, timeout=20)
        self.assertEqual((1, ""), (result.code, result.stdout), result.output)
        self.assertNotIn("Traceback", result.stderr)
        self.assertNotIn("database", result.stderr)


class TestProcesses(DatabasesTestCase):
    number = 3

    def test_one_that_is_killed_beside_its_child(self) -> None:
        """The child has the connection too, so its end does not show at the connection."""
        child = "if not os.fork():\n    time.sleep(5)\n    os._exit(0)"
        self.customers.migration("1_a.py", f"import os, time\n{child}\nos.kill(os.getpid(), 9)")
        document = self.json("execute", code=1)
        row = document["databases"][0]
        self.assertEqual(
            ("d01", "failed", 1, "its process was ended by SIGKILL"),
            (self.short(row["name"]), row["result"], row["code"], row["error"]),
        )
        self.assertRegex(self.short(document["error"]), r"1 failed \(d01\), 2 not begun \(d02, d03\)\. fab ")
        # The lock is there until its lease ends.
        self.assertIn("d01: 0 executed", self.fab("migrations:show_status,databases=failed").stderr)

    def test_streams_that_a_migration_closes_or_replaces(self) -> None:
        for place, what in enumerate(("sys.stdout.close(); sys.stderr.close()", "sys.stdout = None", "os.close(1)"), 1):
            self.customers.trace(f"{place}_a.py", f"import os, sys\nprint('told by', db.name)\n{what}")
            result = self.fab("migrations:execute")
            self.assertEqual("execute in 3 databases: 3 done", result.stderr.splitlines()[-1])
            for name in map(self.short, self.names):
                self.assertIn(f"{name}: told by {name}\n", result.stderr)

    def test_output_of_any_kind(self) -> None:
        long = "x" * 200_000
        self.customers.migration(
            "1_a.py",
            f"""
            import os, sys
            print('y' * {len(long)})
            os.write(1, b'1 %\\r2 %\\rdone\\n' + bytes([0xff, 0xfe, 0]) + b'\\n')
            for number in range(2000):
                print('line', number)
            sys.stdout.write('no end')
            """,
        )
        lines = self.fab("migrations:execute").stderr.splitlines()
        for name in map(self.short, self.names):
            told = [line[5:] for line in lines if line.startswith(f"{name}: ")]
            self.assertEqual(len(long), sum(line.count("y") for line in told if set(line) == {"y"}))
            for line in ("1 %", "2 %", "done", "\\xff\\xfe\0", *(f"line {number}" for number in range(2000))):
                self.assertEqual(1, told.count(line), line)
            self.assertRegex(told[-1], "^no endExecuted 1_a.py in ")

    def test_a_client_that_was_made_before(self) -> None:
        made = f"import pymongo\nCLIENT = pymongo.MongoClient({self.server.uri!r})\nCLIENT.admin.command('ping')\n"
        path = self.customers.path / "fabfile.py"
        body = "    MongoClient = staticmethod(lambda *args, **options: CLIENT)\n\n\nmigrations ="
        path.write_text(made + path.read_text().replace("\n\nmigrations =", body))
        self.customers.trace("1_a.py")
        lines = self.fab("migrations:execute", code=1).stderr.splitlines()
        self.assertRegex(lines[0], r"^MongoClient returned a client that was made before the processes for many")
        self.assertEqual(1, len(lines), lines)

    def test_a_server_that_cannot_be_reached(self) -> None:
        """It is tried once by a process, and the others are read and migrated."""
        first, second, third = self.names
        nowhere = "mongodb://127.0.0.1:nonsense/"
        self.customers = self.project(
            MONGO_DATABASES={first: self.server.uri, second: nowhere, third: nowhere}, MONGO_DATABASE=None
        )
        self.customers.trace("1_a.py")
        lines = self.fab("migrations", code=1).stderr.splitlines()
        self.assertRegex(lines[1], r"^2 databases \(d02, d03\): PyMongo refuses the settings of the server")
        self.assertEqual("d01: 0 executed, 1 unregistered", lines[2])
        result = self.fab("migrations:execute,go_on=yes", code=1)
        self.assertRegex(result.stderr.splitlines()[-1], r"1 done, 2 failed \(d02, d03\)")
        self.assertEqual(["d01"], self.databases_with("1_a.py"))
        self.assertNotIn("Traceback", result.stderr)


class TestTeam(DatabasesTestCase):
    """What a team writes: its subtasks, its function for the databases, its dumps, names of all kinds."""

    number = 3

    SUBTASKS = """
    @migopy.task
    def tell(self, what="nothing", json=None):
        print("told", what, "by", self.db.name)

    @migopy.task
    def leave(self, code="0"):
        raise SystemExit(int(code))

    @migopy.task
    def execute(self, *options, **named):
        print("before", self.db.name)
        super().execute(*options, **named)
"""

    def test_own_subtasks(self) -> None:
        self.customers = self.project(self.SUBTASKS, MONGO_DATABASES=self.names, MONGO_DATABASE=None)
        self.customers.trace("1_a.py")
        result = self.fab("migrations:tell,all,databases=*_02")
        self.assertEqual(("d02: told all by d02\n", "tell in 1 database: 1 done\n"), result[1:])
        self.assertEqual("leave in 3 databases: 3 done\n", self.fab("migrations:leave,databases=all").stderr)
        self.assertEqual(
            "leave in 3 databases: 1 failed (d01), 2 not begun (d02, d03). fab migrations:leave,2,databases=all"
            " continues; fab migrations:leave,2,databases=d01 only where it failed.\n",
            self.fab("migrations:leave,2,databases=all", code=2).stderr,
        )
        result = self.fab("migrations:execute")
        self.assertIn("d03: before d03\n", result.stdout)
        self.assertEqual(3, len(self.databases_with("1_a.py")))

    def test_what_is_shown_without_json(self) -> None:
        """`kept` and `rollback,plan=yes` have a document, and a table for people."""
        self.customers.trace("1_a.py")
        self.fab("migrations:execute")
        result = self.fab("migrations:rollback,1,databases=all,plan=yes")
        self.assertEqual(3, result.output.count("1_a.py"), result.output)
        result = self.fab("migrations:kept,databases=all")
        self.assertEqual("kept in 3 databases: 3 done\n", result.output)
        self.assertEqual([[]] * 3, [row["kept"] for row in self.json("kept,databases=all")["databases"]])

    def test_a_wrong_option_is_told_once(self) -> None:
        result = self.fab("migrations:execute,nonsense=1", code=1)
        self.assertRegex(
            result.stderr, r"^fab migrations:execute: there is no option 'nonsense'.*\[,databases=NAMES\]\.\n$"
        )

    def test_functions_that_fail(self) -> None:
        for returned, sentence in (
            ("1 / 0", r"Nothing was done: MONGO_DATABASES failed \(ZeroDivisionError: division by zero\)\."),
            ("client.admin.command('nothing')", r"MongoDB at the server of MONGO_DATABASES refuses the command: .*"),
            ("[]", r"Nothing was done: MONGO_DATABASES returned no name\."),
            ("exit(0)", r"Nothing was done: the process that asks MONGO_DATABASES ended with exit code 0\."),
            ("{'d': 5}", r"MONGO_DATABASES, as a dictionary, has to have a connection string for each name\."),
        ):
            with self.subTest(returned):
                self.customers = self.project(f"    MONGO_DATABASES = lambda client: {returned}\n")
                result = self.fab("migrations:execute", code=1)
                self.assertRegex(result.stderr.splitlines()[-1], rf"^{sentence}$")
                self.assertEqual("1 / 0" in returned, "Traceback" in result.stderr)
                self.assertNotIn("migopy/", result.stderr)

    def test_commands_can_be_typed_as_they_are_shown(self) -> None:
        names = [self.database + name for name in ("a'b", "a,b", "a=b", "a&b;c", "a*", "ä")]
        for name in names:
            self.addCleanup(self.client.drop_database, name)
        self.customers = self.project(MONGO_DATABASES=[*names, "failed"], MONGO_DATABASE=None)
        self.addCleanup(self.client.drop_database, "failed")
        self.customers.migration("1_a.py", "assert 0, 'no'")
        result = self.fab("migrations:execute,go_on=yes", code=1)
        texts = [row["error"] for row in self.json("execute,go_on=yes", code=1)["databases"]]
        self.customers.trace("1_a.py")
        for name, text in zip([*names, "failed"], texts):
            command = re.search(r"fab '?migrations:execute,databases=.* runs it again", text)
            assert command, text
            self.assertIn(self.short(command[0]), result.stderr)
            (word,) = shlex.split(command[0][: -len(" runs it again")])[1:]
            self.fab(word)
            self.assertEqual(1, self.client[name].ran.count_documents({}), name)

    def test_dumps_at_the_same_time(self) -> None:
        self.customers = self.project(MONGO_DATABASES=self.names, MONGO_DATABASE=None, DO_MONGO_DUMP=True)
        self.customers.trace("1_a.py")
        for name in self.names:
            self.client[name].notes.insert_one({})
        # As if another dump had ended between the look into the directory and the look into its folder.
        (self.customers.path / "mongodumps").mkdir()
        (self.customers.path / "mongodumps" / "gone.unfinished").symlink_to("nowhere")
        path = tools_on_path(self.customers.path / "bin", self.customers.path / "calls")
        self.fab("migrations:execute", env={"PATH": path})
        dumps = [self.client[name].migrations.find_one()["dump"] for name in self.names]  # type: ignore[index]
        self.assertEqual(3, len(set(dumps)))
        for name, dump in zip(self.names, dumps):
            self.assertTrue(Path(dump, name, "notes.bson").exists())

    def test_running_ones(self) -> None:
        self.customers.migration("1_wait.py", until_file(self.customers.path / "go"))
        process = self.customers.fab_start("migrations:execute,databases=*_02")
        wait_for("lock", lambda: self.client[self.names[1]].migrations_lock.find_one({"migrations": "1_wait.py"}))
        result = self.fab("migrations:unlock,databases=running", code=1)
        self.assertRegex(result.stderr, r"^d02: locked by .*@.* \(process \d+\), execute of 1_wait\.py\n")
        self.assertIn("there is no terminal to ask on. The question is: Free the lock in d02? ", result.stderr)
        (self.customers.path / "go").touch()
        self.assertEqual(0, self.end_of(process).code)
        self.assertEqual(
            "unlock in 0 databases: nothing to do\n", self.fab("migrations:unlock,databases=running").stderr
        )


class TestQuestions(DatabasesTestCase):
    """What cannot be undone is asked once, and not by the process of each database."""

    number = 3

    def setUp(self) -> None:
        super().setUp()
        self.customers.trace("1_a.py")
        until = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=5)
        lock = {"_id": "lock", "token": "a", "by": "ann@web1", "subtask": "execute", "since": until}
        for name in self.names[:2]:
            self.client[name].migrations_lock.insert_one({**lock, "expires_at": until})

    def answer(self, words: str, text: str, code: int) -> list[str]:
        result = self.customers.fab_in_terminal("--hide=status", f"migrations:{words}", input=text)
        self.assert_code(code, result)
        return self.short(re.sub(r"\x1b\[[0-9;]*m", "", result.output)).splitlines()

    def test_no_frees_no_lock_and_yes_frees_all(self) -> None:
        shown = ["d01: locked by ann@web1, execute", "d02: locked by ann@web1, execute"]
        lines = self.answer("unlock,databases=all", "no\n", code=1)
        self.assertEqual(shown, [line for line in lines if "locked by" in line])
        self.assertEqual(1, sum("[yes/no]" in line for line in lines), lines)
        self.assertIn("Free the lock in 2 databases (d01, d02)? A run that still works there", "\n".join(lines))
        self.assertTrue(lines[-1].endswith("[yes/no] Nothing was done."), lines)
        self.assertEqual(self.names[:2], self.locks())

        lines = self.answer("unlock,databases=all", "yes\n", code=0)
        self.assertEqual("unlock in 2 databases: 2 done", lines[-1])
        self.assertEqual([], self.locks())
        self.assertEqual(["unlock in 0 databases: nothing to do"], self.answer("unlock,databases=all", "", code=0))

    def test_without_a_terminal_one_sentence_says_what_to_write(self) -> None:
        for words, question in (
            ("dbrestore,some_dump", "Replace the collections of 3 databases (d01, d02, d03) with those of a dump?"),
            ("kept,older=30", "Delete what is kept for rollbacks in 3 databases (d01, d02, d03)?"),
            ("rejected,drop=1", "Leave the documents that were set aside in 3 databases (d01, d02, d03) as they are?"),
        ):
            with self.subTest(words):
                self.assertEqual(
                    "Nothing was done: there is no terminal to ask on. The question is:"
                    f" {question} Write force=yes to answer yes.\n",
                    self.fab(f"migrations:{words},databases=all", code=1).stderr,
                )
        self.assertEqual(self.names[:2], self.locks())

    def test_what_only_reads_asks_nothing(self) -> None:
        self.assertIn("kept in 3 databases: 3 done", self.fab("migrations:kept,databases=all").stderr)


class TestOperated(DatabasesTestCase):
    number = 3
    COUNT = 1_000

    def slowly(self) -> str:
        """A piece of up() that takes so long that it can be paused, until there is a file ``fast``."""
        path = str(self.customers.path / "fast")
        return (
            f"def once(user):\n    __import__('time').sleep(0 if __import__('os').path.exists({path!r}) else 0.05)\n"
            "    return {'$inc': {'n': 1}}\n\nbatches.update(db.users, {}, once, size=10)"
        )

    def changed(self) -> list[int]:
        return [self.client[name].users.count_documents({"n": 1}) for name in self.names[1:]]

    def test_the_running_ones_are_paused_and_resumed_together_and_one_is_stopped(self) -> None:
        """The first database, which is tried alone, has no documents: the two others run at the same time."""
        self.customers = self.project(MONGO_DATABASES=self.names, MONGO_DATABASE=None, LOCK_WAIT=20)
        self.customers.migration("1_counts.py", self.slowly(), arguments="db, batches")
        for name in self.names[1:]:
            self.client[name].users.insert_many([{"_id": n, "n": 0} for n in range(self.COUNT)])
        process = self.customers.fab_start("migrations:execute")
        wait_for("two runs at work", lambda: all(self.changed()))
        for asked in ("pause", "stop", "pace,full", "resume"):
            refused = self.fab(f"migrations:{asked}", code=1).stderr
            self.assertRegex(refused, "^Nothing was done: in which databases.*, or databases=running for those")
        paused = self.fab("migrations:pause,databases=running,because=backup").stderr
        for name in ("d02", "d03"):
            self.assertRegex(paused, rf"(?m)^{name}: The run is paused by \S+@\S+ \(backup\) and keeps its lock\.")
        self.assertIn("pause in 2 databases: 2 done\n", paused)
        before = self.changed()
        (self.customers.path / "fast").touch()
        time.sleep(1.5)
        self.assertEqual(before, self.changed())
        self.assertRegex(
            self.fab("migrations").stderr,
            r"d02: locked by \S+@\S+ \(process \d+\), execute of 1_counts\.py, paused by \S+@\S+ \(backup\)\n",
        )
        self.fab("migrations:pace,documents=20,databases=running")
        self.fab("migrations:stop,databases=*_03")
        self.fab("migrations:resume,databases=*_02")
        wait_for("a run that moves", lambda: self.changed()[0] > before[0])
        self.fab("migrations:pace,full,databases=*_02")
        ended = self.end_of(process)
        self.assert_code(1, ended)
        self.assertRegex(self.short(ended.stderr), r"(?m)^d03: .*1_counts\.py was stopped by \S+@\S+")
        self.assertEqual([self.COUNT, before[1]], self.changed())
        self.assertEqual((["d01", "d02"], []), (self.databases_with("1_counts.py"), self.locks()))
        self.fab("migrations:execute")
        self.assertEqual([self.COUNT, self.COUNT], self.changed())


class TestRights(WithUsersTestCase):
    def test_one_database_without_rights_is_named_and_the_others_are_read(self) -> None:
        names = [self.database, f"{self.database}_locked_away"]
        self.client.admin.command("createUser", "ann", pwd="secret", roles=[{"role": "readWrite", "db": self.database}])
        self.addCleanup(self.client.admin.command, "dropUser", "ann")
        settings: dict[str, Any] = {"MONGO_DATABASES": names, "MONGO_USER": "ann", "MONGO_USER_PASSWORD": "secret"}
        project = Project(self, basic_fabfile(self.server, self.database, **settings, MONGO_AUTH_DATABASE="admin"))
        project.trace("1_a.py")
        result = project.fab("--hide=status", "migrations")
        self.assert_code(1, result)
        self.assertIn(f"{self.database}: 0 executed, 1 unregistered", result.stderr)
        self.assertRegex(result.stderr, rf"{names[1]}: .*not allowed|{names[1]}: .*right")
        self.assertNotIn("secret", result.output)
        result = project.fab("--hide=status", "migrations:execute")
        self.assert_code(1, result)
        self.assertIn(f"1 done, 1 failed ({names[1]})", result.stderr)


class TestPage(NewcomerTestCase):
    def test_the_page_shows_what_is_printed(self) -> None:
        names = [f"{self.database}_{place}" for place in (1, 2, 3)]
        for name in names:
            self.client[name].notes.insert_one({})
            self.addCleanup(self.client.drop_database, name)
        page = PAGES["databases"].replace("tenant_", f"{self.database}_")
        page = page.replace('"localhost"\n', f'"localhost"\n    MONGO_PORT = {self.server.port}\n')
        self.write_all(page)
        self.newcomer.migration("1_tags.py")
        for block in blocks(page):
            for command, shown in block.commands if block.language == "console" else ():
                printed = self.type(command)
                shown = shown.replace(self.database, "blog")
                self.assertEqual(sorted(shown.split("\n")), sorted(printed.split("\n")), command)
