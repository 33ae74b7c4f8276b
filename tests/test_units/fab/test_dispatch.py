from __future__ import annotations

import types
import unittest
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from fabric.main import parse_arguments
from fabric.tasks import Task

import migopy
from migopy.errors import UnknownSubtask
from migopy.fab import dispatch, syntax
from migopy.fab.task import default_subtask, help_line, help_lines, subtask_names

Parsed = Tuple[Optional[str], List[str], Dict[str, str]]

OURS = ["show_status", "execute", "ignore", "rollback"]


class Team(migopy.MigrationsManager):
    """What a fabfile may have: subtasks of its own, an overridden one, and one that was taken away."""

    @migopy.task
    def zebra(self, option: str | None = None) -> Any:
        """Here should be a help doc which
        will be showed.

        Not this."""
        return option

    @migopy.task
    def apple(self, first: str, *others: str, **named: str) -> Any:
        return first, others, named

    @migopy.task
    def execute(self, spec_migr: str | None = None, **named: str) -> Any:  # type: ignore[override]
        """Our own way"""
        return "executed", spec_migr, named

    def ignore(self, spec_migr: str | None = None) -> None:  # type: ignore[override]
        """Without the decorator it is no subtask"""

    def not_a_subtask(self) -> None:
        """A method"""


class TestTask(unittest.TestCase):
    def test_the_decorator_returns_the_method_itself(self) -> None:
        def method() -> None: ...

        self.assertIs(method, migopy.task(method))
        self.assertIs(method, migopy.task(default=True)(method))
        self.assertIs(method, migopy.task()(method))

    def test_subtasks_come_in_the_order_of_definition_ours_first(self) -> None:
        ours = subtask_names(migopy.MigrationsManager)
        self.assertEqual(OURS, ours[:4])
        self.assertLess({"dbdump", "help"}, set(ours))
        self.assertEqual([*(name for name in ours if name != "ignore"), "zebra", "apple"], subtask_names(Team))

    def test_a_method_overridden_without_the_decorator_is_no_subtask(self) -> None:
        with self.assertRaisesRegex(UnknownSubtask, "no subtask 'ignore'"):
            dispatch.call(Team(), "ignore", [], {})

    def test_tasks_gives_the_bound_methods_by_name(self) -> None:
        manager = Team()
        tasks = Team.tasks(manager)
        self.assertEqual(subtask_names(Team), list(tasks))
        self.assertEqual("x", tasks["zebra"]("x"))

    def test_show_status_is_the_default(self) -> None:
        self.assertEqual("show_status", default_subtask(migopy.MigrationsManager))
        self.assertEqual("show_status", default_subtask(Team))

    def test_the_default_of_a_subclass_wins_over_the_inherited_one(self) -> None:
        class Further(Team):
            @migopy.task(default=True)
            def own(self) -> str:
                return "own"

        class Last(Further):
            @migopy.task
            def other(self) -> None: ...

        self.assertEqual(["own", "own"], [default_subtask(Further), default_subtask(Last)])
        self.assertEqual("own", dispatch.call(Last(), None, [], {}))

    def test_a_default_that_was_taken_away_is_none(self) -> None:
        class Without(migopy.MigrationsManager):
            def show_status(self) -> None: ...  # type: ignore[override]

        self.assertIsNone(default_subtask(Without))
        with self.assertRaisesRegex(UnknownSubtask, r"no default subtask\. The subtasks are execute, "):
            dispatch.call(Without(), None, [], {})


class TestCreateTask(unittest.TestCase):
    def test_the_task_is_a_plain_function(self) -> None:
        made = Team.create_task()
        self.assertIsInstance(made, types.FunctionType)
        self.assertNotIsInstance(made, Task)
        self.assertEqual("migrations", made.__name__)

    def test_no_fabric_task_is_reachable_through_the_module(self) -> None:
        self.assertEqual([], [name for name, value in vars(migopy).items() if isinstance(value, Task)])
        self.assertEqual([], [name for name, value in vars(Team).items() if isinstance(value, Task)])

    def test_the_docstring_begins_as_in_1_0_and_lists_the_subtasks(self) -> None:
        lines = (Team.create_task().__doc__ or "").splitlines()
        self.assertEqual(["Mongo migrations (migopy)", ""], lines[:2])
        self.assertIn("fab migrations:zebra - Here should be a help doc which will be showed.", lines)

    def test_the_name_in_fab_task_is_the_name_everywhere(self) -> None:
        class Other(Team):
            FAB_TASK = "mongo"

        made = Other.create_task()
        self.assertEqual("mongo", made.__name__)
        self.assertIn("fab mongo:zebra - ", made.__doc__ or "")
        self.assertEqual("fab mongo:execute", Other.fab_command("execute"))

    def test_what_the_subtask_returns_is_returned(self) -> None:
        self.assertEqual("some_option", Team.create_task()("zebra", "some_option"))
        self.assertEqual(("a", ("b",), {"c": "d"}), Team.create_task()("apple", "a", "b", c="d"))


