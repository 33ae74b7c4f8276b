"""fab migrations: what is unregistered, in order, and where it is shown."""

from __future__ import annotations

from tests.cases import NOTHING, TRY_EACH, UNREGISTERED, FabTestCase


class TestStatus(FabTestCase):
    def test_names_come_in_the_order_of_their_numbers_on_stderr(self) -> None:
        project = self.noting(self.project(), "010_a.py", "3_a.py", "20140101120000_x.py", "0002_a.py", "3_0.py")
        result = project.fab("--hide=status", "migrations", "migrations:", "migrations:show_status")
        names = "0002_a.py\n3_0.py\n3_a.py\n010_a.py\n20140101120000_x.py\n"
        self.assertEqual((0, ""), (result.code, result.stdout))
        texts = result.stderr.split(UNREGISTERED)
        self.assertEqual(4, len(texts), result.stderr)
        server = f"{self.server.host}:{self.server.port}"
        where = f"Database {self.database} at {server}, which does not exist yet\n0 executed, 5 unregistered\n"
        self.assertEqual(where, texts[0])
        self.assertEqual([True] * 3, [text.startswith(names) for text in texts[1:]])
        self.assertEqual([], self.db.list_collection_names())

    def test_a_database_that_does_not_exist_yet_is_said(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        self.assertIn(", which does not exist yet\n", project.fab("migrations").stderr)
        self.db.users.insert_one({})
        self.assertNotIn("exist", project.fab("migrations").stderr)

    def test_who_deploys_can_be_set(self) -> None:
        project = self.noting(self.project(BY="ann, job 7"), "1_a.py")
        self.assert_code(0, project.fab("migrations:execute", "migrations:rollback,1", "migrations:execute"))
        (record,), (event,) = self.db.migrations.find(), self.db.migrations_log.find()
        for by in (record["by"], event["by"]):
            self.assertRegex(by, r"^ann, job 7@\S+$")
        self.assertRegex(project.fab("migrations:history").stdout, r" ann, job 7@\S+\n")

    def test_in_a_terminal_it_has_colours_unless_they_are_refused(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        coloured = f"\033[1m{UNREGISTERED[:-1]}\033[0m\n\033[31m1_a.py\033[0m\n"
        self.assertIn(coloured, project.fab_in_terminal("migrations").output)
        self.assertIn(f"{UNREGISTERED}1_a.py\n", project.fab_in_terminal("migrations", env={"NO_COLOR": "1"}).output)
        self.db.migrations.insert_one({"name": "1_a.py"})
        self.assertIn(f"\033[32m{NOTHING[:-1]}\033[0m\n", project.fab_in_terminal("migrations").output)

    def test_with_nothing_to_do_all_say_so(self) -> None:
        project = self.project(more=TRY_EACH)
        (project.path / "mongomigrations").mkdir()
        none_yet = "There is no migration in mongomigrations yet; fab migrations:create,WORDS writes the first\n"
        for attempt in self.attempts(project, ("execute",), ("ignore",)):
            self.assertEqual((0, "", none_yet), attempt)
        self.noting(project, "1_a.py")
        self.db.migrations.insert_one({"name": "1_a.py"})
        for attempt in self.attempts(project, ("execute",), ("ignore",)):
            self.assertEqual((0, "", NOTHING), attempt)
        (status,) = self.attempts(project, ())
        self.assertRegex(status.stderr, rf"^Database .*\n1 executed; last 1_a\.py on .*\n{NOTHING}$")
        self.assertEqual(["migrations"], self.db.list_collection_names())

    def test_only_unregistered_files_have_to_match_the_pattern(self) -> None:
        project = self.noting(self.project(), "Old-name.py", "1_a.py")
        self.db.migrations.insert_many([{"name": "Old-name.py"}, {"name": "0_gone.py"}])
        self.assert_code(0, project.fab("migrations", "migrations:execute"))
        self.assertEqual(["1_a.py"], self.notes())

    def test_hidden_files_directories_and_helpers_are_passed_over(self) -> None:
        project = self.noting(self.project(), "1_a.py", "_helper.py", ".#1_a.py")
        project.write("mongomigrations/2_dir.py/x", "")
        project.write("mongomigrations/README", "")
        project.write("mongomigrations/2_b.py~", "")
        result = project.fab("migrations", "migrations:execute")
        self.assertIn(f"{UNREGISTERED}1_a.py\n", result.stderr)
        self.assertEqual((0, ["1_a.py"], ["1_a.py"]), (result.code, self.registered(), self.notes()))
