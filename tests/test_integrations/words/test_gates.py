"""What a script asks before and after a deployment: check and plan, and the ways on that they name."""

from __future__ import annotations

import re
from typing import Any

from tests.cases import TeamTestCase


class TestBeforeADeployment(TeamTestCase):
    def test_what_is_only_pending_is_no_fault(self) -> None:
        self.files("1_a.py", "2_b.py")
        result = self.fab("migrations:check,pending=ok")
        self.assertIn("Nothing is wrong, 2 migrations to execute", result.stderr)
        self.assertEqual((True, []), (lambda d: (d["ok"], d["obstacles"]))(self.json("check,pending=ok")))
        self.fab("migrations:check", code=4)
        self.fab("migrations:execute")
        for command in ("check,pending=ok", "check"):
            self.assertIn("Up to date, nothing is wrong", self.fab(f"migrations:{command}").stderr)
        self.assertIn("pending can only be ok, not 'no'", self.fab("migrations:check,pending=no", code=1).stderr)

    def test_what_execute_would_stop_at_and_what_is_wrong_is_one(self) -> None:
        self.files("1_a.py")
        cases = {
            "2_b.py": ("def up(db):\n    print 'x'\n", "2_b.py cannot be imported"),
            "3_c.py": ("import nowhere\n", "3_c.py cannot be imported"),
            "4_d.py": ("def down(db): pass\n", "4_d.py has no function up"),
            "5_e.py": ("def up(db, session): pass\n", "neither a replica set nor a sharded cluster"),
            "Six.py": ("", "Not the name of a migration: Six.py"),
        }
        for name, (text, reason) in cases.items():
            path = self.team.write(f"mongomigrations/{name}", text)
            for command in ("check,pending=ok", "plan"):
                result = self.fab(f"migrations:{command}", code=4)
                self.assertRegex(result.stderr, rf"(?m)^execute would stop: .*{re.escape(reason)}")
                document = self.json(command, code=4)
                self.assertTrue(any(reason in obstacle for obstacle in document["obstacles"]), document)
            self.assertIn(reason, self.team.fab("migrations:execute").stderr)
            path.unlink()
        self.assertEqual([], self.ran())
        self.db.migrations.insert_one({"name": "0_gone.py"})
        told = "Something is wrong: 1 problem (0_gone.py missing). See fab migrations:plan.\n"
        self.assertIn(told, self.fab("migrations:check,pending=ok", code=4).stderr)

    def test_what_a_file_prints_when_it_is_imported_is_not_in_the_json(self) -> None:
        self.team.write(
            "mongomigrations/1_a.py", "import os\nprint('made')\nos.system('echo shell')\ndef up(db): pass\n"
        )
        self.assertEqual("1_a.py", self.json("plan")["plan"][0]["name"])
        self.assertEqual([], self.json("check,pending=ok")["obstacles"])
        result = self.fab("--hide=status", "migrations:plan")
        self.assertTrue(result.stdout.startswith("NAME "), result)
        self.assertIn("made\n", result.stderr)
        self.assertIn("shell\n", result.stderr)

    def test_an_interrupted_migration_is_an_obstacle(self) -> None:
        self.files("1_a.py", "2_b.py")
        self.db.migrations_log.insert_one({"event": "interrupted", "name": "1_a.py", "at": self.now(), "by": "me@here"})
        result = self.fab("migrations:plan", code=4)
        self.assertIn("execute would stop: 1_a.py was interrupted", result.stderr)
        self.assertEqual(1, result.stderr.count("was interrupted"))
        self.assertIn("1_a.py was interrupted", self.json("check,pending=ok", code=4)["obstacles"][0])

    def now(self) -> Any:
        return self.client.admin.command("isMaster")["localTime"]

    def test_the_cure_of_a_failure_is_not_blocked(self) -> None:
        """What execute settles is told, and ends with 0; what it leaves as it is does not."""
        self.files("1_a.py", "3_c.py")
        self.team.trace("2_b.py", "1 / 0")
        self.team.fab("migrations:execute")
        checked = self.fab("migrations:check,pending=ok")
        self.assertIn("2_b.py: failed on ", checked.stderr)
        self.assertIn("fab migrations:execute settles this: 2 migrations to execute\n", checked.stderr)
        self.files("2_b.py")
        self.fab("migrations:check,pending=ok", "migrations:execute", "migrations:check")
        self.files("0_late.py")
        self.assertIn("0_late.py: out of order, ", self.fab("migrations:check,pending=ok").stderr)
        self.fab("migrations:execute", "migrations:check")
        self.team.trace("2_b.py", down="1 / 0")
        self.team.fab("migrations:rollback,2")
        told = self.fab("migrations:check,pending=ok", code=4).stderr
        self.assertIn("Something is wrong: 2 problems (2_b.py rollback failed, 2_b.py changed). See", told)

    def test_what_is_wrong_with_registered_ones_is_not_called_out_of_date(self) -> None:
        self.files("1_a.py")
        self.fab("migrations:execute")
        self.files("1_a.py")
        self.team.migration("1_a.py")
        told = "Something is wrong: 1 problem (1_a.py changed). See fab migrations:plan.\n"
        self.assertIn(told, self.fab("migrations:check", code=4).stderr)
        self.assertIn("1_a.py: changed, ", self.fab("migrations:plan").stderr)


