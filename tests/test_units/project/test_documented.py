"""Which documentation is missing: what a team can set, call, override or read stands in the README or on a page."""

from __future__ import annotations

import inspect
import re
import typing
import unittest
from typing import Iterator

import migopy
from migopy.fab import syntax
from migopy.fab.task import subtask_names
from migopy.run import status
from migopy.run.report import event_rows, history_rows
from migopy.store import history, lock
from tests.documents import PAGES, TEXT, section

FOR_USE = {"mongo_client", "db", "collection", "unregistered", "sorted"}
"""What 1.0 gave the methods of a team, beside its subtasks."""


def undocumented(manager_class: type[migopy.MigrationsManager]) -> Iterator[str]:
    """The names of what this class has and the documents do not tell."""
    settings, table = section("Settings"), section("Subtasks")
    for name, value in inspect.getmembers(manager_class):
        if name.isupper() and f"`{name}`" not in settings:
            yield f"the setting {name}"
        elif hasattr(value, "is_subtask") and f"| `fab migrations:{name}" not in table and name != "show_status":
            yield f"the subtask {name}"
        elif (value.__doc__ or "").startswith("Override it") and f"`{name}(self" not in TEXT:
            yield f"the hook {name}"
    for name in subtask_names(manager_class):
        for option in list(inspect.signature(getattr(manager_class, name)).parameters)[1:]:
            written = syntax.NOTATION.get(option, f"{option.rstrip('_')}=")
            if written not in TEXT:
                yield f"the option {written} of {name}"


def not_told(names: Iterator[str] | tuple[str, ...] | list[str], where: str) -> list[str]:
    return [name for name in names if not re.search(rf"\b{name}\b", where)]


class TestTheDocumentsTell(unittest.TestCase):
    def test_every_setting_subtask_option_and_hook(self) -> None:
        self.assertEqual([], list(undocumented(migopy.MigrationsManager)))

    def test_what_is_new_and_not_in_it_is_named(self) -> None:
        class New(migopy.MigrationsManager):
            NEW_SETTING = 1

            @migopy.task
            def new_subtask(self, depth: str | None = None) -> None: ...

            def on_new(self, name: str) -> None:
                """Override it to do something new."""

        expected = [
            "the setting NEW_SETTING",
            "the subtask new_subtask",
            "the hook on_new",
            "the option depth= of new_subtask",
        ]
        self.assertEqual(sorted(expected), sorted(undocumented(New)))

    def test_every_column_that_history_stores_and_shows(self) -> None:
        stored = PAGES["storage"]
        self.assertEqual([], not_told(history.Record._fields, stored))
        self.assertEqual([], not_told(history.Event._fields, TEXT))
        self.assertEqual([], not_told(typing.get_args(history.EventKind), stored))

    def test_every_key_for_programs(self) -> None:
        keys = re.findall(r"(?m)^\| (`\w+`.*)$", section("JSON", PAGES["programs"]))
        told = "\n".join(keys)
        found = status.Status(self.inventory(), {}, None)
        self.assertEqual([], not_told(list(history_rows(found)[0]), told))
        at = history.Record("x").at or lock.LONG_AGO
        self.assertEqual([], not_told(list(event_rows([history.Event("failed", "x", at)])[0]), told))
        parts = typing.get_args(status.ProblemKind)  # one of them a Literal itself, before Python 3.9.1
        kinds = [kind for part in parts for kind in typing.get_args(part) or [part]]
        self.assertEqual([], not_told(kinds, told))

    def inventory(self) -> typing.Any:
        from migopy.run.inventory import Inventory

        return Inventory([], {"1_a.py": history.Record("1_a.py")}, lambda name: 1)
