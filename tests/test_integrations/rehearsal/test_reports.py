"""What check, plan and history tell, to people and to programs."""

from __future__ import annotations

import codecs
import json
import os
import re
from datetime import datetime, timezone

from tests.cases import TeamTestCase


class TestDrift(TeamTestCase):
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

    def test_a_byte_order_mark_is_no_change(self) -> None:
        path = self.team.path / "mongomigrations/1_a.py"
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
        self.fab("migrations:check")
        self.files("4_d.py")
        added = self.team.path / "mongomigrations/4_d.py"
        added.write_bytes(codecs.BOM_UTF8 + added.read_bytes())
        self.fab("migrations:execute")
        self.assertEqual(["up 4_d.py"], self.ran())

    def test_check_names_everything_and_exits_with_4(self) -> None:
        self.assertIn("Up to date", self.fab("migrations:check").stderr)
        self.drift()
        self.team.write("mongomigrations/Bad-Name.py", "")
        result = self.fab("migrations:check", code=4)
        for problem in (
            "1_a.py: changed",
            "2_b.py: missing",
            "02_late.py: out of order",
            "Not the name of a migration: Bad-Name.py.",
        ):
            self.assertIn(problem, result.stderr)
        self.assertIn(
            "4 unregistered migrations, 4 problems (Bad-Name.py badly named, 1_a.py changed, 2_b.py missing, ",
            result.stderr,
        )
        self.assertEqual("", result.stdout)

    def test_show_status_tells_all_but_the_changed_content(self) -> None:
        self.drift()
        result = self.fab("migrations")
        for problem in ("2_b.py: missing", "02_late.py: out of order"):
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