class TestWaysOn(TeamTestCase):
    def test_a_renamed_file_is_recognised_and_the_way_on_works(self) -> None:
        self.files("1_a.py", "2_b.py")
        self.fab("migrations:execute")
        self.ran()
        folder = self.team.path / "mongomigrations"
        (folder / "1_a.py").rename(folder / "3_new.py")
        sentence = "if you renamed it, fab migrations:accept,3_new.py keeps its history; if not, bring 1_a.py back"
        for command, code in (
            ("show_status", 0),
            ("check", 4),
            ("check,pending=ok", 4),
            ("plan", 0),
            ("history", 0),
            ("history,1", 0),
        ):
            self.assertIn(sentence, self.fab(f"migrations:{command}", code=code).stderr)
            problems = self.json(command, code=code)["problems"]
            self.assertEqual([True], [sentence in problem["text"] for problem in problems], problems)
        before = self.record("1_a.py")
        result = self.fab("migrations:accept,3_new.py", "migrations:check")
        self.assertIn("Accepting 3_new.py, which was 1_a.py...\n", result.stderr)
        self.assertEqual([], self.ran())
        self.assertEqual({**before, "_id": "3_new.py", "name": "3_new.py"}, self.record("3_new.py"))
        self.assertIsNone(self.record("1_a.py"))
        *_, event = self.json("history,3")["events"]
        self.assertEqual(("accepted", "1_a.py"), (event["event"], event["was"]))
        self.assertRegex(self.fab("migrations:history,3").stdout, r"\naccepted .* was 1_a\.py\n")

    def record(self, name: str) -> Any:
        return self.db.migrations.find_one({"name": name})

    def test_a_changed_file_is_accepted_and_keeps_its_history(self) -> None:
        self.files("1_a.py")
        self.fab("migrations:execute")
        before = self.record("1_a.py")
        self.team.migration("1_a.py", "pass")
        problem = self.json("check", code=4)["problems"][0]["text"]
        self.assertIn("restore the old file, or fab migrations:accept,1_a.py to take the new one as executed", problem)
        for command in ("history", "plan"):
            self.assertIn(problem, self.fab(f"migrations:{command}").stderr)
        result = self.fab("migrations:accept,1", "migrations:check")
        self.assertIn("Accepting 1_a.py...\n", result.stderr)
        after = self.record("1_a.py")
        checksums = ("checksum", "code_checksum")
        self.assertFalse({before[key] for key in checksums} & {after[key] for key in checksums})
        self.assertEqual(before, {**after, **{key: before[key] for key in checksums}})
        *_, event = self.json("history,1")["events"]
        self.assertEqual(("accepted", None), (event["event"], event["was"]))
        again = self.fab("migrations:accept,1")
        self.assertIn("1_a.py is the file that was executed, nothing to accept", again.stderr)
        self.assertEqual(1, self.db.migrations_log.count_documents({}))

    def test_comments_and_layout_are_no_change(self) -> None:
        self.team.migration("1_a.py", "db.users.update_many({'a': 1}, {'$set': {'b': 2}})")
        self.team.migration("2_b.py", "db.users.drop()")
        self.fab("migrations:execute")
        self.team.write(
            "mongomigrations/1_a.py",
            '''
            """Sets b."""

            def up(db):
                """It was written in a hurry."""
                db.users.update_many(  # all of them
                    {"a": 1},
                    {"$set": {"b": 2}},
                )


            def down(db):
                pass
            ''',
        )
        self.fab("migrations:check")
        renamed = (self.team.path / "mongomigrations" / "2_b.py").rename(self.team.path / "mongomigrations" / "3_c.py")
        renamed.write_text("# renamed\n" + renamed.read_text())
        self.assertIn("and 3_c.py has the same code; if you renamed it, ", self.fab("migrations").stderr)
        self.fab("migrations:accept,3", "migrations:check")
        # An older migopy has stored the checksum of the text only: then every change of the text is one.
        self.db.migrations.update_many({}, {"$unset": {"code_checksum": 1}})
        self.assertEqual(["1_a.py"], [problem["name"] for problem in self.json("check", code=4)["problems"]])
        self.fab("migrations:accept,1", "migrations:check")

    def test_a_renamed_file_keeps_the_events_of_its_old_names(self) -> None:
        self.team.migration("1_a.py", "1 / 0")
        self.team.fab("migrations:execute")
        self.team.migration("1_a.py")
        self.fab("migrations:execute")
        folder = self.team.path / "mongomigrations"
        for old, new in (("1_a.py", "2_b.py"), ("2_b.py", "3_c.py")):
            (folder / old).rename(folder / new)
            self.fab(f"migrations:accept,{new}")
        self.files("1_a.py")
        self.team.trace("1_a.py", "raise ValueError('of another file')")
        self.team.fab("migrations:execute")
        events = [(event["event"], event["was"]) for event in self.json("history,3")["events"]]
        self.assertEqual([("failed", None), ("executed", None), ("accepted", "1_a.py"), ("accepted", "2_b.py")], events)

    def test_a_file_that_was_renamed_and_changed_is_accepted_with_its_old_name(self) -> None:
        self.db.migrations.insert_one({"name": "1_a.py"})  # as 1.0 did
        self.files("2_b.py")
        executed_at = self.json("history,1")["migrations"][0]["at"]
        refused = self.fab("migrations:accept,2", code=1)
        self.assertIn(
            "2_b.py is not registered, and no registered migration without a file has its code. Nothing was done. If it"
            " was renamed, write what it was: fab migrations:accept,2_b.py,was=OLD",
            refused.stderr,
        )
        self.assertIn("There is no file 1_a.py in mongomigrations.", self.fab("migrations:accept,1", code=1).stderr)
        self.fab("migrations:accept,2,was=1", "migrations:check")
        (row,) = self.json("history")["migrations"]
        self.assertEqual(("2_b.py", "executed", executed_at), (row["name"], row["state"], row["at"]))
        self.assertIn(
            "2_b.py is registered under this name, so it was not renamed.",
            self.fab("migrations:accept,2,was=2", code=1).stderr,
        )
        self.files("3_c.py")
        refused = self.fab("migrations:accept,3,was=2", code=1)
        self.assertIn("2_b.py is still in mongomigrations. Nothing was done.", refused.stderr)
        self.assertEqual([], self.ran())

    def test_a_rollback_that_failed_stays_so_and_forbids_another_name(self) -> None:
        path = self.team.migration("1_a.py", down="1 / 0")
        self.fab("migrations:execute")
        self.assert_code(1, self.team.fab("migrations:rollback,1"))
        path.write_text(path.read_text() + "x = 1\n")
        self.fab("migrations:accept,1")
        self.assertIn("1_a.py: rollback failed", self.fab("migrations:check", code=4).stderr)
        path.rename(path.with_name("2_b.py"))
        refused = self.fab("migrations:accept,2", code=1)
        self.assertIn("The rollback of 1_a.py has not ended well. Nothing was done. Give the file", refused.stderr)
        self.assertEqual(["1_a.py"], self.registered())

    def test_two_registered_ones_of_one_number_are_no_problem(self) -> None:
        self.files("1_a.py", "1_b.py")
        self.assertNotIn("same number", self.fab("migrations:check", code=4).stderr)
        self.fab("migrations:execute,1_b")
        told = "1_a.py: same number, it has the number of 1_b.py, which is registered, and fab migrations:execute runs"
        self.assertIn(told, self.fab("migrations:check", code=4).stderr)
        self.assertIn(told, self.fab("migrations:check,pending=ok").stderr)
        self.fab("migrations:execute", "migrations:check")

    def test_one_stray_file_does_not_hide_the_pending_ones(self) -> None:
        self.files("1_a.py", "Stray-File.py")
        result = self.fab("migrations")
        self.assertIn("\n1_a.py\n", result.stderr)
        self.assertIn(
            "Stray-File.py: badly named, its name does not match MIGRATIONS_FILE_PATTERN; rename it", result.stderr
        )
        status = self.json("show_status")
        self.assertEqual(["1_a.py", "Stray-File.py"], status["unregistered"])
        self.assertEqual(["badly named"], [problem["kind"] for problem in status["problems"]])
        self.fab("migrations:execute", code=1)
        self.assertEqual([], self.ran())
        self.db.migrations.insert_one({"name": "0_gone.py"})
        checked = self.fab("migrations:check", code=4).stderr
        self.assertIn(
            "2 unregistered migrations, 2 problems (Stray-File.py badly named, 0_gone.py missing) and execute", checked
        )
        self.assertEqual(2, checked.count("Stray-File.py: ") + checked.count("migration: Stray-File.py"))

    def test_a_link_that_leads_nowhere_and_a_directory_are_named(self) -> None:
        self.files("1_a.py", "3_c.py")
        folder = self.team.path / "mongomigrations"
        (folder / "2_link.py").symlink_to("/nowhere/2_link.py")
        (folder / "4_folder.py").mkdir()
        (folder / ".#1_a.py").symlink_to("someone@here.1")  # as an editor locks a file
        for command, code in (("show_status", 0), ("plan", 4), ("check", 4), ("history", 0)):
            result = self.fab(f"migrations:{command}", code=code)
            self.assertIn("2_link.py: unreadable, it is a broken symbolic link; fix it", result.stderr)
            self.assertIn("4_folder.py: unreadable, it is a directory; fix it, rename it or remove it", result.stderr)
            self.assertEqual(2, len(self.json(command, code=code)["problems"]))
        result = self.fab("migrations:execute", code=1)
        self.assertRegex(result.stderr, r"2_link\.py cannot be read: it is a broken symbolic link\.\n$")
        self.assertEqual([], self.ran())
        (folder / "2_link.py").unlink()
        self.fab("migrations:execute")
        self.assertEqual(["up 1_a.py", "up 3_c.py"], self.ran())

    def test_a_registered_file_that_became_a_dead_link_hides_nothing(self) -> None:
        self.files("1_a.py", "2_b.py")
        self.fab("migrations:execute")
        path = self.team.path / "mongomigrations" / "1_a.py"
        path.unlink()
        path.symlink_to("/nowhere")
        problems = self.json("check", code=4)["problems"]
        self.assertEqual([("unreadable", "1_a.py")], [(problem["kind"], problem["name"]) for problem in problems])
        self.assertIn("2_b.py", self.fab("migrations:history").stdout)
