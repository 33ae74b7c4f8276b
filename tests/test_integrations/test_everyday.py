"""What weekly work reaches for: targets, forget, history, drift, check, plan, create, hooks, progress."""

from __future__ import annotations

import json
import os
import re
import threading
from datetime import datetime, timezone
from typing import Any

from tests.support import MongoTestCase, Project, Result

UP = "db.ran.insert_one({{'up': '{0}'}})"
DOWN = "db.ran.insert_one({{'down': '{0}'}})"


class EverydayTestCase(MongoTestCase):
    maxDiff = None

    def setUp(self) -> None:
        super().setUp()
        self.team = self.project()

    def files(self, *names: str) -> None:
        """Migrations that note in the collection `ran` what was run of them."""
        for name in names:
            self.team.migration(name, UP.format(name), DOWN.format(name))

    def fab(self, *arguments: str, code: int = 0) -> Result:
        result = self.team.fab(*arguments)
        self.assertEqual(code, result.code, result.output)
        self.assertNotIn("Traceback", result.output)
        return result

    def json(self, subtask: str, code: int = 0) -> Any:
        return json.loads(self.fab("--hide=status", f"migrations:{subtask},json=yes", code=code).stdout)

    def ran(self) -> list[str]:
        """What was run since the last call, as `up 1_a.py`."""
        found = [f"{key} {value}" for run in self.db.ran.find() for key, value in run.items() if key != "_id"]
        self.db.ran.delete_many({})
        return found

    def registered(self) -> list[str]:
        return sorted(self.db.migrations.distinct("name"))


class TestTargets(EverydayTestCase):
    def test_execute_and_ignore_up_to_and_including_one(self) -> None:
        self.files("1_a.py", "2_b.py", "3_c.py", "10_d.py")
        self.fab("migrations:execute,to=2")
        self.assertEqual(["up 1_a.py", "up 2_b.py"], self.ran())
        result = self.fab("migrations:execute,to=1")
        self.assertIn("All migrations up to 1 registered, nothing to execute", result.stderr)
        self.fab("migrations:ignore,to=3_c")
        self.assertEqual([], self.ran())
        self.assertEqual(["1_a.py", "2_b.py", "3_c.py"], self.registered())

    def test_short_names_mean_one_file_or_list_those_they_may_mean(self) -> None:
        self.files("001_users.py", "1_notes.py", "2_tags.py")
        result = self.fab("migrations:execute,1", code=1)
        self.assertIn("'1' may mean 001_users.py or 1_notes.py: write the whole name.", result.stderr)
        self.fab("migrations:execute,001_users")
        self.fab("migrations:execute,02")
        self.assertEqual(["up 001_users.py", "up 2_tags.py"], self.ran())
        self.assertIn("No migration '7' in mongomigrations", self.fab("migrations:execute,7", code=1).stderr)

    def test_an_empty_target_of_an_empty_variable_does_not_mean_all(self) -> None:
        self.files("1_a.py")
        for command in ("execute,to=", "ignore,to=", "rollback,to=", "rollback,last=", "history,last=", "plan,to="):
            self.fab(f"migrations:{command}", code=1)
        self.assertEqual([], self.ran() + self.registered())

    def test_rollback_goes_by_the_time_of_execution_newest_first(self) -> None:
        self.files("1_a.py", "2_b.py", "3_c.py", "4_d.py")
        self.fab("migrations:execute,3")
        self.fab("migrations:ignore,4")
        self.fab("migrations:execute")
        self.ran()
        result = self.fab("migrations:rollback,last=2")
        self.assertEqual(["down 2_b.py", "down 1_a.py"], self.ran())
        self.assertIn("Rollback migration 2_b.py... (1 of 2)", result.stderr)
        self.assertIn("Rolled back 2 migrations in", result.stderr)
        self.assertEqual(["3_c.py", "4_d.py"], self.registered())

    def test_rollback_to_one_takes_back_what_was_executed_after_it(self) -> None:
        self.files("1_a.py", "2_b.py", "3_c.py")
        self.fab("migrations:execute,2")
        self.fab("migrations:execute")
        self.ran()
        self.fab("migrations:rollback,to=2")
        self.assertEqual(["down 3_c.py", "down 1_a.py"], self.ran())
        self.assertIn("nothing to roll back", self.fab("migrations:rollback,to=2").stderr)

    def test_rollback_without_an_option_only_says_what_to_write(self) -> None:
        self.files("1_a.py")
        self.fab("migrations:execute")
        result = self.fab("migrations:rollback", code=1)
        self.assertRegex(result.stderr, r"migrations:rollback,NAME or .*last=N or .*to=NAME")
        self.assertEqual(["1_a.py"], self.registered())

    def test_a_missing_down_or_file_is_noticed_before_the_first_down(self) -> None:
        self.files("1_a.py", "2_b.py", "3_c.py")
        self.fab("migrations:execute")
        self.ran()
        path = self.team.migration("2_b.py", down=None)
        self.assertIn("2_b.py has no function down(db)", self.fab("migrations:rollback,last=3", code=1).stderr)
        path.unlink()
        self.assertIn("migrations:forget,2_b.py", self.fab("migrations:rollback,last=3", code=1).stderr)
        self.assertEqual([], self.ran())
        self.assertEqual(3, len(self.registered()))

    def test_forget_unregisters_without_down_and_is_logged(self) -> None:
        self.files("1_a.py", "2_b.py")
        self.fab("migrations:execute")
        self.ran()
        (self.team.path / "mongomigrations/2_b.py").unlink()
        self.fab("migrations:forget,1")
        self.fab("migrations:forget,2_b.py")
        self.assertEqual([], self.ran() + self.registered())
        self.assertEqual(["forgotten", "forgotten"], [event["event"] for event in self.db.migrations_log.find()])
        self.assertIn("is not registered", self.fab("migrations:forget,1", code=1).stderr)


