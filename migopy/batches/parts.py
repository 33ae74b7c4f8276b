"""A walk in parts: several workers go through a collection at once, each through the next part."""

from __future__ import annotations

import concurrent.futures
import functools
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Sequence

from ..mongo.client import kill_sessions
from ..terminal.signals import HOLD_BACK_SECONDS
from .gate import WalkEnded
from .walk import Walk

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from ..store.checkpoints import Checkpoint
    from .pace import Pace

LOOK_SECONDS = 0.1
"""Between two looks at whether a walk has ended."""

ABANDON_SECONDS = 10.0
"""How long a walk that a signal has ended waits for its workers. A dead server leaves them without an answer."""


class CallsInOneThread:
    """Functions that several threads want to be called, and that one thread calls."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[[], Any], concurrent.futures.Future[Any]] | None]
        self._waiting = queue.SimpleQueue()

    def call(self, function: Callable[[], Any], require_open: Callable[[], None]) -> Any:
        """What the function returns or raises, called in the other thread."""
        answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._waiting.put((function, answer))
        while not concurrent.futures.wait([answer], LOOK_SECONDS).done:
            try:
                require_open()
            except WalkEnded:
                answer.cancel()
                raise
        return answer.result()

    def serve_one(self) -> None:
        """Call the next function, if one comes soon."""
        try:
            asked = self._waiting.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            return
        if asked is None:
            return
        function, answer = asked
        if not answer.set_running_or_notify_cancel():
            return
        try:
            result = function()
        except Exception as error:
            answer.set_exception(error)
        else:
            answer.set_result(result)

    def wake(self) -> None:
        """Let ``serve_one()`` return."""
        self._waiting.put(None)


class WalkInParts(Walk):
    """A walk whose checkpoint says where it is cut into parts; ``checkpoint`` is what all of them have done.

    ``whole`` is what ``Walk`` gets. ``sessions`` are one for each worker, which is a thread. Each part is a walk of its
    own.
    """

    def __init__(
        self,
        *whole: Any,
        parts: Sequence[Checkpoint],
        sessions: Sequence[ClientSession],
        make_pace: Callable[[], Pace],
    ) -> None:
        super().__init__(*whole)
        self._parts = {part.id["part"]: part for part in parts}
        self._waiting: list[Checkpoint] = []
        self._sessions = sessions
        self._make_pace = make_pace
        self._calls = CallsInOneThread()
        self._hooks_of_parts = self._hooks._replace(
            confirm=self._confirm,
            whole=self._note,
            call=functools.partial(self._calls.call, require_open=self._gate.require_open),
            workers=len(sessions),
        )
        self._at_work: list[ClientSession] = []
        """The sessions of the workers that have not ended."""
        self._one_at_a_time = threading.Lock()
        self._failures: list[BaseException] = []
        self.checkpoint = self.checkpoint.with_parts(parts)

    def run(self, change: Callable[[Walk], None]) -> None:
        """Go through all parts, as ``change`` does with the walk through one. Raises what the first worker raises."""
        self._waiting = [part for part in self._parts.values() if not part.finished]
        self._at_work = list(self._sessions)
        workers = [
            threading.Thread(target=self._work, args=[session, change], name="migopy worker", daemon=True)
            for session in self._sessions
        ]
        try:
            for worker in workers:
                worker.start()
            while self._at_work:
                self._calls.serve_one()
            for worker in workers:
                worker.join()
        except BaseException:  # a signal, or the code of the team ends the process
            self._abort(workers)
            raise
        if self._failures:
            raise self._failures[0]

    def _work(self, session: ClientSession, change: Callable[[Walk], None]) -> None:
        pace = self._make_pace()
        try:
            for part in iter(self._next_part, None):
                walk = Walk(
                    self.collection,
                    self.filter,
                    part,
                    pace,
                    session,
                    self.in_transactions,
                    self._gate,
                    self._hooks_of_parts,
                )
                change(walk)
                self._note(walk.checkpoint)
        except WalkEnded:
            pass
        except BaseException as error:  # KeyboardInterrupt too: another terminal may end the run
            self._failures.append(error)
            self._gate.close()
        finally:
            self._at_work.remove(session)
            self._calls.wake()

    def _next_part(self) -> Checkpoint | None:
        with self._one_at_a_time:
            return self._waiting.pop(0) if self._waiting else None

    def _note(self, part: Checkpoint) -> Checkpoint:
        """Note how far a part is; the checkpoint of the whole walk."""
        with self._one_at_a_time:
            self._parts[part.id["part"]] = part
            self.checkpoint = self.checkpoint.with_parts(list(self._parts.values()))
            return self.checkpoint

    def _confirm(self) -> None:
        # One round trip is enough for all.
        with self._one_at_a_time:
            self._hooks.confirm()

    def _abort(self, workers: Sequence[threading.Thread]) -> None:
        """End the workers, and what the server is doing for them."""
        self._gate.close()
        sessions = [session.session_id for session in self._sessions]
        ending = threading.Thread(target=kill_sessions, args=(self.collection.database.client, sessions), daemon=True)
        ending.start()
        ending.join(HOLD_BACK_SECONDS)
        until = time.monotonic() + ABANDON_SECONDS
        while any(worker.is_alive() for worker in workers) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
