from __future__ import annotations

import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

from migopy.errors import MigrationNotFound, UnknownSubtask, WrongState
from migopy.files.directory import number_parser
from migopy.files.migration import Migration
from migopy.manager import MigrationsManager
from migopy.run.inventory import Inventory
from migopy.store.history import Record, State

NOON = datetime(2014, 1, 14, 12, tzinfo=timezone.utc)
NUMBER_OF = number_parser(MigrationsManager.MIGRATIONS_FILE_PATTERN)


def inventory(files: str, registered: str = "", ignored: str = "") -> Inventory:
    """Of these files; the registered ones were executed in this order, one a minute, and then some were ignored."""
    names: list[tuple[str, State]] = [(name, "executed") for name in registered.split()]
    names += [(name, "ignored") for name in ignored.split()]
    records = {name: Record(name, NOON + timedelta(minutes=n), state) for n, (name, state) in enumerate(names)}
    migrations = [Migration(NUMBER_OF(name), name, Path("/srv")) for name in files.split()]
    return Inventory(migrations, records, NUMBER_OF)


class TestFilesAndRecords(unittest.TestCase):
    def test_unregistered_are_the_files_without_a_record_in_their_order(self) -> None:
        found = inventory("1_a.py 2_b.py 3_c.py", "2_b.py").unregistered
        self.assertEqual(["1_a.py", "3_c.py"], [migration.name for migration in found])

    def test_missing_are_the_records_without_a_file(self) -> None:
        self.assertEqual(["0_gone.py", "9_gone.py"], inventory("1_a.py", "9_gone.py 1_a.py 0_gone.py").missing)

    def test_only_an_unregistered_file_can_be_badly_named(self) -> None:
        self.assertEqual(["bad.py"], inventory("1_a.py bad.py old.py", "old.py").badly_named)

    def test_out_of_order_is_an_unregistered_file_below_a_registered_one(self) -> None:
        self.assertEqual(["2_b.py"], inventory("1_a.py 2_b.py 3_c.py 4_d.py", "1_a.py 3_c.py").out_of_order)
        self.assertEqual([], inventory("1_a.py 2_b.py", "1_a.py").out_of_order)
        self.assertEqual([], inventory("0_a.py 1_b.py").out_of_order)
        self.assertEqual([], inventory("1_a.py old.py", "old.py").out_of_order)

    def test_an_unregistered_file_with_the_number_of_a_registered_one_is_named(self) -> None:
        """Where all of them are unregistered, they run in one order everywhere; where all are registered, they have."""
        files = "1_a.py 01_b.py 2_c.py bad.py worse.py"
        self.assertEqual({"01_b.py": ["1_a.py"]}, inventory(files, "1_a.py").same_number)
        for registered in ("", "1_a.py 01_b.py", "bad.py"):
            self.assertEqual({}, inventory(files, registered).same_number)


class TestName(unittest.TestCase):
    FILES = "001_users.py 002_tags.py 2_notes.py 10_users.py"

    def test_a_file_name_the_same_without_py_or_a_number(self) -> None:
        for short_name in ("001_users.py", "001_users", "1", "01", "0001"):
            self.assertEqual("001_users.py", inventory(self.FILES).name(short_name))
        self.assertEqual("10_users.py", inventory(self.FILES).name("10"))

    def test_a_registered_name_without_a_file_counts(self) -> None:
        self.assertEqual("3_gone.py", inventory(self.FILES, "3_gone.py").name("3"))

    def test_a_name_that_fits_nothing_is_an_error_that_says_where(self) -> None:
        for short_name in ("3", "users", "001_user", "1_users.py", "001_users.pyc", "-1", "1.0", "²"):
            with self.assertRaises(MigrationNotFound) as caught:
                inventory(self.FILES).name(short_name)
            self.assertIn(f"No migration {short_name!r} in mongomigrations", str(caught.exception))

    def test_a_number_of_two_files_is_an_error_that_lists_them(self) -> None:
        with self.assertRaisesRegex(MigrationNotFound, r"^'2' may mean 002_tags\.py or 2_notes\.py: write the whole"):
            inventory(self.FILES).name("2")

    def test_one_that_is_nearly_right_is_named(self) -> None:
        with self.assertRaisesRegex(MigrationNotFound, r"^No migration '2_tsag' .*; did you mean 2_tags\?$"):
            inventory("1_users.py 2_tags.py").name("2_tsag")
        with self.assertRaisesRegex(MigrationNotFound, r"^No migration '2_x' .*; did you mean 2_tags\?$"):
            inventory("1_users.py 2_tags.py").name("2_x")
        with self.assertRaisesRegex(MigrationNotFound, r"; fab migrations:history lists them all\.$"):
            inventory("1_users.py 1_tags.py").name("1_x")

    def test_a_path_as_the_shell_completes_it_is_its_file_name(self) -> None:
        for path in ("mongomigrations/1_users.py", "./mongomigrations/1_users.py", "/srv/mongomigrations/1_users"):
            self.assertEqual("1_users.py", inventory("1_users.py").name(path))

    def test_a_whole_name_wins_over_a_number(self) -> None:
        self.assertEqual("2.py", inventory("2.py 2_a.py").name("2"))