class TestDrift(EverydayTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.files("1_a.py", "2_b.py", "3_c.py")
        self.fab("migrations:execute")
        self.ran()

    def drift(self) -> None:
        """A changed file, a missing one, one out of order, two of one number, and a bad name."""
        self.team.migration("1_a.py", "pass")
        (self.team.path / "mongomigrations/2_b.py").unlink()
        self.files("02_late.py", "4_d.py", "4_e.py")

    def test_newline_style_is_no_change(self) -> None:
        path = self.team.path / "mongomigrations/1_a.py"
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        self.fab("migrations:check")

    def test_check_names_everything_and_exits_with_4(self) -> None:
        self.assertIn("Up to date", self.fab("migrations:check").stderr)
        self.drift()
        self.team.write("mongomigrations/Bad-Name.py", "")
        result = self.fab("migrations:check", code=4)
        for problem in (
            "1_a.py: changed",
            "2_b.py: missing",
            "02_late.py: out of order",
            "4_d.py: same number",
            "4_e.py: same number",
            "Bad-Name.py: badly named",
        ):
            self.assertIn(problem, result.stderr)
        self.assertIn("4 unregistered migrations and 6 problems", result.stderr)
        self.assertEqual("", result.stdout)

    def test_show_status_tells_all_but_the_changed_content(self) -> None:
        self.drift()
        result = self.fab("migrations")
        for problem in ("2_b.py: missing", "02_late.py: out of order", "4_e.py: same number"):
            self.assertIn(problem, result.stderr)
        self.assertNotIn("changed", result.stderr)

    def test_strict_refuses_to_execute_and_says_the_way_on(self) -> None:
        self.team = self.project(STRICT=True)
        self.files("1_a.py", "2_b.py", "3_c.py", "4_new.py")
        self.drift()
        result = self.fab("migrations:execute", code=1)
        for word in (
            "1_a.py: changed",
            "2_b.py: missing",
            "02_late.py: out of order",
            "forget",
            "Nothing was executed",
        ):
            self.assertIn(word, result.stderr)
        self.assertEqual([], self.ran())

    def test_check_and_plan_write_nothing(self) -> None:
        self.drift()
        self.client.drop_database(self.database)
        before = {path: path.stat().st_mtime_ns for path in self.team.path.rglob("mongomigrations/*")}
        os.chmod(self.team.path / "mongomigrations", 0o555)
        try:
            self.fab("migrations:check", code=4)
            self.fab("migrations:plan")
            self.fab("migrations:history")
            self.fab("migrations")
        finally:
            os.chmod(self.team.path / "mongomigrations", 0o755)
        self.assertEqual(before, {path: path.stat().st_mtime_ns for path in self.team.path.rglob("mongomigrations/*")})
        self.assertNotIn(self.database, self.client.list_database_names())


class TestReading(EverydayTestCase):
    def test_plan_tells_transaction_down_dump_and_what_cannot_run(self) -> None:
        self.files("1_a.py")
        self.team.migration("2_b.py", "pass", down=None, arguments="db, session")
        self.team.write("mongomigrations/3_c.py", "import nothing_of_that_name\n")
        result = self.fab("migrations:plan")
        rows = [line.split() for line in result.stdout.splitlines()[:4]]
        self.assertEqual(["NAME", "TRANSACTION", "DOWN", "DUMP"], rows[0])
        self.assertEqual([["1_a.py", "no", "yes", "no"], ["2_b.py", "yes", "no", "no"]], rows[1:3])
        self.assertEqual(["3_c.py", "?", "?", "no"], rows[3])
        self.assertIn("3_c.py cannot be imported (line 1)", result.stderr)
        self.assertEqual(["1_a.py"], [step["name"] for step in self.json("plan,to=1")["plan"]])
        self.assertEqual([], self.ran())

    def test_plan_tells_why_execute_would_refuse(self) -> None:
        self.team = self.project(DO_MONGO_DUMP=True, STRICT=True)
        self.db.migrations.insert_one({"name": "1_gone.py"})
        self.team.migration("2_b.py", "pass", arguments="db, session")
        nowhere = {"PATH": "/nowhere"}
        planned = self.team.fab("migrations:plan", env=nowhere)
        self.assertEqual(0, planned.code, planned.output)
        for obstacle in ("STRICT: 1_gone.py: missing", "neither a replica set", "mongodump is not on PATH"):
            self.assertRegex(planned.stderr, rf"execute would stop: .*{obstacle}")
        self.assertEqual(1, self.team.fab("migrations:execute", env=nowhere).code)
        shown = self.team.fab("--hide=status", "migrations:plan,json=yes", env=nowhere).stdout
        self.assertEqual(3, len(json.loads(shown)["obstacles"]))

    def test_history_of_every_state_and_of_one_migration(self) -> None:
        self.files("1_a.py", "2_b.py", "4_d.py")
        self.team.migration("3_c.py", "1 / 0")
        self.fab("migrations:ignore,1")
        self.fab("migrations:execute,2")
        self.assertEqual(1, self.team.fab("migrations:execute").code)
        shown = self.fab("--hide=status", "migrations:history").stdout
        states = {line.split()[0]: re.split(r"  +", line)[1] for line in shown.splitlines()[1:]}
        self.assertEqual(
            {"1_a.py": "ignored", "2_b.py": "executed", "3_c.py": "unregistered, failed", "4_d.py": "unregistered"},
            states,
        )
        self.assertEqual(2, len(self.fab("--hide=status", "migrations:history,last=1").stdout.splitlines()))
        self.assertRegex(self.fab("migrations:history,3").stdout, r"failed .*ZeroDivisionError: division by zero")

    def test_a_line_of_history_fits_the_terminal_and_a_pipe_cuts_nothing(self) -> None:
        name = f"1_{'long_' * 18}.py"
        self.files(name)
        self.fab("migrations:execute")
        in_terminal = self.team.fab_in_terminal("migrations:history", env={"COLUMNS": "80"}).stdout
        self.assertEqual(80, max(map(len, in_terminal.splitlines())))
        self.assertIn("…", in_terminal)
        self.assertRegex(self.fab("migrations:history").stdout, rf"{name} +executed +\S+ \S+ +\S+ s +\S+@\S+\n")

    def test_json_is_one_document_with_times_in_utc(self) -> None:
        self.files("1_a.py", "2_b.py")
        before = datetime.now(timezone.utc).replace(microsecond=0)
        self.fab("migrations:execute,1")
        status = self.json("show_status")
        self.assertEqual({"unregistered": ["2_b.py"], "problems": [], "lock": None}, status)
        self.assertEqual({"ok": False, **status}, self.json("check", code=4))
        plan = self.json("plan")["plan"]
        step = {"name": "2_b.py", "transaction": False, "down": True, "dump": False, "error": None}
        self.assertEqual([step], plan)
        first, second = self.json("history")["migrations"]
        self.assertRegex(first["at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        at = datetime.strptime(first["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        self.assertLessEqual(before, at)
        self.assertEqual(("executed", "unregistered"), (first["state"], second["state"]))
        self.assertIsNone(second["at"])
        self.fab("migrations:rollback,1")
        (event,) = self.json("history,1")["events"]
        self.assertEqual(("rolled back", first["at"]), (event["event"], event["executed_at"]))

    def test_ten_thousand_migrations_are_no_problem(self) -> None:
        self.db.migrations.insert_many([{"name": f"{number}_gone.py"} for number in range(1, 10001)])
        self.files("10001_a.py")
        shown = self.fab("--hide=status", "migrations:history,last=2").stdout
        self.assertEqual(["10000_gone.py", "10001_a.py"], [line.split()[0] for line in shown.splitlines()[1:]])
        self.assertEqual(10002, len(self.fab("--hide=status", "migrations:history").stdout.splitlines()))


class TestCreate(EverydayTestCase):
    def created(self, words: str) -> str:
        path = self.fab("--hide=status", f"migrations:create,{words}").stdout.strip()
        self.assertEqual(self.team.path / "mongomigrations", self.team.path / os.path.dirname(path))
        return os.path.basename(path)

    def test_it_is_numbered_after_the_highest_as_wide_as_that_and_can_be_executed(self) -> None:
        self.assertEqual("001_first.py", self.created("first"))  # makes the directory too
        self.db.migrations.insert_one({"name": "0006_gone.py"})
        self.assertEqual("0007_add_index_on_users.py", self.created("add index on Users!"))
        text = (self.team.path / "mongomigrations/0007_add_index_on_users.py").read_text()
        self.assertIn('"""add index on Users!"""', text)
        self.fab("migrations:execute")
        self.fab("migrations:rollback,7")

    def test_the_template_of_the_team(self) -> None:
        self.team = self.project(MIGRATION_TEMPLATE="# {words}, {not ours}\ndef up(db): pass\n")
        name = self.created("tags")
        self.assertEqual(
            "# tags, {not ours}\ndef up(db): pass\n", (self.team.path / "mongomigrations" / name).read_text()
        )

    def test_what_would_not_match_the_pattern_is_refused(self) -> None:
        self.team = self.project(MIGRATIONS_FILE_PATTERN=r"m(?P<migr_nr>[0-9]+)\.py")
        self.assertIn("MIGRATIONS_FILE_PATTERN", self.fab("migrations:create,first", code=1).stderr)
        self.team = self.project()
        self.fab("migrations:create,???", code=1)
        self.assertEqual([], list(self.team.path.glob("mongomigrations/*")))

    def test_two_at_the_same_moment_do_not_overwrite_each_other(self) -> None:
        self.files("1_a.py")
        threads = [threading.Thread(target=self.team.fab, args=("migrations:create,same words",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(5, len(list(self.team.path.glob("mongomigrations/*.py"))))


HOOKS = """
    def before_each(self, name):
        print("before " + name)
        if name == "3_c.py":
            raise RuntimeError("not that one")

    def after_each(self, name):
        print("after " + name)
        if name == "2_b.py":
            raise RuntimeError("not after that one")
"""


class TestWhileItWorks(EverydayTestCase):
    def test_hooks_are_called_around_each_and_stop_the_run(self) -> None:
        fabfile = (
            (self.team.path / "fabfile.py").read_text().replace("\n\n\nmigrations =", f"\n{HOOKS}\n\nmigrations =")
        )
        self.team = Project(self, fabfile)
        self.files("1_a.py", "2_b.py", "3_c.py", "4_d.py")
        result = self.team.fab("migrations:execute")
        self.assertEqual(1, result.code)
        self.assertEqual(["before 1_a.py", "after 1_a.py", "before 2_b.py", "after 2_b.py"], result.stdout.splitlines())
        self.assertIn("not after that one", result.stderr)
        self.assertIn("the migration is registered, and the 2 after it did not run", result.stderr)
        self.assertEqual(["1_a.py", "2_b.py"], self.registered())
        result = self.team.fab("migrations:execute")
        self.assertEqual(1, result.code)
        self.assertIn("3_c.py failed (RuntimeError: not that one): it is not registered", result.stderr)
        self.assertEqual(["1_a.py", "2_b.py"], self.registered())
        self.assertEqual(["up 1_a.py", "up 2_b.py"], self.ran())

    def test_progress_has_place_and_duration_and_a_summary(self) -> None:
        self.files("1_a.py", "2_b.py")
        lines = self.fab("migrations:execute").stderr.splitlines()
        self.assertEqual("Executing migration 1_a.py... (1 of 2)", lines[0])
        self.assertRegex(lines[1], r"^Executed 1_a\.py in \d+\.\d s$")
        self.assertEqual("Executing migration 2_b.py... (2 of 2)", lines[2])
        self.assertRegex(lines[4], r"^Executed 2 migrations in \d+\.\d s$")

    def test_help_has_the_order_of_the_table_and_the_docstring_lists_the_subtasks(self) -> None:
        order = [line.split()[1] for line in self.fab("migrations:help").stderr.splitlines()]
        names = "show_status execute ignore rollback forget plan check history create dbdump dbrestore unlock help"
        self.assertEqual([f"migrations:{name}" for name in names.split()], order)
        self.assertIn("fab migrations:create - ", self.fab("-d", "migrations").stdout)
        self.assertIn("migrations", self.fab("--shortlist").stdout.split())