class TestReading(TeamTestCase):
    def test_plan_tells_transaction_down_dump_and_what_cannot_run(self) -> None:
        self.files("1_a.py")
        self.team.migration("2_b.py", "pass", down=None, arguments="db, session")
        self.team.write("mongomigrations/3_c.py", "import nothing_of_that_name\n")
        result = self.fab("migrations:plan", code=4)
        rows = [line.split() for line in result.stdout.splitlines()[:4]]
        self.assertEqual(["NAME", "TRANSACTION", "VERIFY", "DOWN", "DUMP"], rows[0])
        self.assertEqual([["1_a.py", "no", "no", "yes", "no"], ["2_b.py", "yes", "no", "no", "no"]], rows[1:3])
        self.assertEqual(["3_c.py", "?", "?", "?", "no"], rows[3])
        self.assertIn("3_c.py cannot be imported (line 1)", result.stderr)
        self.assertEqual(["1_a.py"], [step["name"] for step in self.json("plan,to=1")["plan"]])
        self.assertEqual([], self.ran())

    def test_plan_tells_that_down_could_not_be_called(self) -> None:
        for parameters in ("", "db, sesion"):
            self.team.write("mongomigrations/1_a.py", f"def up(db):\n    pass\n\n\ndef down({parameters}):\n    pass\n")
            warned = self.team.fab("migrations:plan")
            self.assert_code(0, warned)
            self.assertRegex(
                warned.stderr,
                r"(?m)^down\(\) of 1_a\.py cannot be called \(.*\): write down\(db\), .*\."
                r" Until then fab migrations:rollback refuses it\.$",
            )
        self.team.write("mongomigrations/1_a.py", "def up(db):\n    pass\n\n\ndef down(db, batches):\n    pass\n")
        self.assertNotIn("down() of", self.team.fab("migrations:plan").stderr)

    def test_plan_tells_why_execute_would_refuse(self) -> None:
        self.team = self.project(DO_MONGO_DUMP=True, STRICT=True)
        self.db.migrations.insert_one({"name": "1_gone.py"})
        self.team.migration("2_b.py", "pass", arguments="db, session")
        nowhere = {"PATH": "/nowhere"}
        planned = self.team.fab("migrations:plan", env=nowhere)
        self.assertEqual(4, planned.code, planned.output)
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
            {"1_a.py": "ignored", "2_b.py": "executed", "3_c.py": "failed", "4_d.py": "unregistered"},
            states,
        )
        self.assertEqual(2, len(self.fab("--hide=status", "migrations:history,last=1").stdout.splitlines()))
        self.assertRegex(self.fab("migrations:history,3").stdout, r"failed .*ZeroDivisionError: division by zero")

    def test_a_line_of_history_fits_the_terminal_and_a_pipe_cuts_nothing(self) -> None:
        name = f"1_{'long_' * 18}.py"
        self.files(name)
        self.fab("migrations:execute")
        in_terminal = self.team.fab_in_terminal("migrations:history", env={"COLUMNS": "80"}).stdout
        whole = r"executed +[\d-]{10} [\d:]{8} \S+  \S+ m?s +\S+@\S+\n"
        self.assertRegex(in_terminal.replace("\r", ""), rf"1_long\w+…\w+_\.py  {whole}")
        self.assertLessEqual(max(map(len, in_terminal.splitlines())), 80)
        self.assertRegex(self.fab("migrations:history").stdout, rf"{name}  {whole}")

    def test_json_is_one_document_with_times_in_utc(self) -> None:
        self.files("1_a.py", "2_b.py")
        before = datetime.now(timezone.utc).replace(microsecond=0)
        self.fab("migrations:execute,1")
        status = self.json("show_status")
        last = status.pop("last")
        where = {"database": self.database, "server": f"{self.server.host}:{self.server.port}"}
        numbers = {"executed": 1, "ignored": 0}
        self.assertEqual(
            {**where, **numbers, "unregistered": ["2_b.py"], "running": None, "problems": [], "lock": None}, status
        )
        status["last"] = last
        self.assertEqual({"ok": False, "obstacles": [], **status}, self.json("check", code=4))
        plan = self.json("plan")["plan"]
        step = {
            "name": "2_b.py",
            "transaction": False,
            "batches": False,
            "verify": False,
            "down": True,
            "down_from_kept": False,
            "down_problem": None,
            "dump": False,
            "error": None,
        }
        self.assertEqual([step], plan)
        first, second = self.json("history")["migrations"]
        self.assertEqual({"name": "1_a.py", "at": first["at"]}, last)
        self.assertRegex(first["at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        at = datetime.strptime(first["at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        self.assertLessEqual(before, at)
        self.assertEqual(("executed", "unregistered"), (first["state"], second["state"]))
        self.assertIsNone(second["at"])
        self.fab("migrations:rollback,1")
        executed, event = self.json("history,1")["events"]
        self.assertEqual(("rolled back", first["at"]), (event["event"], event["executed_at"]))
        self.assertEqual(
            [first[key] for key in ("at", "by", "seconds")], [executed[key] for key in ("at", "by", "seconds")]
        )

    def test_history_of_one_has_a_row_for_each_time_that_it_was_executed_or_ignored(self) -> None:
        self.files("3_c.py")
        self.fab(
            "migrations:execute",
            "migrations:rollback,3",
            "migrations:ignore,3",
            "migrations:forget,3",
            "migrations:execute",
        )
        shown = self.fab("--hide=status", "migrations:history,3").stdout.partition("\nEVENT")[2]
        self.assertEqual(
            ["executed", "rolled", "ignored", "forgotten", "executed"],
            [line.split()[0] for line in shown.splitlines()[1:]],
        )
        (now, *_, first) = reversed(self.json("history,3")["events"])
        self.assertEqual(("executed", "executed"), (now["event"], first["event"]))
        self.assertGreater(now["at"], "2014")

    def test_a_name_that_only_the_log_knows_is_shown(self) -> None:
        self.team.trace("4_wrong.py", "1 / 0")
        self.team.fab("migrations:execute")
        folder = self.team.path / "mongomigrations"
        (folder / "4_wrong.py").rename(folder / "5_right.py")
        rows = self.json("history")["migrations"]
        self.assertEqual(["no file"], [row["state"] for row in rows if row["name"] == "4_wrong.py"])
        self.assertEqual([], self.json("history")["problems"])
        shown = self.fab("migrations:history,4").stdout
        self.assertRegex(shown, r"\n4_wrong\.py +no file +[\d-]{10} ")
        self.assertRegex(shown, r"\nfailed .*ZeroDivisionError")

    def test_ten_thousand_migrations_are_no_problem(self) -> None:
        self.db.migrations.insert_many([{"name": f"{number}_gone.py"} for number in range(1, 10001)])
        self.files("10001_a.py")
        shown = self.fab("--hide=status", "migrations:history,last=2").stdout
        self.assertEqual(["9999_gone.py", "10000_gone.py"], [line.split()[0] for line in shown.splitlines()[1:]])
        self.assertEqual(10002, len(self.fab("--hide=status", "migrations:history").stdout.splitlines()))
