"""Each line that keeps a run safe, in one process: its lock rewritten by hand, or the clock moved."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable
from unittest import mock

from pymongo import MongoClient
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

import migopy
from migopy.dumps import Tool
from migopy.errors import LockHeld, LockLost, ServerFailed
from migopy.mongo.clock import clock
from migopy.store import lock as lock_module
from migopy.store.lock import Lock
from migopy.store.names import Names
from tests.reaper import reaper
from tests.server import Mongod, Proxy, Server, shared_replica_set, wait_for
from tests.support import MongoTestCase, tools_on_path

LEASE = 10.0

SOMEBODY = "somebody else"


class GuardTestCase(MongoTestCase):
    def make_lock(self, client: MongoClient[dict[str, Any]] | None = None, **facts: Any) -> Lock:
        given: dict[str, Any] = {"address": "here", "lease": LEASE, "by": "me@here", "pid": os.getpid(), **facts}
        given.setdefault("was_unlocked", lambda _: False)
        return Lock((client or self.client)[self.database], Names("migrations"), **given)

    def later(self, seconds: float) -> contextlib.AbstractContextManager[Any]:
        """The lock's clock is so much further than it was."""
        now = clock
        return mock.patch.object(lock_module, "clock", lambda: now() + seconds)

    def rewrite_token(self) -> None:
        """As unlock does, or a run that found the lease run out."""
        self.db.migrations_lock.update_one({"_id": "lock"}, {"$set": {"token": SOMEBODY}})

    def token(self) -> Any:
        found = self.db.migrations_lock.find_one({"_id": "lock"})
        return found and found["token"]


class TestLease(GuardTestCase):
    def test_its_holder_relies_on_it_less_long_than_others_respect_it(self) -> None:
        lock = self.make_lock()
        self.assertIsNone(lock.take("execute"))
        with self.later(LEASE * 0.85):
            lock.check()
        with self.later(LEASE * 0.95), self.assertRaisesRegex(
            LockLost, "its lease of 10 s was not renewed in time, so another run may have it"
        ):
            lock.check()

    def test_it_counts_from_the_sending_not_from_the_answer(self) -> None:
        with contextlib.ExitStack() as stack:
            proxy = stack.enter_context(Proxy(self.server.host, self.server.port))
            client: MongoClient[dict[str, Any]] = MongoClient(f"mongodb://{proxy.host}:{proxy.port}/")
            stack.enter_context(client)  # it is closed while the server answers, else that takes 30 s
            client.admin.command("ping")
            lock = self.make_lock(client)
            for ask in (lambda: lock.take("execute"), lambda: lock.announce(["1_a.py"])):
                self.slowly(proxy, ask)
                self.assertLess(lock.seconds_left(), LEASE * 0.9 - 0.5)

    def slowly(self, proxy: Proxy, ask: Callable[[], Any]) -> None:
        proxy.stop_forwarding()
        timer = threading.Timer(0.6, proxy.resume)
        timer.start()
        ask()
        timer.join()

    def test_lost_once_it_stays_lost_though_the_server_would_renew_it(self) -> None:
        lock = self.make_lock()
        lock.take("execute")
        with self.later(LEASE):
            with self.assertRaises(LockLost):
                lock.announce(["1_a.py"])
            with self.assertRaises(LockLost):
                lock.confirm()

    def test_within_its_lease_nobody_else_gets_it_and_after_it_anybody(self) -> None:
        self.make_lock().take("execute")
        second = self.make_lock()
        found = second.take("rollback")
        assert found is not None
        self.assertEqual(("execute", True), (found.subtask, found.held))
        self.db.migrations_lock.update_one({}, [{"$set": {"expires_at": {"$subtract": ["$$NOW", 1]}}}])
        self.assertIsNone(second.take("rollback"))

    def test_a_run_does_not_take_the_lock_of_its_own_process(self) -> None:
        with contextlib.ExitStack() as stack:
            outer = self.make_lock()
            outer.take("execute")
            stack.enter_context(outer)
            with self.assertRaisesRegex(LockHeld, "ignore cannot run inside execute"):
                self.make_lock().take("ignore")


