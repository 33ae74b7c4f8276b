"""execute, ignore and rollback: what runs, what is said, what is registered, and where a failure stops."""

from __future__ import annotations

import time

from tests.cases import NOTHING, TRY_EACH, UNREGISTERED, FabTestCase, TeamTestCase, announced


class TestExecute(FabTestCase):
    def test_each_is_announced_executed_and_registered_at_once(self) -> None:
        project = self.project()
        for number, name in enumerate(("1_first.py", "2_second.py", "10_third.py")):
            up = f"print('in {name}'); assert db.migrations.count_documents({{}}) == {number}"
            project.migration(name, up)
        result = project.fab("--hide=status", "migrations:execute")
        self.assert_code(0, result)
        names = ["1_first.py", "2_second.py", "10_third.py"]
        self.assertEqual([f"Executing migration {name}..." for name in names], announced(result))
        self.assertEqual("".join(f"in {name}\n" for name in names), result.stdout)
        self.assertEqual(names, self.registered())

    def test_what_is_registered_tells_how_and_can_be_read_by_1_0(self) -> None:
        project = self.noting(self.project(), "1_first.py", "2_second.py")
        self.assert_code(0, project.fab("migrations:execute,1_first.py", "migrations:ignore"))
        executed, ignored = self.db.migrations.find().sort("_id", 1)
        self.assertEqual(["1_first.py"] * 2, [executed["_id"], executed["name"]])
        self.assertEqual(["executed", "ignored"], [executed["state"], ignored["state"]])
        self.assertLess(abs(executed["at"].timestamp() - time.time() + time.timezone), 24 * 3600)
        self.assertRegex(executed["by"], r"^\S+@\S+$")
        self.assertRegex(executed["checksum"], r"^[0-9a-f]{64}$")
        self.assertIsInstance(executed["seconds"], float)
        self.assertEqual("2.0.0", executed["migopy"])

    def test_one_may_be_named_in_several_ways(self) -> None:
        project = self.noting(self.project(more=TRY_EACH), *(f"{n}_x.py" for n in range(1, 8)))
        attempts = self.attempts(
            project,
            ("execute", "3_x.py"),
            ("execute", "4_x"),
            ("execute", "05"),
            ("execute", {"spec_migr": "6_x.py"}),
            ({"subtask": "execute", "spec_migr": "2_x.py"},),
            ("execute",),
        )
        self.assertEqual([0] * 6, [attempt.code for attempt in attempts])
        self.assertEqual([f"{n}_x.py" for n in (3, 4, 5, 6, 2, 1, 7)], self.notes())

    def test_migrations_of_1_0_count_as_executed(self) -> None:
        project = self.noting(self.project(), "1_first.py", "2_second.py")
        self.db.migrations.insert_many([{"name": "1_first.py"}, {"name": "1_first.py"}])
        self.assert_code(0, project.fab("migrations:execute", "migrations:rollback,1_first.py"))
        self.assertEqual(["2_second.py", "undone 1_first.py"], self.notes())
        self.assertEqual(["2_second.py"], self.registered())

    def test_with_several_hosts_the_second_time_finds_nothing_to_do(self) -> None:
        project = self.noting(self.project(), "1_first.py")
        result = project.fab("-H", "one,two", "migrations:execute")
        self.assert_code(0, result)
        self.assertEqual(["Executing migration 1_first.py..."], announced(result))
        self.assertTrue(result.stderr.endswith(f"\n{NOTHING}"), result.stderr)
        self.assertEqual(["1_first.py"], self.notes())

    def test_in_parallel_each_migration_runs_once(self) -> None:
        project = self.noting(self.project(), "1_first.py", "2_second.py")
        result = project.fab("-P", "-H", "one,two", "migrations:execute")
        self.assert_code(0, result)
        self.assertEqual(["1_first.py", "2_second.py"], self.notes())
        self.assertEqual(["1_first.py", "2_second.py"], self.registered())


class TestIgnoreAndRollback(FabTestCase):
    def test_ignore_announces_and_registers_without_executing(self) -> None:
        project = self.noting(self.project(), "1_a.py", "2_b.py", "3_c.py")
        result = project.fab("--hide=status", "migrations:ignore,2_b.py", "migrations:ignore")
        self.assert_code(0, result)
        names = ("2_b.py", "1_a.py", "3_c.py")
        self.assertEqual([f"Registering migration {name}..." for name in names], announced(result))
        self.assertEqual(({"1_a.py", "2_b.py", "3_c.py"}, []), (set(self.registered()), self.notes()))

    def test_ignoring_imports_nothing(self) -> None:
        project = self.project()
        project.write("mongomigrations/1_broken.py", "def up(db:")
        self.assert_code(0, project.fab("migrations:ignore"))
        self.assertEqual(["1_broken.py"], self.registered())

    def test_rollback_runs_down_of_a_registered_migration_and_unregisters_it(self) -> None:
        project = self.noting(self.project(), "1_a.py", "2_b.py")
        result = project.fab("--hide=status", "migrations:execute", "migrations:rollback,1_a.py", "migrations")
        self.assert_code(0, result)
        self.assertEqual("Rollback migration 1_a.py...", announced(result)[-1])
        self.assertIn(f"\n{UNREGISTERED}1_a.py\n", result.stderr)
        self.assertEqual((["2_b.py"], ["1_a.py", "2_b.py", "undone 1_a.py"]), (self.registered(), self.notes()))

    def test_a_rollback_that_fails_leaves_it_registered(self) -> None:
        project = self.project()
        project.migration("1_a.py", down="raise ValueError('no way back')")
        self.db.migrations.insert_one({"name": "1_a.py"})
        result = project.fab("migrations:rollback,1_a.py")
        self.assertEqual((1, ["1_a.py"]), (result.code, self.registered()))
        self.assertIn("1_a.py failed (line 6, ValueError: no way back): it stays registered. What it", result.stderr)
        self.assertIn("Traceback (most recent call last):\n", result.stderr)


