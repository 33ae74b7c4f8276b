"""A running migration that is paused, resumed and stopped from another terminal."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import threading
import time
from typing import Any

from tests.documents import PAGES, README, blocks, example
from tests.server import Mongod, Proxy, Server, shared_replica_set, wait_for
from tests.support import FailingReplicaSetTestCase, RunTestCase, until_file
from tests.test_integrations.batches.test_workers import HEAD
from tests.test_integrations.project.test_readme import NewcomerTestCase

COUNT, SIZE = 2_000, 50

SLOWLY = (
    "def once(user):\n    if user['_id'] % 50 == 0:\n        __import__('time').sleep(0.05)\n"
    "    return {'$inc': {'n': 1}}\n\n"
    f"batches.update(db.users, {{}}, once, size={SIZE})"
)

HEEDED_SECONDS = 3.0


class OperatedTestCase(RunTestCase):
    """A migration that is at work for some seconds."""

    def setUp(self) -> None:
        super().setUp()
        self.db.users.insert_many([{"_id": n, "n": 0} for n in range(COUNT)])

    def start(self, lease: float = 1, **attributes: Any) -> subprocess.Popen[str]:
        """Start a run, and return when it is in the middle of its batches."""
        self.team = self.project(**{"LOCK_LEASE": lease, **attributes})
        self.team.migration("1_counts.py", SLOWLY, arguments="db, batches")
        process = self.team.fab_start("migrations:execute")
        wait_for("300 done", lambda: self.db.migrations_batches.find_one({"done": {"$gte": 300}}))
        return process

    def n(self) -> dict[int, int]:
        """How many users were changed how often."""
        found = self.db.users.aggregate([{"$group": {"_id": "$n", "count": {"$sum": 1}}}])
        return {group["_id"]: group["count"] for group in found}

    def events(self) -> list[Any]:
        found = self.db.migrations_log.find({"event": {"$regex": "requested$"}}).sort("_id", 1)
        return [(event["event"], event["name"], event.get("because")) for event in found]

    def wait_until_moving(self, done: dict[int, int]) -> None:
        wait_for("run that moves", lambda: self.n() != done)

    def assert_all_once(self, process: subprocess.Popen[str]) -> str:
        result = self.end_of(process)
        self.assert_code(0, result)
        self.assertEqual(({1: COUNT}, ["1_counts.py"], None), (self.n(), self.registered(), self.lock()))
        return result.stderr


class TestFirstPace(OperatedTestCase):
    def test_the_status_shows_the_pace_of_the_command_and_then_the_last_one(self) -> None:
        self.team = self.project(LOCK_LEASE=1)
        self.team.migration("1_counts.py", SLOWLY, arguments="db, batches")
        process = self.team.fab_start("migrations:execute,pace=300")
        wait_for("100 done", lambda: self.db.migrations_batches.find_one({"done": {"$gte": 100}}))
        self.assertRegex(self.fab("migrations").stderr, r"\S+@\S+ asked for at most 300 documents a second on ")
        shown = json.loads(self.fab("--hide=status", "migrations:,json=yes").stdout)["lock"]["pace"]
        self.assertEqual((300, True), (shown["documents"], "@" in shown["by"]))
        changed = self.fab("migrations:pace,full").stderr
        self.assertRegex(
            changed, "Before that, .* asked for at most 300 documents a second on .*; the last request counts"
        )
        self.assertRegex(self.fab("migrations").stderr, "asked for full pace on ")
        self.assert_all_once(process)


class TestPause(OperatedTestCase):
    def test_it_waits_longer_than_its_lease_and_all_see_who_asked_and_why(self) -> None:
        process = self.start(LOCK_WAIT=HEEDED_SECONDS)
        paused = self.fab("migrations:pause,because=backup")
        self.assertRegex(paused.stderr, r"Asked \S+@\S+ \(process \d+, execute of 1_counts\.py, .*\) to pause\n")
        self.assertRegex(paused.stderr, r"The run is paused by \S+@\S+ \(backup\) and keeps its lock\.")
        done = self.n()
        time.sleep(2.5)  # its lease is 1 s
        self.assertEqual(done, self.n())
        status = self.fab("migrations", "migrations:history")
        self.assertRegex(status.stderr, r"1_counts\.py: [\d,]+ of 2,000 documents; paused by \S+@\S+ \(backup\)\n")
        self.assertRegex(status.stderr, r"(?m)^\S+@\S+ asked to pause on .* \(backup\)$")
        self.assertRegex(status.stdout, r"1_counts\.py +running, \d+ %, paused by \S+@\S+ \(backup\)")
        shown = json.loads(self.fab("--hide=status", "migrations:,json=yes").stdout)["lock"]
        self.assertEqual(("pause", "backup"), (shown["request"]["what"], shown["request"]["because"]))
        rows = json.loads(self.fab("--hide=status", "migrations:history,json=yes").stdout)["migrations"]
        self.assertEqual(shown["request"], rows[0]["request"])
        self.fab("migrations:resume")
        self.wait_until_moving(done)
        said = self.assert_all_once(process)
        self.assertRegex(said, r"1_counts\.py: [\d,]+ of 2,000 documents; paused by \S+@\S+ \(backup\)\n")
        self.assertRegex(said, r"1_counts\.py: resumed by \S+@\S+\n")
        expected = [("pause requested", "1_counts.py", "backup"), ("resume requested", "1_counts.py", None)]
        self.assertEqual(expected, self.events())
        self.assertRegex(self.fab("migrations:history,1").stdout, r"pause requested .* backup\n")

    def test_the_last_of_two_people_counts_and_both_see_it(self) -> None:
        process = self.start(LOCK_WAIT=20)
        self.fab("migrations:pause,because=backup")
        again = self.fab("migrations:resume,because=it is done")
        self.assertRegex(again.stderr, r"Before that, \S+@\S+ asked to pause on .* \(backup\); the last request counts")
        status = self.fab("migrations").stderr
        self.assertRegex(status, r"\S+ asked to resume on .* \(it is done\); before that, \S+ asked to pause on .*\n")
        self.assertIn("is not paused", self.fab("migrations:resume", code=1).stderr)
        self.assert_all_once(process)

    def test_killed_while_paused_it_continues_as_any_and_nobody_pauses_it(self) -> None:
        process = self.start()
        self.fab("migrations:pause")
        done = self.n()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        self.wait_for_dead_lock()
        self.assertNotIn("asked to pause", self.fab("migrations").stderr)
        self.assertIn("so there is nothing to resume", self.fab("migrations:resume", code=1).stderr)
        self.assertIn("was interrupted", self.fab("migrations:execute", code=1).stderr)
        self.assertEqual(done, self.n())
        self.fab("migrations:execute,1")
        self.assertEqual(({1: COUNT}, ["1_counts.py"]), (self.n(), self.registered()))

    def test_ctrl_c_ends_a_paused_run(self) -> None:
        process = self.start()
        self.fab("migrations:pause")
        os.killpg(process.pid, signal.SIGINT)
        result = self.end_of(process)
        self.assert_code(1, result)
        self.assertEqual(None, self.lock())

    def test_stop_ends_it_as_ctrl_c_does_and_execute_continues(self) -> None:
        for first in ((), ("migrations:pause",)):
            with self.subTest(first=first):
                self.client.drop_database(self.database)
                self.db.users.insert_many([{"_id": n, "n": 0} for n in range(COUNT)])
                process = self.start()
                stopped = self.fab(*first, "migrations:stop,because=deploy: 7")
                self.assertIn("The run has ended.", stopped.stderr)
                result = self.end_of(process)
                self.assert_code(1, result)
                self.assertRegex(result.stderr, r"1_counts\.py was stopped by \S+@\S+ \(deploy: 7\)")
                self.assertEqual((["stopped"], None, []), (self.logged()[-1:], self.lock(), self.registered()))
                self.assertRegex(
                    self.fab("migrations").stderr,
                    r"1_counts\.py: stopped by \S+@\S+ \(deploy: 7\) on .* in the run of \S+@",
                )
                self.fab("migrations:execute")
                self.assertEqual(({1: COUNT}, ["1_counts.py"]), (self.n(), self.registered()))


class TestPauseInSet(OperatedTestCase):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def test_it_is_heeded_after_a_network_that_stalls(self) -> None:
        with Proxy(self.server.host, self.server.port) as proxy:
            uri = f"mongodb://{proxy.host}:{proxy.port}/?directConnection=true"
            process = self.start(lease=30, MONGO_URI=uri)
            proxy.stop_forwarding()
            direct = self.project(LOCK_WAIT=20)
            self.team.path.joinpath("mongomigrations").rename(direct.path / "mongomigrations")
            timer = threading.Timer(2, proxy.resume)
            timer.start()
            self.assert_code(0, direct.fab("migrations:pause"))
            timer.join()
            self.assert_code(0, direct.fab("migrations:resume"))
            self.assert_all_once(process)


class TestAFailingPrimary(OperatedTestCase, FailingReplicaSetTestCase):
    def test_a_pause_outlives_the_primary(self) -> None:
        process = self.start(lease=30)
        self.fab("migrations:pause")
        self.replica_set.kill_primary()
        done = wait_for("primary", self.n)
        time.sleep(HEEDED_SECONDS)
        self.assertEqual(done, self.n())
        self.fab("migrations:resume")
        self.wait_until_moving(done)
        self.assert_all_once(process)


class TestALaggingMember(OperatedTestCase, FailingReplicaSetTestCase):
    def fall_behind(self) -> Mongod:
        """Keep a member from replicating, until the run waits for it."""
        primary = self.replica_set.primary()
        member = next(each for each in self.replica_set.members if each is not primary)
        assert member.process is not None
        self.addCleanup(member.process.send_signal, signal.SIGCONT)
        member.process.send_signal(signal.SIGSTOP)
        wait_for("a run that waits", lambda: f":{member.port}, which is" in (self.lock() or {}).get("doing", ""))
        return member

    def test_a_run_that_waits_for_it_is_paused_and_stopped(self) -> None:
        self.let_time_for_heartbeats(30_000)
        self.addCleanup(self.let_time_for_heartbeats, 1500)
        process = self.start(lease=30, BATCH_MAX_LAG=1, LOCK_WAIT=HEEDED_SECONDS)
        member = self.fall_behind()
        done = self.n()
        self.assertRegex(self.fab("migrations:pause").stderr, r"The run is paused by \S+@\S+ and keeps its lock\.")
        self.fab("migrations:resume")
        waits = rf":{member.port}, which is \d+ s behind\n"
        wait_for("a run that waits again", lambda: re.search(waits, self.fab("migrations").stderr))
        self.assertIn("The run has ended.", self.fab("migrations:stop").stderr)
        self.assertEqual(done, self.n())
        result = self.end_of(process)
        self.assert_code(1, result)
        self.assertRegex(result.stderr, r"1_counts\.py was stopped by \S+@\S+")


class TestPage(NewcomerTestCase):
    """The two terminals of the page about operating a run."""

    @staticmethod
    def blurred(text: str) -> str:
        """The text without what is never the same."""
        text = re.sub(r"\b[\w.-]+@[\w.-]+", "someone", text)
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+", "some time", text)
        text = re.sub(r"\(process \d+", "(process 1", text)
        text = re.sub(r"[\d,]+ of 20,000", "some of 20,000", text)
        return re.sub(r"(Executed \S+ in) .*", r"\1 a while", text)

    def test_both_print_what_it_shows(self) -> None:
        self.write_all(README)
        self.write_all(PAGES["operating"])
        first, second = [block.commands for block in blocks(PAGES["operating"]) if block.language == "text"]
        ((command, printed),) = first
        for name in ("1", "2", "3", "5"):
            self.type(f"fab migrations:execute,{name}")
        process = self.newcomer.fab_start(*command.split()[1:])
        wait_for("words", lambda: self.db.archive.find_one({"words": {"$ne": None}}))
        for typed, shown in second:
            with self.subTest(typed):
                self.assertEqual(self.blurred(shown), self.blurred(self.type(typed)))
            if "resume" in typed:
                wait_for("end of the pause", lambda: not (self.db.migrations_lock.find_one() or {}).get("doing"))
        output, errors = process.communicate()
        self.assertEqual(self.blurred(printed), self.blurred(errors + output))


class TestNotInBatches(RunTestCase):
    def start(self, *names: str, subtask: str = "execute") -> subprocess.Popen[str]:
        for name in names:
            self.counting(self.team, name)
        self.counting(self.team, "1_a.py", until_file(self.team.path / "go"))
        process = self.team.fab_start(f"migrations:{subtask}")
        self.wait_until_in("1_a.py")
        return process

    def go(self, process: subprocess.Popen[str], code: int) -> str:
        self.team.write("go", "")
        result = self.end_of(process)
        self.assert_code(code, result)
        return result.stderr

    def test_nobody_holds_the_lock(self) -> None:
        for what in ("pause", "resume", "stop"):
            result = self.fab(f"migrations:{what}", code=1)
            self.assertIn(f"No run holds the lock, so there is nothing to {what}.\n", result.stderr)
        self.assertEqual([], self.db.list_collection_names())

    def test_the_last_migration_of_a_run_cannot_do_it(self) -> None:
        process = self.start()
        for what in ("pause", "stop"):
            self.assertIn(
                "1_a.py does not work in batches and is the last migration of its run",
                self.fab(f"migrations:{what}", code=1).stderr,
            )
        self.go(process, 0)
        self.assertEqual(0, self.db.migrations_log.count_documents({}))

    def test_it_stops_before_the_next_migration(self) -> None:
        self.team = self.project(LOCK_WAIT=0)
        process = self.start("2_b.py")
        asked = self.fab("migrations:stop", code=1).stderr
        self.assertIn("1_a.py does not work in batches: the run can only stop before the next migration.", asked)
        self.assertIn("it will after the migration under way (1_a.py)", asked)
        time.sleep(2.5)  # it reads its requests at the latest when it confirms its lock
        said = self.go(process, 1)
        self.assertRegex(said, r"Stopped by \S+@\S+: 2_b\.py was not run")
        self.assertEqual((["1_a.py"], None), (self.registered(), self.lock()))

    def test_it_pauses_before_the_next_migration(self) -> None:
        self.team = self.project(LOCK_WAIT=0)
        process = self.start("2_b.py")
        self.fab("migrations:pause", code=1)
        time.sleep(2.5)
        self.team.write("go", "")
        self.wait_for_lock(doing={"$regex": "^paused by"})
        self.assertEqual(["1_a.py"], self.registered())
        self.fab("migrations:resume")
        self.assert_code(0, self.end_of(process))
        self.assertEqual(["1_a.py", "2_b.py"], self.registered())


QUICKLY = "batches.update(db.users, {}, {'$inc': {'n': 1}})"


class PaceTestCase(OperatedTestCase):
    """A pace holds within 10 %; where it is not heeded, a run over these documents takes much less than a second."""

    def run_at(self, pace: str, count: int, up: str = QUICKLY) -> float:
        """The documents a second of a run over so many documents."""
        self.client.drop_database(self.database)
        self.db.users.insert_many([{"_id": n, "n": 0} for n in range(count)])
        self.team.migration("1_counts.py", up, arguments="db, batches")
        self.fab(f"migrations:execute{pace}")
        self.assertEqual({1: count}, self.n())
        seconds: float = self.db.migrations.find_one()["seconds"]  # type: ignore[index]
        return count / seconds

    def assert_within_a_tenth(self, pace: int, found: float) -> None:
        self.assertLess(found, 1.1 * pace)
        self.assertGreater(found, 0.9 * pace)


class TestPace(PaceTestCase):
    def test_it_holds_for_each_form_in_small_batches_too(self) -> None:
        seconds = 10 if self.IN_FULL else 4
        for up, pace in ((QUICKLY, 2000), (QUICKLY, 7), (SLOWLY.replace("sleep(0.05)", "sleep(0)"), 500)):
            with self.subTest(up=up, pace=pace):
                self.assert_within_a_tenth(pace, self.run_at(f",pace={pace}", pace * seconds, up))

    def test_the_setting(self) -> None:
        self.team = self.project(BATCH_PACE=500)
        self.assert_within_a_tenth(500, self.run_at("", 1500))
        self.assertGreater(self.run_at(",pace=100000", 1500), 1000)

    def test_another_terminal_sets_it_and_takes_it_back(self) -> None:
        process = self.start()
        self.fab("migrations:pace,documents=20")
        time.sleep(HEEDED_SECONDS)
        before = self.n()[1]
        time.sleep(2)
        self.assertLessEqual(self.n()[1] - before, 20 * 2.5)
        status = self.fab("migrations").stderr
        self.assertRegex(status, r"(?m)^\S+@\S+ asked for at most 20 documents a second on ")
        shown = json.loads(self.fab("--hide=status", "migrations:,json=yes").stdout)["lock"]["pace"]
        self.assertEqual(20, shown["documents"])
        again = self.fab("migrations:pace,full")
        self.assertRegex(again.stderr, r"Before that, \S+ asked for at most 20 documents a second on .*; the last")
        self.assert_all_once(process)
        expected = [
            ("pace requested", "1_counts.py", "20 documents a second"),
            ("pace requested", "1_counts.py", "full"),
        ]
        self.assertEqual(expected, self.events())

    def test_wrong_words(self) -> None:
        for words, sentence in (
            ("", "How many documents a second? Write fab migrations:pace,documents=N or fab migrations:pace,full."),
            (",slow", "pace can only be full, not 'slow'."),
            (",documents=0", "documents has to be a whole number, at least 1, not '0'."),
            (",documents=5", "No run holds the lock, so there is nothing to slow down."),
        ):
            self.assertIn(sentence, self.fab(f"migrations:pace{words}", code=1).stderr)
        self.team.migration("1_a.py")
        self.assertIn("pace has to be a whole number", self.fab("migrations:execute,pace=x", code=1).stderr)
        self.assertEqual([], self.registered())


class TestPaceOfWorkers(PaceTestCase):
    def test_they_share_it(self) -> None:
        up = HEAD.format(slowly="") + QUICKLY
        seconds = 10 if self.IN_FULL else 2
        for pace, workers in itertools.product((50, 500, 5_000), (1, 3)) if self.IN_FULL else [(500, 3)]:
            with self.subTest(pace=pace, workers=workers):
                self.team = self.project(BATCH_WORKERS=workers)
                found = self.run_at(f",pace={pace}", pace * seconds, up)
                print(f"{self.id()}: pace {pace}, {workers} workers, found {found:.1f}")
                self.assert_within_a_tenth(pace, found)


class TestPaceOfWorkersInSet(TestPaceOfWorkers):
    def find_server(self) -> Server | Mongod:
        return Server(shared_replica_set().uri)


class TestThrottle(OperatedTestCase):
    def test_the_run_waits_as_long_as_the_team_says(self) -> None:
        """As on the page about operating a run."""
        self.db.search_queue.insert_many([{}, {}])
        throttle = example("search_queue").partition("\n")[2].replace("10_000", "1")
        self.team = self.project(f"\n{throttle}", LOCK_LEASE=1)
        self.team.migration("1_counts.py", SLOWLY, arguments="db, batches")
        process = self.team.fab_start("migrations:execute")
        self.wait_for_lock(doing="the search index is behind")
        done = self.n()
        time.sleep(2)  # its lease is 1 s
        self.assertEqual(done, self.n())
        self.assertIn("documents; the search index is behind\n", self.fab("migrations").stderr)
        self.db.search_queue.delete_many({})
        self.assert_all_once(process)

    def test_a_mistake_in_it_ends_the_migration(self) -> None:
        for body, sentence in (
            ("1 / 0", "throttle() failed (ZeroDivisionError: division by zero)"),
            ("return 5", "throttle() has to return why the run waits, as a string, or None, not 5"),
        ):
            self.team = self.project(f"\n    def throttle(self, db):\n        {body}\n")
            self.team.migration("1_counts.py", SLOWLY, arguments="db, batches")
            self.assertIn(sentence, self.fab("migrations:execute", code=1).stderr)
            self.assertEqual([], self.registered())


class TestRollback(OperatedTestCase):
    """A rollback from what is kept is a walk like others."""

    def raw(self) -> bytes:
        found: Any = self.db.users.find_raw_batches({}, sort=[("_id", 1)])
        return b"".join(found)

    def roll_back(self, more_than: int) -> subprocess.Popen[str]:
        """Start a rollback, and return when it has put back more documents than that."""
        process = self.team.fab_start("migrations:rollback,1")
        wait_for("documents that are back", lambda: self.n().get(0, 0) > more_than)
        return process

    def test_it_is_paced_paused_stopped_and_resumed(self) -> None:
        before = self.raw()
        self.team = self.project(BATCH_PACE=400, LOCK_LEASE=1, LOCK_WAIT=20)
        self.team.migration("1_counts.py", QUICKLY.replace("})", "}, keep=['n'])"), None, "db, batches")
        self.fab("migrations:execute,pace=1000000")
        self.assertEqual({1: COUNT}, self.n())
        process = self.roll_back(0)
        self.fab("migrations:pause")
        done = self.n()
        time.sleep(1.5)  # its lease is 1 s
        self.assertEqual(done, self.n())
        self.assertRegex(self.fab("migrations").stderr, r"1_counts\.py: [\d,]+ of 2,000 documents; paused by \S+@\S+\n")
        self.fab("migrations:resume")
        self.wait_until_moving(done)
        self.fab("migrations:stop")
        result = self.end_of(process)
        self.assert_code(1, result)
        self.assertRegex(result.stderr, r"1_counts\.py was stopped by \S+@\S+")
        stopped = self.n()
        self.assertEqual({0, 1}, set(stopped))
        process = self.roll_back(stopped[0])
        self.fab("migrations:pace,full")
        self.assert_code(0, self.end_of(process))
        self.assertTrue(before == self.raw(), self.n())
        self.assertEqual(
            ([], 0), (self.registered(), self.db.migrations_kept.count_documents({"_id.part": "1_counts.py"}))
        )


class TestRollbackInSet(TestRollback):
    def find_server(self) -> Server | Mongod:
        return shared_replica_set()
