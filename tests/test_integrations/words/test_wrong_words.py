"""What a wrong word does: each is told in one sentence, with exit code 1, and nothing has been done."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import migopy
from tests.cases import TRY_EACH, UNREGISTERED, FabTestCase
from tests.support import Project


class TestNames(FabTestCase):
    def test_a_name_that_is_not_there_is_an_error_whatever_else_is_pending(self) -> None:
        project = self.noting(self.project(more=TRY_EACH), "1_a.py")
        asked = (("execute", "999"), ("ignore", "999"), ("execute", "1_b.py"), ("execute", {"to": "999"}))
        for _ in ("one is pending", "none is"):
            for attempt in self.attempts(project, *asked):
                self.assert_one_sentence(r"No migration '(999|1_b\.py)' in mongomigrations; .*", attempt)
            self.assertEqual(0, project.fab("migrations:execute").code)
        self.assertEqual(["1_a.py"], self.notes())

    def test_a_registered_one_is_an_error_whatever_else_is_pending(self) -> None:
        project = self.noting(self.project(more=TRY_EACH), "1_a.py", "2_b.py")
        self.db.migrations.insert_one({"name": "1_a.py"})
        for _ in ("one is pending", "none is"):
            for attempt in self.attempts(project, ("execute", "1"), ("ignore", "1_a")):
                self.assert_one_sentence(
                    r"1_a\.py is already registered: executed on .*\. Nothing was done\. .*", attempt
                )
            self.assertEqual(0, project.fab("migrations:execute").code)

    def test_an_empty_variable_is_not_all(self) -> None:
        project = self.noting(self.project(more=TRY_EACH), "1_a.py", "2_b.py")
        asked: list[tuple[Any, ...]] = [
            ("ignore", ""),
            ("ignore", {"spec_migr": ""}),
            ("ignore", "", {"to": "1"}),
            ("rollback", ""),
        ]
        asked += [("rollback", "", {"to": "1"}), ("forget", ""), ("create", "")]
        asked += [("accept", ""), ("accept", "1", {"was": ""}), ("rehearse", ""), ("history", ""), ("plan", {"to": ""})]
        asked += [("rejected", ""), ("kept", {"drop": ""}), ("sample", "a", ""), ("sample", "", "a.json")]
        for attempt in self.attempts(project, *asked):
            self.assertEqual((1, 1), (attempt.code, len(attempt.stderr.splitlines())), attempt)
            self.assertRegex(attempt.stderr, r"is empty\. Write|Which migrations should be rolled back")
        self.assertEqual([], self.db.list_collection_names())
        self.assert_one_sentence("Nothing was done: NAME is empty.*ignore,NAME.*", project.fab("migrations:ignore,"))
        self.assert_one_sentence("Nothing was done: NAME is empty.*execute,NAME.*", project.fab("migrations:execute,"))
        self.assertEqual([], self.notes())

    def test_it_is_said_what_a_comma_did(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        told = r"Nothing was done\. '2' and '1' are given: a comma begins another option\. Which .*"
        self.assert_one_sentence(told, project.fab("migrations:rollback,2,1"))
        told = r"Nothing was done\. '2' and to='1' are given: a comma begins another option\. Write one NAME, or .*"
        self.assert_one_sentence(told, project.fab("migrations:execute,2,1"))
        told = r"'2' and last=1 are given: a comma begins another option\. .*"
        self.assert_one_sentence(told, project.fab("migrations:history,2,1"))
        told = r"fab migrations:accept: too many options \(a comma begins another one; .*"
        self.assert_one_sentence(told, project.fab("migrations:accept,2,1"))
        told = r"fab migrations:plan: '2' is no option of it\. Write fab migrations:plan\[,to=NAME\]\[,json=yes\]\."
        self.assert_one_sentence(told, project.fab("migrations:plan,2"))
        told = r"fab migrations:create: there is no option 'a'\. Write fab migrations:create,WORDS\."
        self.assert_one_sentence(told, project.fab("migrations:create,a=b"))
        told = r"Nothing was done\. Write fab migrations:pace,documents=100\."
        self.assert_one_sentence(told, project.fab("migrations:pace,100"))
        told = r"fab migrations:create: too many options \(a comma begins another one; write \\, for a comma .*"
        self.assert_one_sentence(told, project.fab("migrations:create,Validator (total, state)"))

    def test_y_is_yes(self) -> None:
        self.db.migrations_lock.insert_one({"_id": "lock"})
        self.assertIn("The lock is free.", self.project().fab_in_terminal("migrations:unlock", input=" Y \n").stdout)

    def test_y_is_yes_in_an_option_too(self) -> None:
        self.db.migrations_lock.insert_one({"_id": "lock"})
        self.assertIn("The lock is free.", self.project().fab("migrations:unlock,force=Y").stderr)

    def test_an_empty_variable_stays_empty_on_the_way_to_another_machine(self) -> None:
        project = self.project(
            body="""
    @classmethod
    def task_hook(cls, subtask, option):
        print(cls.fab_command(subtask, option))
        raise migopy.StopTaskExecution()
