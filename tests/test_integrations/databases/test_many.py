"""Many databases: one command, each in its own state."""

from __future__ import annotations

import datetime
import json
import os
import random
import re
import signal
import time
from typing import Any

from tests.documents import PAGES, blocks
from tests.server import Server, shared_replica_set, wait_for
from tests.support import Project, Result, RunTestCase, WithUsersTestCase, basic_fabfile, until_file
from tests.test_integrations.project.test_readme import NewcomerTestCase

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
            " fab migrations:execute continues; fab migrations:execute,databases=failed only those that failed.",
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

    def lock_of_another_machine(self) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.timezone.utc)
        facts = {"by": "ann@web1", "pid": 1, "subtask": "execute", "migrations": [], "since": now}
        return {"_id": "lock", "token": "x", "expires_at": now + datetime.timedelta(hours=1), **facts}

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


class TestKilled(DatabasesTestCase):
    def find_server(self) -> Server:
        return Server(shared_replica_set().uri)

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
        self.client[self.names[1]].more.insert_one({})
        result = self.fab("migrations:rehearse,2")
        self.assertIn("d02 has the most collections; it stands for all databases.", result.stderr)


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
