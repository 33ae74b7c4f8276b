"""Processes that run a subtask in one database after the other, and what they print, line by line."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any, Callable, Iterator, Mapping, NamedTuple, Sequence

from ..errors import LockHeld, MigopyException, StopTaskExecution
from ..fab.dispatch import call, fail
from ..terminal.signals import handle_signals
from ..terminal.streams import ignore_missing_readers, say, show
from .choice import Target
from .managers import Managers, answer

# Not threads: a signal reaches only the main thread, and the output of two migrations could not be told apart.
FORK = multiprocessing.get_context("fork")


class Job(NamedTuple):
    """A database to run the subtask in; ``waits`` for a lock that another run holds as long as ``LOCK_WAIT``."""

    target: Target
    waits: bool


class Done(NamedTuple):
    """How a subtask ended in one database: its exit code, and what it did, for programs."""

    target: Target
    code: int
    document: Mapping[str, Any] = {}
    error: str | None = None
    waited: bool = True
    """Whether it has waited for a lock that another run holds."""


class Subtask(NamedTuple):
    """What is run in each database."""

    name: str
    options: list[str]
    named: dict[str, str]
    has_document: bool = True
    """Whether it prints one with ``json=yes``."""
    is_silent: bool = False
    """Whether its errors are for the document only."""


ListTargets = Callable[[Managers], "list[Target]"]


def serve(connection: Connection, manager_class: type[Any], subtask: Subtask, list_targets: ListTargets) -> None:
    """The main function of a worker: it lists the databases if it gets no job."""
    with contextlib.suppress(EOFError, KeyboardInterrupt), Managers(manager_class) as managers:
        while True:
            job = connection.recv()
            if job:
                connection.send(_run(job, managers, subtask))
                continue
            try:
                connection.send(list_targets(managers))
            except MigopyException as error:
                connection.send(Done(Target(""), _show(error, manager_class)))


def _run(job: Job, managers: Managers, subtask: Subtask) -> Done:
    wait = {} if job.waits else {"LOCK_WAIT": 0}
    # Where a document tells how it went, the summary says for all databases that there was nothing to do.
    manager = managers.manager(job.target, is_quiet=subtask.has_document, **wait)
    done = Done(job.target, 1, waited=job.waits)
    try:
        with contextlib.closing(manager), handle_signals():
            if subtask.has_document:
                document, error = answer(manager, subtask.name, subtask.options, subtask.named)
                done = done._replace(document=document)
                if error:
                    raise error
            else:
                call(manager, subtask.name, subtask.options, subtask.named)
        done = done._replace(code=0)
    except StopTaskExecution:
        done = done._replace(code=0)
    except MigopyException as error:
        comes_last = isinstance(error, LockHeld) and not job.waits
        code = error.exit_code if comes_last or subtask.is_silent else _show(error, type(manager))
        done = done._replace(code=code, error=str(error))
    except (KeyboardInterrupt, SystemExit):
        pass
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return done


def _show(error: MigopyException, manager_class: type[Any]) -> int:
    """Show the error as for a single database, and return its exit code."""
    with contextlib.suppress(Exception, SystemExit):
        fail(error, manager_class)
    return error.exit_code


class Worker:
    """One process. ``target`` is the database that it is in, None while it waits for one."""

    def __init__(self, serve: Callable[[Connection], None], others: Sequence[Worker], shows_stdout: bool) -> None:
        self.target: Target | None = None
        self.connection, theirs = FORK.Pipe()
        out, stdout = os.pipe()
        err, stderr = os.pipe()
        parent_lives, self._life = os.pipe()
        ours = [self.connection.fileno(), out, err, self._life]
        inherited = [*ours, *(number for other in others for number in (*other.descriptors, other._life))]
        self._lines = {out: Lines(out, show if shows_stdout else say), err: Lines(err, say)}
        self.process = FORK.Process(target=_begin, args=(serve, theirs, stdout, stderr, parent_lives, inherited))
        self.process.start()
        for number in (stdout, stderr, parent_lives):
            os.close(number)
        theirs.close()

    @property
    def descriptors(self) -> list[int]:
        """What to wait for: a result, or lines."""
        return [self.connection.fileno(), *self._lines]

    def give(self, job: Job | None) -> None:
        self.target = job.target if job else None
        self.connection.send(job)

    def pass_lines_on(self) -> None:
        for lines in self._lines.values():
            lines.pass_on(f"{self.target.name}: " if self.target else "")

    def result(self) -> Any:
        """What the worker sent, or None if it has ended."""
        try:
            found = self.connection.recv()
        except (EOFError, OSError):
            found = None
        self.pass_lines_on()
        for lines in self._lines.values():
            lines.end(f"{self.target.name}: " if self.target else "")
        return found

    def end(self) -> None:
        """Let it end, and wait for that."""
        self.connection.close()
        self.process.join()
        for number in (*self._lines, self._life):
            os.close(number)

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, number)


def _begin(
    serve: Callable[[Connection], None],
    connection: Connection,
    stdout: int,
    stderr: int,
    parent_lives: int,
    inherited: Sequence[int],
) -> None:
    os.setpgid(0, 0)  # Ctrl-C reaches the first process, which passes it on, once
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in inherited:
        os.close(number)
    for number, name, standard in ((stdout, "stdout", 1), (stderr, "stderr", 2)):
        os.dup2(number, standard)
        os.close(number)
        setattr(sys, name, os.fdopen(os.dup(standard), "w", encoding="utf-8", errors="backslashreplace", buffering=1))
    ignore_missing_readers()
    threading.Thread(target=_end_with_parent, args=[parent_lives], daemon=True).start()
    serve(connection)


def _end_with_parent(parent_lives: int) -> None:
    os.read(parent_lives, 1)  # nobody writes; it returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


class Lines:
    """The lines that come out of a pipe, passed on as they are complete."""

    def __init__(self, descriptor: int, write: Callable[[str], None]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._write = write
        self._rest = b""

    def pass_on(self, prefix: str) -> None:
        for piece in self._read():
            *lines, self._rest = (self._rest + piece).split(b"\n")
            for line in lines:
                self._write(prefix + line.decode("utf-8", "backslashreplace"))

    def end(self, prefix: str) -> None:
        """Pass on a last line that has no end."""
        if self._rest:
            self._write(prefix + self._rest.decode("utf-8", "backslashreplace"))
            self._rest = b""

    def _read(self) -> Iterator[bytes]:
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._descriptor, 65536):
                yield piece