class TestFailingMigrations(FabTestCase):
    def test_the_run_stops_at_the_first_that_raises_and_begins_there_again(self) -> None:
        project = self.noting(
            self.project(more="\n\ndef restart():\n    print('restarted')\n"), "1_a.py", "3_c.py", "4_d.py"
        )
        project.migration("2_b.py", "def inner():\n    raise KeyError('lost')\ninner()")
        result = project.fab("migrations:execute", "restart")
        self.assertEqual((1, ""), (result.code, result.stdout))
        self.assertEqual([f"Executing migration {name}..." for name in ("1_a.py", "2_b.py")], announced(result))
        before, _, trace = result.stderr.partition("Traceback ")
        self.assertEqual("2_b.py failed:", before.splitlines()[-1])
        self.assertRegex(
            trace.splitlines()[-1],
            r"^2_b\.py failed \(line 3, KeyError: 'lost'\): it is not registered, and the 2 after it did not run\."
            r" What it had changed stays\. Fix it, then fab migrations:execute runs it again\.$",
        )
        path = project.path / "mongomigrations" / "2_b.py"
        self.assertTrue(trace.startswith(f'(most recent call last):\n  File "{path}", line 4, in up\n'), trace)
        self.assertIn(f"  File \"{path}\", line 3, in inner\n    raise KeyError('lost')\n", trace)
        self.assertIn("\nKeyError: 'lost'\n", trace)
        self.assertNotIn("migopy/", trace)
        self.assertEqual((["1_a.py"], ["1_a.py"]), (self.registered(), self.notes()))

        self.noting(project, "2_b.py")
        self.assertEqual("restarted", project.fab("migrations:execute", "restart").stdout.split()[0])
        self.assertEqual(["1_a.py", "2_b.py", "3_c.py", "4_d.py"], self.notes())
        self.assertEqual(self.notes(), self.registered())

    def test_what_a_migration_may_raise_to_end_the_run(self) -> None:
        project = self.project(more=TRY_EACH)
        cases: dict[str, tuple[int, str]] = {
            "import migopy; raise migopy.MigopyException('Not on Fridays.')": (1, r"^Not on Fridays\.$"),
            "import migopy; raise migopy.StopTaskExecution()": (
                1,
                r"^2_a\.py failed \(line 2, StopTaskExecution\): it is not registered\. What it had changed stays\.",
            ),
            "import sys; sys.exit(3)": (3, ""),
            "from fabric.api import abort; abort('no')": (1, r"^Fatal error: no$"),
            "from fabric.api import local; local('false')": (1, r"^Fatal error: local\(\) "),
        }
        for number, up in enumerate(cases, start=1):
            project.migration(f"{number}_a.py", up)
        attempts = self.attempts(project, *(("execute", str(number)) for number in range(1, len(cases) + 1)))
        for number, (code, expected), attempt in zip(range(1, 9), cases.values(), attempts):
            self.assertEqual(code, attempt.code, attempt)
            self.assertRegex(attempt.stderr, f"(?m){expected}")
            self.assertEqual([f"Executing migration {number}_a.py..."], announced(attempt))
            self.assertNotIn("Traceback", attempt.stderr)
        self.assertEqual("Not on Fridays.", attempts[0].stderr.splitlines()[-1])
        self.assertEqual([], self.registered())

    def test_the_code_of_sys_exit_is_that_of_fab(self) -> None:
        project = self.noting(self.project(), "1_a.py", "3_c.py")
        project.migration("2_b.py", "import sys; sys.exit(3)")
        self.assertEqual(3, project.fab("migrations:execute", "migrations").code)
        self.assertEqual((["1_a.py"], ["1_a.py"]), (self.registered(), self.notes()))


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


class TestWhileItWorks(TeamTestCase):
    """Hooks and progress."""

    def test_hooks_are_called_around_each_and_stop_the_run(self) -> None:
        self.team = self.project(HOOKS)
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
        self.assertRegex(lines[1], r"^Executed 1_a\.py in (\d+|<1) ms$")
        self.assertEqual("Executing migration 2_b.py... (2 of 2)", lines[2])
        self.assertRegex(lines[4], r"^Executed 2 migrations in \d+ ms$")
