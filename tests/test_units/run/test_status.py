from __future__ import annotations

import dataclasses
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path

from migopy.files.migration import Migration
from migopy.run.inventory import Inventory
from migopy.run.status import Status
from migopy.store.history import Event, EventKind, Record
from migopy.store.lock import Holder

NOON = datetime(2014, 1, 14, 12, tzinfo=timezone.utc)


def number_of(name: str) -> int | None:
    number = name.partition("_")[0]
    return int(number) if number.isdecimal() else None


def file(name: str) -> Migration:
    return Migration(number_of(name), name, Path("/srv"))


def status(
    files: str,
    registered: str = "",
    events: dict[str, Event] | None = None,
    holder: Holder | None = None,
    changed: str = "",
) -> Status:
    """A status of these names; the registered ones were executed at noon."""
    records = {name: Record(name, at=NOON) for name in registered.split()}
    found = [file(name) for name in files.split()]
    return Status(Inventory(found, records, number_of), events or {}, holder, changed.split())


def happened(kind: EventKind, name: str, minutes: int) -> dict[str, Event]:
    """An event so many minutes after noon, as the last one of that name."""
    return {name: Event(kind, name, NOON + timedelta(minutes=minutes), by="me@here", error="KeyError: 'x'")}


def run(subtask: str, migration: str | None, held: bool = False) -> Holder:
    return Holder("me@here", 1, subtask, NOON, [migration] if migration else [], held)


class TestProblems(unittest.TestCase):
    def test_without_one_there_is_none(self) -> None:
        self.assertEqual([], status("1_a.py 2_b.py", "1_a.py").problems)

    def test_each_problem_has_its_kind_and_those_that_stop_an_execute_come_first(self) -> None:
        found = status(
            "1_a.py 2_b.py 2_c.py bad.py", "2_b.py 9_gone.py", happened("failed", "2_c.py", 1), None, "2_b.py"
        )
        self.assertEqual(
            [
                ("failed", "2_c.py"),
                ("badly named", "bad.py"),
                ("changed", "2_b.py"),
                ("missing", "9_gone.py"),
                ("out of order", "1_a.py"),
                ("same number", "2_c.py"),
            ],
            [(problem.kind, problem.name) for problem in found.problems],
        )
        self.assertEqual(["failed", "same number"], found.kinds_by_name()["2_c.py"])

    def test_each_sentence_begins_with_the_name(self) -> None:
        found = status("1_a.py 2_b.py bad.py", "2_b.py 9_gone.py", happened("failed", "1_a.py", 1), None, "2_b.py")
        for problem in found.problems:
            self.assertTrue(problem.text.startswith(f"{problem.name}: {problem.kind}"), problem)

    def test_a_failure_is_told_with_time_person_and_error(self) -> None:
        sentence = status("1_a.py", "", happened("failed", "1_a.py", 1)).problems[0].text
        self.assertRegex(
            sentence, r"^1_a.py: failed on [\d-]{10} [\d:]{8} \S+ by me@here \(KeyError: 'x'\); what it had changed "
        )

    def test_each_sentence_names_the_way_on(self) -> None:
        found = status(
            "1_a.py 2_b.py 2_c.py bad.py",
            "2_b.py 9_gone.py",
            {**happened("failed", "2_c.py", 1), **happened("rollback failed", "2_b.py", 1)},
            None,
            "2_b.py",
        )
        found = dataclasses.replace(found, unreadable={"3_dir.py": "it is a directory"})
        ways_on = {
            "failed": "; what it had changed stays; fix it, then fab migrations:execute runs it again",
            "rollback failed": "; fix it, then fab migrations:rollback,2_b.py runs it again;"
            " or fab migrations:forget,2_b.py",
            "badly named": "; rename it",
            "unreadable": "it is a directory; fix it, rename it or remove it",
            "changed": "; restore the old file, or fab migrations:accept,2_b.py to take the new one as executed",
            "missing": "; bring the file back, or delete its record, which changes no data: fab migrations:forget,9",
            "out of order": "fab migrations:execute runs it after 2_b.py, which has a higher number and is registered;",
            "same number": "it has the number of 2_b.py, which is registered, ",
        }
        self.assertEqual(set(ways_on), {problem.kind for problem in found.problems})
        for problem in found.problems:
            self.assertIn(ways_on[problem.kind], problem.text)

    def test_a_missing_one_that_seems_renamed_is_told_with_the_new_name(self) -> None:
        found = dataclasses.replace(status("3_c.py", "1_a.py 2_b.py"), renamed={"1_a.py": "3_c.py"})
        renamed, gone = [problem.text for problem in found.problems if problem.kind == "missing"]
        self.assertIn("if you renamed it, fab migrations:accept,3_c.py keeps its history", renamed)
        self.assertIn("; bring the file back, or delete its record", gone)

    def test_one_that_seems_renamed_is_one_entry(self) -> None:
        found = dataclasses.replace(status("2_c.py 3_d.py", "2_a.py 3_d.py"), renamed={"2_a.py": "2_c.py"})
        self.assertEqual([("missing", "2_a.py")], [(problem.kind, problem.name) for problem in found.problems])

    def test_of_one_number_are_a_problem_only_where_one_is_registered_and_one_is_not(self) -> None:
        files = "2_b.py 2_c.py"
        self.assertEqual([], status(files, files).problems)
        self.assertEqual([], status(files).problems)
        self.assertEqual(["2_c.py"], [problem.name for problem in status(files, "2_b.py").problems])

    def test_an_interrupted_migration_is_told_with_both_ways_on(self) -> None:
        for registered, again, done in (("", "execute", "ignore"), ("1_a.py", "rollback", "forget")):
            sentence = status("1_a.py", registered, happened("interrupted", "1_a.py", 1)).problems[0].text
            self.assertIn(f"fab migrations:{again},1_a.py runs it again", sentence)
            self.assertIn(f"fab migrations:{done},1_a.py counts it as done", sentence)


