"""Which worker goes to which database next, and when none begins any more."""

from __future__ import annotations

import signal
from collections import deque
from multiprocessing.connection import wait
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
        self._waiting: deque[Job] = deque()
        self._last: set[Target] = set()
        """The databases whose lock another run held."""
        self._limit = 1 if tries_one else at_once
        self.interrupt: KeyboardInterrupt | None = None
        """The signal that has stopped it."""
        self.done: list[Done] = []

    def __enter__(self) -> Pool:
        self._workers.append(self._make_worker(()))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for worker in self._workers:
            if error is not None:
                worker.send_signal(signal.SIGTERM)
            worker.end()

    def list_targets(self) -> list[Target] | Done:
        """All databases, as a worker sees them: this process has no client, and so no threads, while it forks."""
        (worker,) = self._workers
        worker.give(None)
        while not worker.has_result():
            wait(worker.descriptors, LIVENESS_SECONDS)
            worker.pass_lines_on()
        found: list[Target] | Done | None = worker.result()
        if found is None:
            self._workers.remove(worker)
            raise MigopyException(f"Nothing was done: the process that asks MONGO_DATABASES {worker.end()}.")
        return found

    def run(self, targets: Sequence[Target]) -> None:
        """Run the subtask in each; ``done`` says how it went. Ctrl-C ends the running ones in order."""
        self._waiting.extend(Job(target, waits=False) for target in targets)
        with hold_back():
            while self._assign():
                try:
                    with let_through():
                        wait([number for worker in self._busy for number in worker.descriptors], LIVENESS_SECONDS)
                except KeyboardInterrupt as interrupt:
                    self.interrupt = interrupt
                    for worker in self._busy:
                        worker.send_signal(signal.Signals[str(interrupt)])
                for worker in self._busy:
                    self._attend(worker)

    @property
    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.target]

    def _assign(self) -> bool:
        """Give databases to idle workers. Returns whether any works."""
        has_failed = any(done.code and not done.is_locked for done in self.done)
        if not self.interrupt and (self._goes_on or not has_failed):
            while self._waiting and len(self._busy) < self._limit:
                idle = next((worker for worker in self._workers if not worker.target), None)
                if idle is None:
                    idle = self._make_worker(self._workers)
                    self._workers.append(idle)
                idle.give(self._waiting.popleft())
        return bool(self._busy)

    def _attend(self, worker: Worker) -> None:
        """Pass on what the worker prints, and note its result if it has one."""
        worker.pass_lines_on()
        if not worker.has_result():
            return
        target, result = worker.target, worker.result()
        assert target is not None
        worker.target = None
        if result is None:
            self._workers.remove(worker)
            result = Done(target, 1, error=f"its process {worker.end()}")
            self._logger.red(f"{target.name}: {result.error}")
        self._note(result)

    def _note(self, result: Done) -> None:
        if result.is_locked and result.target not in self._last:
            self._logger.white(f"{result.target.name}: another run holds the lock, so it comes last")
            self._last.add(result.target)
            self._waiting.append(Job(result.target, waits=True))
            return
        self.done.append(result)
        if has_worked(result):
            self._limit = self._at_once


def has_worked(done: Done) -> bool:
    """Whether the subtask has succeeded, and had something to do."""
    rows: Sequence[Any] = done.document.get("migrations", [True])
    return done.code == 0 and bool(rows)