class TestToExecute(unittest.TestCase):
    def chosen(self, spec_migr: str | None = None, to: str | None = None, registered: str = "1_a.py") -> list[str]:
        files = "1_a.py 2_b.py 3_c.py 4_d.py"
        return [migration.name for migration in inventory(files, registered).to_execute(spec_migr, to)]

    def test_all_one_or_up_to_one(self) -> None:
        self.assertEqual(["2_b.py", "3_c.py", "4_d.py"], self.chosen())
        self.assertEqual(["3_c.py"], self.chosen("3"))
        self.assertEqual(["2_b.py", "3_c.py"], self.chosen(to="3_c"))
        self.assertEqual([], self.chosen(to="1"))

    def test_a_registered_one_is_refused_with_the_way_back(self) -> None:
        told = (
            r"^1_a.py is already registered: executed on .*\. Nothing was done\. To run it again, undo it first: .*,1_a"
        )
        with self.assertRaisesRegex(WrongState, told):
            self.chosen("1")

    def test_both_at_once_are_refused(self) -> None:
        with self.assertRaisesRegex(UnknownSubtask, "^Nothing was done. '2' and to='3' are given: a comma"):
            self.chosen("2", "3")

    def test_a_name_is_looked_up_also_where_nothing_is_unregistered(self) -> None:
        everything = "1_a.py 2_b.py 3_c.py 4_d.py"
        with self.assertRaisesRegex(MigrationNotFound, "No migration '9_x.py'"):
            self.chosen("9_x.py", registered=everything)
        with self.assertRaisesRegex(WrongState, "4_d.py is already registered"):
            self.chosen("4", registered=everything)
        self.assertEqual([], self.chosen("", registered=everything))


class TestToRollBack(unittest.TestCase):
    def chosen(self, spec_migr: str | None = None, last: str | None = None, to: str | None = None) -> list[str]:
        """3_c.py was executed before 2_b.py, and 4_d.py was not executed but ignored."""
        choose = inventory("1_a.py 2_b.py 3_c.py 4_d.py 5_e.py", "1_a.py 3_c.py 2_b.py", ignored="4_d.py")
        return [migration.name for migration in choose.to_roll_back(spec_migr, last, to)]

    def test_one_the_last_ones_or_all_after_one_newest_first(self) -> None:
        self.assertEqual(["1_a.py"], self.chosen("1"))
        self.assertEqual(["2_b.py", "3_c.py"], self.chosen(last="2"))
        self.assertEqual(["2_b.py", "3_c.py"], self.chosen(to="1_a"))
        self.assertEqual(["2_b.py", "3_c.py", "1_a.py"], self.chosen(last="3"))
        self.assertEqual([], self.chosen(to="4"))

    def test_more_than_were_executed_are_refused(self) -> None:
        with self.assertRaisesRegex(WrongState, r"^last=4 is too many: 3 migrations can be rolled back\. Nothing was"):
            self.chosen(last="4")

    def test_one_that_is_not_registered_is_refused(self) -> None:
        with self.assertRaisesRegex(WrongState, "5_e.py is not registered"):
            self.chosen("5_e.py")

    def test_one_without_a_file_stops_the_whole(self) -> None:
        with self.assertRaisesRegex(MigrationNotFound, "9_gone.py is registered, but there is no such file .*forget"):
            inventory("1_a.py", "1_a.py 9_gone.py").to_roll_back(None, "2", None)