class TestHelp(unittest.TestCase):
    def test_the_first_paragraph_of_the_docstring_on_one_line(self) -> None:
        self.assertEqual("Here should be a help doc which will be showed.", help_line(Team.zebra))

    def test_one_without_a_docstring_is_left_out_and_an_overridden_one_shows_its_own(self) -> None:
        lines = dict(help_lines(Team))
        self.assertNotIn("fab migrations:apple", lines)
        self.assertNotIn("fab migrations:ignore", lines)
        self.assertEqual("Our own way", lines["fab migrations:execute"])


class TestCall(unittest.TestCase):
    def sentence(self, subtask: str, *options: str, **named: str) -> str:
        with self.assertRaises(UnknownSubtask) as caught:
            dispatch.call(Team(), subtask, list(options), named)
        return str(caught.exception)

    def test_an_unknown_subtask_names_those_there_are(self) -> None:
        for name in ("nope", "not_a_subtask", "close", "__init__", "MONGO_HOST"):
            sentence = self.sentence(name)
            self.assertIn(f"fab migrations has no subtask {name!r}. The subtasks are show_status, execute, ", sentence)
            self.assertIn("zebra, apple.", sentence)

    def test_a_subtask_that_is_nearly_right_is_named(self) -> None:
        self.assertIn(
            "no subtask 'exceute'. Did you mean execute? The subtasks are show_status, ", self.sentence("exceute")
        )
        self.assertIn("no subtask 'zebar'. Did you mean zebra?", self.sentence("zebar"))

    def test_status_is_show_status_unless_the_team_has_one_of_its_own(self) -> None:
        class Other(Team):
            @migopy.task
            def status(self) -> str:
                return "ours"

        self.assertEqual(["show_status", "status"], [dispatch.method_name(cls, "status") for cls in (Team, Other)])
        self.assertNotIn("status", subtask_names(Team))

    def test_a_surplus_a_missing_and_an_unknown_option_say_what_to_write(self) -> None:
        cases = {
            self.sentence("zebra", "a", "b"): "Write fab migrations:zebra[,option].",
            self.sentence("zebra", what="x"): "Write fab migrations:zebra[,option].",
            self.sentence("apple"): "Write fab migrations:apple,first[,...][,...].",
            self.sentence("help", "x", "y"): "Write fab migrations:help[,TOPIC].",
            self.sentence("forget"): ": missing NAME. Write fab migrations:forget,NAME.",
        }
        for sentence, advice in cases.items():
            self.assertTrue(sentence.endswith(advice), sentence)
        self.assertIn("fab migrations:zebra: there is no option 'what'. ", list(cases)[1])

    def test_a_type_error_of_the_method_itself_is_not_taken_for_a_wrong_option(self) -> None:
        class Failing(Team):
            @migopy.task
            def fails(self) -> None:
                raise TypeError("inside")

        with self.assertRaisesRegex(TypeError, "^inside$"):
            dispatch.call(Failing(), "fails", [], {})


class TestParse(unittest.TestCase):
    def parsed(self, word: str) -> Parsed:
        """What the task gets that Fabric calls for this word of the command line."""
        arguments, named = parse_arguments([word])[0][1:3]
        return syntax.parse(arguments, named)

    def test_the_first_option_is_the_subtask(self) -> None:
        cases: dict[str, Parsed] = {
            "migrations": (None, [], {}),
            "migrations:": (None, [], {}),
            "migrations:execute": ("execute", [], {}),
            "migrations:execute,": ("execute", [""], {}),
            "migrations:execute,1_first.py": ("execute", ["1_first.py"], {}),
            "migrations:execute,to=12": ("execute", [], {"to": "12"}),
            "migrations:mytask,a,,b": ("mytask", ["a", "", "b"], {}),
            "migrations:,json=yes": (None, [], {"json": "yes"}),
            "migrations:json=yes": (None, [], {"json": "yes"}),
        }
        for word, expected in cases.items():
            self.assertEqual(expected, self.parsed(word), word)

    def test_subtask_and_spec_migr_may_be_written_out(self) -> None:
        expected: Parsed = ("execute", ["2_second.py"], {})
        for word in ("subtask=execute,spec_migr=2_second.py", "execute,spec_migr=2_second.py"):
            self.assertEqual(expected, self.parsed(f"migrations:{word}"), word)
        self.assertEqual(
            ("execute", ["2.py"], {"to": "3"}), self.parsed("migrations:spec_migr=2.py,subtask=execute,to=3")
        )
        self.assertEqual(("execute", ["2.py"], {}), self.parsed("migrations:2.py,subtask=execute"))

    def test_the_dictionary_of_the_caller_stays_as_it_is(self) -> None:
        named = {"subtask": "execute", "spec_migr": "1.py"}
        syntax.parse([], named)
        self.assertEqual({"subtask": "execute", "spec_migr": "1.py"}, named)