class TestGivenBack(GuardTestCase):
    def test_only_by_whose_it_is(self) -> None:
        lock = self.make_lock()
        lock.take("execute")
        self.rewrite_token()
        lock.give_back()
        self.assertEqual(SOMEBODY, self.token())

    def test_not_in_the_middle_of_a_migration(self) -> None:
        lock = self.make_lock()
        lock.take("execute")
        lock.begin()
        lock.give_back(KeyboardInterrupt())
        self.assertIsNotNone(self.token())
        lock.end()
        lock.give_back(KeyboardInterrupt())
        self.assertIsNone(self.token())

    def test_while_it_is_renewed_it_is_not_written_again(self) -> None:
        renewals = OnItsWay()
        client: MongoClient[dict[str, Any]] = MongoClient(self.server.uri, event_listeners=[renewals])
        self.addCleanup(client.close)
        lock = self.make_lock(client, lease=0.9)
        lock.take("execute")
        with lock:
            self.assertTrue(renewals.is_on_its_way.wait(5))
        self.assertIsNone(self.token())
        renewals.has_arrived.wait(5)
        self.assertIsNone(self.token())

    def test_a_renewal_that_the_server_refuses_is_tried_again(self) -> None:
        """It may not say whether the lock was dropped or freed, or fail to; that is no traceback of a thread."""
        answers = iter([ServerFailed("It does not answer."), False])
        raised: list[Any] = []
        lock = self.make_lock(lease=1.5, was_unlocked=lambda _: answer(next(answers)))
        lock.take("execute")
        with mock.patch.object(threading, "excepthook", raised.append), lock:
            self.db.migrations_lock.drop()
            wait_for("renewal", lambda: lock.was_dropped)
            self.assertIsNotNone(self.token())
        self.assertEqual([], raised)
        self.assertIsNone(self.token())

    def test_unlock_takes_it_from_the_holder_that_was_shown_and_from_nobody_else(self) -> None:
        self.make_lock().take("execute")
        shown = self.make_lock().holder()
        assert shown is not None
        self.rewrite_token()
        self.assertIsNone(self.make_lock().take_away(shown))
        self.assertEqual(SOMEBODY, self.token())


def answer(what: Any) -> Any:
    if isinstance(what, Exception):
        raise what
    return what


class OnItsWay(CommandListener):
    """The renewals of a lock take half a second to the server, in which it may be given back."""

    def __init__(self) -> None:
        self.is_on_its_way, self.has_arrived = threading.Event(), threading.Event()

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "findAndModify" and not event.command.get("upsert"):  # that would take it
            self.is_on_its_way.set()
            time.sleep(0.5)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        if event.command_name == "findAndModify" and self.is_on_its_way.is_set():
            self.has_arrived.set()

    def failed(self, event: CommandFailedEvent) -> None:
        pass


