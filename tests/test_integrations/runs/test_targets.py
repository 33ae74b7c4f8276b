"""Which migrations a subtask means: short names, to=, last=, and forget."""

from __future__ import annotations

from tests.cases import TeamTestCase


class TestTargets(TeamTestCase):
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
        for command in ("ignore", "rehearse", "history"):
            result = self.fab(f"migrations:{command},", code=1)
            self.assertIn(f"NAME is empty. Write fab migrations:{command},NAME, or ", result.stderr)
        self.assertEqual([], self.ran() + self.registered())

    def test_plan_is_of_all_up_to_one_and_says_how_to_write_that(self) -> None:
        self.files("1_a.py")
        self.assertIn("Write fab migrations:plan[,to=NAME]", self.fab("migrations:plan,1", code=1).stderr)

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

    def test_a_rollback_can_be_shown_before(self) -> None:
        self.files("1_a.py", "2_b.py", "3_c.py")
        self.fab("migrations:execute")
        self.ran()
        shown = self.fab("--hide=status", "migrations:rollback,to=1,plan=yes").stdout
        lines = shown.splitlines()
        self.assertEqual(["NAME", "EXECUTED", "BY", "TRANSACTION"], lines[0].split())
        self.assertEqual(["3_c.py", "2_b.py"], [line.split()[0] for line in lines[1:]])
        planned = self.json("rollback,to=1,plan=yes")["migrations"]
        self.assertEqual([("3_c.py", "not run"), ("2_b.py", "not run")], [(m["name"], m["result"]) for m in planned])
        self.team.migration("2_b.py", down=None)
        self.assertIn("2_b.py has no function down(db)", self.fab("migrations:rollback,2,plan=yes", code=1).stderr)
        self.assertEqual([], self.ran())
        self.assertEqual(3, len(self.registered()))

    def test_rollback_without_an_option_only_says_what_to_write(self) -> None:
        self.files("1_a.py")
        self.fab("migrations:execute")
        result = self.fab("migrations:rollback", code=1)
        self.assertRegex(result.stderr, r"migrations:rollback,NAME .* or .*last=N .* or .*to=NAME")
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
