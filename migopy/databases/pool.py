"""Which worker goes to which database next, and when none begins any more."""

from __future__ import annotations

import selectors
import signal
import time
from collections import deque
from typing import Any, Callable, Sequence

from ..errors import MigopyException
from ..terminal import ColorsLogger
from ..terminal.signals import hold_back, let_through
from .choice import Target
from .workers import Done, Job, Worker

LIVENESS_SECONDS = 1.0
"""How often to look whether the processes are alive."""


class Pool:
    """Runs a subtask in many databases.

    At most ``at_once`` work at the same time; with ``tries_one`` only one until it had something to do and succeeded.
    After a failure none begins unless ``goes_on``.
    """

    def __init__(
        self,
        make_worker: Callable[[Sequence[Worker]], Worker],
        at_once: int,
        logger: ColorsLogger,
        *,
        goes_on: bool = False,
        tries_one: bool = True,
    ) -> None:
        self._make_worker = make_worker
        self._at_once = at_once
        self._logger = logger
        self._goes_on = goes_on
        self._workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        self._look_at_all_at = 0.0
        self._waiting: deque[Job] = deque()
        self._last: set[Target] = set()
        """The databases whose lock another run held."""
        self._limit = 1 if tries_one else at_once
        self._has_failed = False
        self.interrupt: KeyboardInterrupt | None = None
        """The signal that has stopped it."""
        self.done: list[Done] = []

    def __enter__(self) -> Pool:
        self._add_worker()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for worker in [*self._workers]:
            if error is not None:
                worker.send_signal(signal.SIGTERM)
            self._end(worker)
        self._selector.close()

    def _add_worker(self) -> Worker:
        worker = self._make_worker(self._workers)
        self._workers.append(worker)
        for descriptor in worker.descriptors:
            self._selector.register(descriptor, selectors.EVENT_READ, worker)
        return worker

    def _end(self, worker: Worker) -> str:
        """Let it end, and return how it ended."""
        self._workers.remove(worker)
        for descriptor in worker.descriptors:
            self._selector.unregister(descriptor)
        return worker.end()

    def _wait(self) -> Sequence[Worker]:
        """The workers that have sent something, or all after a second: one may have died without a trace."""
        ready = {key.data for key, _ in self._selector.select(LIVENESS_SECONDS)}
        if time.monotonic() < self._look_at_all_at:
            return [*ready]
        self._look_at_all_at = time.monotonic() + LIVENESS_SECONDS
        return [*self._workers]

    def list_targets(self) -> list[Target] | Done:
        """All databases, as a worker sees them: this process has no client, and so no threads, while it forks."""
        (worker,) = self._workers
        worker.give(None)
        while not worker.has_result():
            self._wait()
            worker.pass_lines_on()
        found: list[Target] | Done | None = worker.result()
        if found is None:
            ended = self._end(worker)
            raise MigopyException(f"Nothing was done: the process that asks MONGO_DATABASES {ended}.")
        return found

    def run(self, targets: Sequence[Target]) -> None:
        """Run the subtask in each; ``done`` says how it went. Ctrl-C ends the running ones in order."""
        self._waiting.extend(Job(target, waits=False) for target in targets)
        with hold_back():
            while self._assign():
                ready: Sequence[Worker] = []
                try:
                    with let_through():
                        ready = self._wait()
                except KeyboardInterrupt as interrupt:
                    self.interrupt = interrupt
                    for worker in self._busy:
                        worker.send_signal(signal.Signals[str(interrupt)])
                for worker in ready:
                    self._attend(worker)

    @property
    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.target]

    def _assign(self) -> bool:
        """Give databases to idle workers. Returns whether any works."""
        if not self.interrupt and (self._goes_on or not self._has_failed):
            while self._waiting and len(self._busy) < self._limit:
                idle = next((worker for worker in self._workers if not worker.target), None)
                if idle is None:
                    idle = self._add_worker()
                idle.give(self._waiting.popleft())
        return bool(self._busy)

    def _attend(self, worker: Worker) -> None:
        """Pass on what the worker prints, and note its result if it has one."""
        worker.pass_lines_on()
        if not worker.has_result():
            return
        target, result = worker.target, worker.result()
        worker.target = None
        ended = "" if result else self._end(worker)
        if target is None:
            return
        if result is None:
            result = Done(target, 1, error=f"its process {ended}")
            self._logger.red(f"{target.name}: {result.error}")
        self._note(result)

    def _note(self, result: Done) -> None:
        if result.is_locked and result.target not in self._last:
            self._logger.white(f"{result.target.name}: another run holds the lock, so it comes last")
            self._last.add(result.target)
            self._waiting.append(Job(result.target, waits=True))
            return
        self.done.append(result)
        self._has_failed |= bool(result.code) and not result.is_locked
        if has_worked(result):
            self._limit = self._at_once


def has_worked(done: Done) -> bool:
    """Whether the subtask has succeeded, and had something to do."""
    rows: Sequence[Any] = done.document.get("migrations", [True])
    return done.code == 0 and bool(rows)