"""
        )
        result = project.fab("--hide=status", "migrations:ignore,", "migrations:execute,", "migrations:")
        self.assertEqual("fab migrations:ignore,\nfab migrations:execute,\nfab migrations\n", result.stdout)

    def test_more_than_were_executed_are_not_rolled_back(self) -> None:
        project = self.noting(self.project(), "1_a.py", "2_b.py")
        self.assert_code(0, project.fab("migrations:execute"))
        result = project.fab("migrations:rollback,last=99")
        self.assert_one_sentence(r"last=99 is too many: 2 migrations can be rolled back\. Nothing was done\.", result)
        self.assertEqual(["1_a.py", "2_b.py"], self.registered())


class TestWords(FabTestCase):
    def test_a_subtask_that_is_nearly_right_and_status(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        self.assert_one_sentence(".*no subtask 'exceute'. Did you mean execute.*", project.fab("migrations:exceute"))
        result = project.fab("--hide=status", "migrations:status")
        self.assertIn(f"{UNREGISTERED}1_a.py\n", result.stderr)
        self.assertNotIn("migrations:status ", project.fab("migrations:help").stdout)

    def test_attributes_that_look_like_settings_are_named_once(self) -> None:
        body = "    MONGO_PASSWORD = 's3cret'\n    MONGO_DATABSE = 'beside the right one'\n    RELEASES = 3\n"
        project = self.noting(self.project(body=body), "1_a.py")
        result = project.fab("-H", "one,two", "migrations", "migrations:help")
        self.assert_code(0, result)
        sentence = "Migrations.MONGO_PASSWORD is not a setting of migopy. Did you mean MONGO_USER_PASSWORD?"
        self.assertEqual([sentence], [line for line in result.stderr.splitlines() if "a setting" in line])
        self.assertNotIn("s3cret", result.output)
        fabfile = "import migopy\n\n\nclass Blog(migopy.MigrationsManager):\n    MONGO_DB = 'blog'\n\n\n"
        result = Project(self, f"{fabfile}migrations = Blog.create_task()\n").fab("migrations")
        sentences = "Blog.MONGO_DB is not a setting of migopy. Did you mean MONGO_DATABASE?\nNo database is set: "
        self.assertTrue(result.stderr.startswith(sentences), result.stderr)

    def test_the_class_that_fabric_lists_says_what_to_type(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        for word, meant in (("", ""), (":execute", ":execute"), (":execute,to=1", ":execute,to=1")):
            result = project.fab(f"Migrations{word}")
            sentence = rf"Nothing was done: Migrations is a class, not the task\. Write fab '?migrations{meant}'?\."
            self.assert_one_sentence(sentence, result)
        self.assertEqual([], self.notes())

    def test_a_fabfile_without_the_task_says_the_line_that_it_lacks(self) -> None:
        line = "migrations = Migrations.create_task()"
        lacks = rf"is a class, not the task\. Add {re.escape(line)} to the fabfile, then write fab migrations\."
        uncalled = rf"is not a task yet\. Write {re.escape(line)} in the fabfile\."
        for instead, word, sentence in (
            ("", "Migrations", lacks),
            ("migrations = Migrations", "migrations", lacks),
            ("migrations = Migrations.create_task", "migrations", uncalled),
        ):
            with self.subTest(instead):
                project = self.project()
                project.write("fabfile.py", (project.path / "fabfile.py").read_text().replace(line, instead))
                self.assert_one_sentence(f"Nothing was done: {word} {sentence}", project.fab(word))

    def test_a_class_with_an_init_of_its_own_too_and_objects_can_still_be_made(self) -> None:
        project = self.project(
            body="""
    def __init__(self, colour="red"):
        self.colour = colour
"""
        )
        fabfile = project.path / "fabfile.py"
        fabfile.write_text(
            fabfile.read_text()
            + "\ndef make():\n    print(Migrations('blue').colour, sorted(Migrations.tasks(Migrations()))[0])\n"
        )
        self.assertIn("is a class, not the task", project.fab("Migrations").stderr)
        self.assertEqual("blue accept\n", project.fab("--hide=status", "make").stdout)
        with self.assertRaises(TypeError):
            migopy.MigrationsManager("what")  # type: ignore[call-arg]

    def test_abort_on_prompts_asks_nothing(self) -> None:
        project = self.noting(self.project(), "1_a.py")
        now = datetime.now(timezone.utc)
        holder = {"token": "x", "by": "me@here", "pid": 1, "subtask": "execute", "since": now, "expires_at": now}
        self.db.migrations_lock.insert_one({"_id": "lock", **holder})
        result = project.fab_in_terminal("--abort-on-prompts", "migrations:unlock", input="yes\n")
        self.assertEqual(1, result.code)
        refusal = "Nothing was done: --abort-on-prompts forbids questions. The question is: Free it?"
        self.assertIn(refusal, " ".join(result.stdout.split()))
        self.assertIsNotNone(self.db.migrations_lock.find_one())