class TestUnfinished(unittest.TestCase):
    def test_a_failure_counts_until_the_migration_has_been_executed(self) -> None:
        failed = happened("failed", "1_a.py", -5)
        self.assertEqual("failed", status("1_a.py", "", failed).unfinished_kind("1_a.py"))
        self.assertIsNone(status("1_a.py", "1_a.py", failed).unfinished_kind("1_a.py"))

    def test_a_rollback_that_failed_after_the_execution_counts(self) -> None:
        failed = happened("rollback failed", "1_a.py", 5)
        self.assertEqual("rollback failed", status("1_a.py", "1_a.py", failed).unfinished_kind("1_a.py"))

    def test_one_that_was_stopped_needs_no_fix(self) -> None:
        for error, by in (("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "a lost terminal")):
            event = Event("stopped", "1_a.py", NOON, by="me@here", error=f"KeyboardInterrupt: {error}")
            (problem,) = status("1_a.py", "", {"1_a.py": event}).problems
            self.assertEqual("stopped", problem.kind)
            self.assertRegex(problem.text, rf"^1_a.py: stopped by {by} on .* by me@here; what it had changed stays; ")
            self.assertRegex(problem.text, "; fab migrations:execute runs it again$")

    def test_what_a_transaction_undid_does_not_stay(self) -> None:
        event = Event("failed", "1_a.py", NOON, error="KeyError", transaction=True)
        (problem,) = status("1_a.py", "", {"1_a.py": event}).problems
        self.assertIn("; nothing of it stays, its transaction was undone; fix it, ", problem.text)

    def test_what_execute_settles_does_not_last(self) -> None:
        interrupted = happened("interrupted", "1_a.py", 5)
        found = status("1_a.py 2_b.py 2_c.py", "2_b.py", {**happened("failed", "2_c.py", 5), **interrupted})
        self.assertEqual([], found.lasting_problems)
        for registered, changed in (("1_a.py", ""), ("2_b.py 9_gone.py", ""), ("2_b.py", "2_b.py")):
            found = status("1_a.py 2_b.py", registered, interrupted, changed=changed)
            self.assertEqual(1, len(found.lasting_problems), found.problems)

    def test_what_went_well_is_nothing_unfinished(self) -> None:
        kinds: list[EventKind] = ["rolled back", "forgotten", "unlocked"]
        for kind in kinds:
            self.assertIsNone(status("1_a.py", "", happened(kind, "1_a.py", 5)).unfinished_kind("1_a.py"))

    def test_a_record_of_1_0_without_a_time_ends_a_failure(self) -> None:
        records = {"1_a.py": Record("1_a.py")}
        found = Status(Inventory([file("1_a.py")], records, number_of), happened("failed", "1_a.py", 5))
        self.assertIsNone(found.unfinished_kind("1_a.py"))

    def test_a_failed_file_that_was_given_up_and_deleted_is_no_problem(self) -> None:
        self.assertEqual([], status("1_a.py", "", happened("failed", "2_gone.py", 5)).problems)

    def test_an_execution_that_left_its_migration_unregistered_died_in_it(self) -> None:
        self.assertEqual("interrupted", status("1_a.py", "", {}, run("execute", "1_a.py")).unfinished_kind("1_a.py"))
        self.assertIsNone(status("1_a.py", "1_a.py", {}, run("execute", "1_a.py")).unfinished_kind("1_a.py"))

    def test_a_rollback_that_left_its_migration_registered_died_in_it(self) -> None:
        self.assertEqual(
            "interrupted", status("1_a.py", "1_a.py", {}, run("rollback", "1_a.py")).unfinished_kind("1_a.py")
        )
        self.assertIsNone(status("1_a.py", "", {}, run("rollback", "1_a.py")).unfinished_kind("1_a.py"))

    def test_a_run_that_still_works_or_was_in_no_migration_has_not_died_in_one(self) -> None:
        for holder in (run("execute", "1_a.py", held=True), run("execute", None), None):
            self.assertEqual([], status("1_a.py", "", {}, holder).problems)

    def test_of_one_that_is_running_nothing_is_advised(self) -> None:
        holder = run("execute", "1_a.py", held=True)._replace(by="me@elsewhere")
        found = status("1_a.py 2_b.py 2_c.py", "2_b.py", {}, holder)
        self.assertEqual(("1_a.py", ["2_c.py"]), (found.running_now, [each.name for each in found.unregistered]))
        self.assertEqual(["2_c.py"], [problem.name for problem in found.problems])
        self.assertRegex(found.lock_sentences[0], r"^1_a.py: running since .*, by me@elsewhere \(process 1\)$")
        self.assertIsNone(status("1_a.py", "", {}, run("execute", "1_a.py", held=False)).running_now)

    def test_a_new_attempt_that_is_at_work_ends_what_the_last_one_left(self) -> None:
        holder = run("execute", "1_a.py", held=True)
        self.assertEqual([], status("1_a.py", "", happened("interrupted", "1_a.py", 5), holder).problems)