class TestOptionText(unittest.TestCase):
    def test_it_is_what_stands_on_the_command_line(self) -> None:
        cases: list[tuple[list[str], dict[str, str], str | None]] = [
            ([], {}, None),
            ([""], {}, ""),
            (["1_first.py"], {}, "1_first.py"),
            ([], {"to": "12"}, "to=12"),
            (["a", "b"], {"c": "d"}, "a,b,c=d"),
            (["a,b=c"], {"d": "e,f=g"}, r"a\,b\=c,d=e\,f\=g"),
        ]
        for options, named, expected in cases:
            self.assertEqual(expected, syntax.option_text(options, named))

    def test_a_value_that_ends_in_a_backslash_stands_last(self) -> None:
        self.assertEqual("b=c,a\\", syntax.option_text(["a\\"], {"b": "c"}))


class TestFabCommand(unittest.TestCase):
    def test_ordinary_values_give_the_documented_strings(self) -> None:
        cases: list[tuple[tuple[str | None, ...], str]] = [
            ((), "fab migrations"),
            ((None, None), "fab migrations"),
            (("execute",), "fab migrations:execute"),
            (("execute", None), "fab migrations:execute"),
            (("ignore", ""), "fab migrations:ignore,"),
            (("execute", "1_first.py"), "fab migrations:execute,1_first.py"),
            (("execute", "to=12"), "fab migrations:execute,to=12"),
            ((None, "json=yes"), "fab migrations:,json=yes"),
        ]
        for arguments, expected in cases:
            self.assertEqual(expected.replace("fab ", "", 1), Team.fab_command(*arguments)[4:].strip("'"))
            if "=" not in expected:
                self.assertEqual(expected, Team.fab_command(*arguments))

    def test_what_a_shell_would_read_is_quoted(self) -> None:
        self.assertEqual("fab 'migrations:execute,a b; rm -rf $HOME'", Team.fab_command("execute", "a b; rm -rf $HOME"))


class TestAsText(unittest.TestCase):
    def test_values_become_what_the_command_line_would_give(self) -> None:
        cases: list[tuple[list[object], dict[str, object], tuple[list[str], dict[str, str]]]] = [
            (["execute"], {"to": 1}, (["execute"], {"to": "1"})),
            (["check"], {"json": True, "pending": None}, (["check"], {"json": "yes"})),
            (["check"], {"json": False}, (["check"], {})),
            (["dbrestore", Path("/dumps/one"), True], {}, (["dbrestore", "/dumps/one", "yes"], {})),
            ([None], {"json": True}, ([], {"json": "yes"})),
            (["mytask", None, 2, False], {}, (["mytask", "", "2"], {})),
            (["ignore", ""], {}, (["ignore", ""], {})),
        ]
        for options, named, expected in cases:
            self.assertEqual(expected, syntax.command_line_options(options, named))


class TestUsage(unittest.TestCase):
    def test_ours_are_written_as_in_the_readme(self) -> None:
        manager = migopy.MigrationsManager()
        expected = {
            "execute": "execute[,NAME][,to=NAME]",
            "rollback": "rollback[,NAME][,last=N][,to=NAME][,plan=yes][,resume=yes]",
            "forget": "forget,NAME",
            "accept": "accept,NAME[,was=OLD]",
            "dbrestore": "dbrestore[,DUMP][,force=yes][,from=NAME]",
            "rehearse": "rehearse[,NAME][,to=NAME][,documents=N][,keep=yes][,preflight=N][,report=FILE][,json=yes]",
            "create": "create,WORDS",
            "show_status": "show_status[,json=yes]",
        }
        for name, written in expected.items():
            self.assertTrue(syntax.usage("m", name, getattr(manager, name)).startswith(f"fab m:{written}"), name)

    def test_what_may_be_left_out_stands_in_brackets(self) -> None:
        def method(must: str, may: str = "", *rest: str, named: str = "") -> None: ...

        self.assertEqual("fab m:x,must[,may=...][,...][,named=...]", syntax.usage("m", "x", method))