class AtOnce(CommandListener):
    """Calls something as soon as a run has taken the lock."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def started(self, event: CommandStartedEvent) -> None:
        pass

    def succeeded(self, event: CommandSucceededEvent) -> None:
        if event.command_name == "findAndModify":
            self._then()

    def failed(self, event: CommandFailedEvent) -> None:
        pass


class TestConfirmed(GuardTestCase):
    """The lock is looked at before something is written that relies on it."""

    def find_server(self) -> Server | Mongod:
        return shared_replica_set()

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="guards-", dir=reaper().folder)
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "mongomigrations").mkdir()
        self.options: dict[str, Any] = {}
        for patched in (
            mock.patch.object(lock_module, "TRUSTED_SECONDS", 0.0),  # the server is asked at each word
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            patched.__enter__()
            self.addCleanup(patched.__exit__, None, None, None)
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)

    def team_with(self, **attributes: Any) -> migopy.MigrationsManager:
        settings = {
            "MONGO_URI": self.server.uri,
            "MONGO_DATABASE": self.database,
            "MONGO_CLIENT_OPTIONS": self.options,
            **attributes,
        }
        manager = type("Migrations", (migopy.MigrationsManager,), settings)()
        self.addCleanup(manager.close)
        assert isinstance(manager, migopy.MigrationsManager)
        return manager

    def migration(self, taken_away_in: str, session: bool, name: str = "1_a.py") -> None:
        """A migration; in that function of it another run gets the lock."""
        if session:
            self.make_for_transactions("ran")
        parameters, arguments = ("db, session", ", session=session") if session else ("db", "")
        taking = (
            f"    with pymongo.MongoClient({self.server.uri!r}) as another:\n"
            f"        another[db.name].migrations_lock.update_one({{}}, {{'$set': {{'token': {SOMEBODY!r}}}}})\n"
        )
        functions = "import pymongo\n\n" + "".join(
            f"def {function}({parameters}):\n"
            f"    db.ran.insert_one({{'function': '{function}'}}{arguments})\n"
            + (taking if function == taken_away_in else "")
            for function in ("up", "down")
        )
        (self.folder / "mongomigrations" / name).write_text(functions)

    def ran(self) -> list[str]:
        return [document["function"] for document in self.db.ran.find()]

    def test_before_registering(self) -> None:
        self.migration("up", session=False)
        with self.assertRaisesRegex(LockLost, "1_a.py was executed, but it could not be registered"):
            self.team_with().execute()
        self.assertEqual((["up"], [], SOMEBODY), (self.ran(), self.registered(), self.token()))

    def test_before_unregistering(self) -> None:
        self.migration("down", session=False)
        self.team_with().execute()
        with self.assertRaisesRegex(LockLost, r"down\(\) of 1_a.py has run, but it could not be unregistered"):
            self.team_with().rollback("1")
        self.assertEqual((["up", "down"], ["1_a.py"], SOMEBODY), (self.ran(), self.registered(), self.token()))

    def test_before_a_transaction_is_committed(self) -> None:
        self.migration("up", session=True)
        with self.assertRaises(LockLost):
            self.team_with().execute()
        self.assertEqual(([], [], SOMEBODY), (self.ran(), self.registered(), self.token()))

    def test_before_a_transaction_of_down_is_committed(self) -> None:
        self.migration("down", session=True)
        self.team_with().execute()
        with self.assertRaises(LockLost):
            self.team_with().rollback("1")
        self.assertEqual((["up"], ["1_a.py"], SOMEBODY), (self.ran(), self.registered(), self.token()))

    def test_before_ignoring(self) -> None:
        self.migration("", session=False)
        self.options = {"event_listeners": [AtOnce(self.rewrite_token)]}
        with self.assertRaises(LockLost):
            self.team_with().ignore()
        self.assertEqual(([], SOMEBODY), (self.registered(), self.token()))

    def test_before_forgetting(self) -> None:
        self.migration("", session=False)
        self.team_with().ignore()
        self.options = {"event_listeners": [AtOnce(self.rewrite_token)]}
        with self.assertRaises(LockLost):
            self.team_with().forget("1")
        self.assertEqual((["1_a.py"], SOMEBODY), (self.registered(), self.token()))

    def test_before_the_next_migration_begins(self) -> None:
        self.migration("", session=False)
        self.migration("", session=False, name="2_b.py")
        team = self.team_with(after_each=lambda team, name: self.rewrite_token())
        with self.assertRaisesRegex(LockLost, "2_b.py was not run"):
            team.execute()
        self.assertEqual((["up"], ["1_a.py"], SOMEBODY), (self.ran(), self.registered(), self.token()))

    def test_after_a_restore(self) -> None:
        path = tools_on_path(self.folder / "bin", self.folder / "calls")
        with mock.patch.dict(os.environ, {"PATH": path}):
            self.db.notes.insert_one({"text": "here"})
            dump = self.team_with().dbdump()
            assert dump is not None
            taken_away = mock.patch.object(Tool, "run", lambda *_: self.restore_and_lose_the_lock())
            with taken_away, self.assertRaises(LockLost):
                self.team_with().dbrestore(Path(dump).name, force="yes")
        events = [event["event"] for event in self.db.migrations_log.find().sort([("at", 1), ("_id", 1)])]
        self.assertEqual((["restore begun", "restore failed"], SOMEBODY), (events, self.token()))

    def restore_and_lose_the_lock(self) -> None:
        self.db.notes.drop()
        self.db.notes.insert_one({"text": "here"})
        self.rewrite_token()

    def test_seconds_are_numbers_that_a_lock_can_have(self) -> None:
        for setting in ("LOCK_LEASE", "LOCK_WAIT"):
            for value in (-1, "60", None):
                with self.assertRaisesRegex(migopy.MigopyException, f"{setting} has to be a number of seconds"):
                    self.team_with(**{setting: value}).execute()
        with self.assertRaisesRegex(migopy.MigopyException, "LOCK_LEASE has to be a number of seconds, at least 1"):
            self.team_with(LOCK_LEASE=0.5).execute()
