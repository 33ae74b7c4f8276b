"""Processes that run a subtask in one database after the other, and what they print, line by line."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import re
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from ..errors import LockHeld, MigopyException, StopTaskExecution
from ..fab.dispatch import fail
from ..fab.syntax import parameter_name
from ..terminal.signals import handle_signals
from ..terminal.streams import ignore_missing_readers, say, show
from ..terminal.texts import summary
from ..terminal.wording import stopper
from .choice import Target
from .managers import Answer, Managers, answer

# Not threads: a signal reaches only the main thread, and the output of two migrations could not be told apart.
FORK = multiprocessing.get_context("fork")

MAX_LINE = 65536
"""Bytes of a line. A longer one is passed on in pieces."""

MAX_PIPE = 1_048_576
"""Bytes that the largest pipe of an ordinary user holds."""


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
    is_locked: bool = False
    """Whether another run holds the lock."""


class Subtask(NamedTuple):
    """What is run in each database."""

    name: str
    options: list[str]
    named: dict[str, str]
    has_document: bool = True
    """Whether it prints one with ``json=yes``."""
    is_quiet: bool = False
    """Whether it does not say that all is well."""
    is_silent: bool = False
    """Whether its errors are for the document only."""
    waits: bool = False
    """Whether ``LOCK_WAIT`` is for the run that it asks to do something, and not for a lock."""

    def call(self, manager: Any, **more: str) -> Any:
        """Call it. That it exists and takes these options was found out before, once for all databases."""
        named = {parameter_name(name): value for name, value in {**self.named, **more}.items()}
        return getattr(manager, self.name)(*self.options, **named)


ListTargets = Callable[[Managers], "list[Target]"]


def serve(
    connection: Connection, streams: Streams, manager_class: type[Any], subtask: Subtask, list_targets: ListTargets
) -> None:
    """The main function of a worker: it lists the databases if it gets no job."""
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt), Managers(manager_class) as managers:
        while True:
            job = connection.recv()
            if not subtask.is_silent:  # migrations may have closed or replaced them
                streams.put_in_place()
            result = _run(job, managers, subtask) if job else _list(list_targets, managers, manager_class)
            streams.flush()
            connection.send(result)


def _list(list_targets: ListTargets, managers: Managers, manager_class: type[Any]) -> list[Target] | Done:
    try:
        return list_targets(managers)
    except MigopyException as error:
        return Done(Target(""), _show(error, manager_class))


def _run(job: Job, managers: Managers, subtask: Subtask) -> Done:
    """Run the subtask in one database. Whatever it raises is in the result."""
    done = Done(job.target, 1)
    try:
        document, error = _answer(job, managers, subtask)
    except KeyboardInterrupt as interrupt:
        return done._replace(error=f"stopped by {stopper(summary(interrupt))}")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return done._replace(code=code, error=f"exit code {code}" if code else None)
    except BaseException as other:
        traceback.print_exc()
        return done._replace(error=summary(other))
    if error is None:
        return done._replace(code=0, document=document)
    is_locked, manager_class = isinstance(error, LockHeld), managers.class_for(job.target)
    is_shown = not subtask.is_silent and (job.waits or not is_locked)
    code = _show(error, manager_class) if is_shown else error.exit_code
    return Done(job.target, code, document, manager_class.logger.qualified(error), is_locked)


def _answer(job: Job, managers: Managers, subtask: Subtask) -> Answer:
    """What the subtask answers in one database."""
    wait = {} if job.waits or subtask.waits else {"LOCK_WAIT": 0}
    try:
        # Where a document tells how it went, the summary says for all databases that there was nothing to do.
        with handle_signals(), contextlib.closing(
            managers.manager(job.target, is_quiet=subtask.has_document or subtask.is_quiet, **wait)
        ) as manager:
            if subtask.has_document:
                document, error = answer(functools.partial(subtask.call, manager, json="yes"))
                return Answer(manager.logger.qualified_document(document), error)
            subtask.call(manager)
    except StopTaskExecution:
        pass
    except MigopyException as error:
        return Answer({}, error)
    return Answer({}, None)


def _show(error: MigopyException, manager_class: type[Any]) -> int:
    """Show the error as for a single database, and return its exit code."""
    with contextlib.suppress(Exception, SystemExit):
        fail(error, manager_class)
    return error.exit_code


class Worker:
    """One process. ``target`` is the database that it is in, None while it waits for one."""

    def __init__(
        self, serve: Callable[[Connection, Streams], None], others: Sequence[Worker], shows_stdout: bool
    ) -> None:
        self.target: Target | None = None
        self.connection, theirs = FORK.Pipe()
        out, stdout = os.pipe()
        err, stderr = os.pipe()
        parent_lives, self._life = os.pipe()
        ours = [self.connection.fileno(), out, err, self._life]
        inherited = [*ours, *(number for other in others for number in (*other.descriptors, other._life))]
        self._lines = {out: Lines(out, show if shows_stdout else say), err: Lines(err, say)}
        streams = Streams(stdout, stderr)
        self.process = FORK.Process(target=_begin, args=(serve, theirs, streams, parent_lives, inherited))
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
        with contextlib.suppress(BrokenPipeError):  # it has ended, as has_result() says
            self.connection.send(job)

    def pass_lines_on(self) -> None:
        for lines in self._lines.values():
            lines.pass_on(self._prefix)

    def has_result(self) -> bool:
        """Whether it has sent a result, or has ended."""
        # A process that a migration has left behind keeps the connection open.
        return not self.process.is_alive() or self.connection.poll()

    def result(self) -> Any:
        """What the worker sent, or None if it has ended."""
        found = None
        with contextlib.suppress(EOFError, OSError):
            found = self.connection.recv() if self.connection.poll() else None
        for lines in self._lines.values():
            lines.end(self._prefix)
        return found

    @property
    def _prefix(self) -> str:
        return f"{self.target.name}: " if self.target else ""

    def end(self) -> str:
        """Let it end, wait for that, and return how it ended."""
        self.connection.close()
        self.process.join()
        for number in (*self._lines, self._life):
            os.close(number)
        code = self.process.exitcode or 0
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, number)


def _begin(
    serve: Callable[[Connection, Streams], None],
    connection: Connection,
    streams: Streams,
    parent_lives: int,
    inherited: Sequence[int],
) -> None:
    os.setpgid(0, 0)  # Ctrl-C reaches the first process, which passes it on, once
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in inherited:
        os.close(number)
    streams.put_in_place()
    threading.Thread(target=_end_with_parent, args=[parent_lives], daemon=True).start()
    serve(connection, streams)


def _end_with_parent(parent_lives: int) -> None:
    os.read(parent_lives, 1)  # nobody writes; it returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


class Streams:
    """The standard streams of a worker: pipes to the first process."""

    def __init__(self, stdout: int, stderr: int) -> None:
        self._descriptors = {"stdout": (1, stdout), "stderr": (2, stderr)}

    def put_in_place(self) -> None:
        """Make them the standard streams, again if a migration has closed or replaced them."""
        for name, (standard, descriptor) in self._descriptors.items():
            os.dup2(descriptor, standard)
            stream = os.fdopen(descriptor, "w", 1, "utf-8", "backslashreplace", closefd=False)
            setattr(sys, name, stream)
        ignore_missing_readers()

    @staticmethod
    def flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # it may be closed, or None
                stream.flush()


class Lines:
    """The lines that come out of a pipe, passed on as they are complete."""

    ENDS = re.compile(rb"\r?\n|\r(?=[^\n])")
    """A progress bar ends each of its lines with a carriage return alone."""

    def __init__(self, descriptor: int, write: Callable[[str], None]) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._write = write
        self._rest = b""

    def pass_on(self, prefix: str) -> bool:
        """Pass on what has come, and return whether there was anything. At most one piece: other workers wait."""
        try:
            piece = os.read(self._descriptor, MAX_LINE)
        except BlockingIOError:
            return False
        *lines, self._rest = self.ENDS.split(self._rest + piece)
        if len(self._rest) >= MAX_LINE:
            lines, self._rest = [*lines, self._rest], b""
        if lines:
            self._write("\n".join(prefix + line.decode("utf-8", "backslashreplace") for line in lines))
        return bool(piece)

    def end(self, prefix: str) -> None:
        """Pass on all that the worker has written, and a last line that has no end."""
        for _ in range(MAX_PIPE // MAX_LINE):  # a process that it left behind may go on writing
            if not self.pass_on(prefix):
                break
        if self._rest:
            self._write(prefix + self._rest.decode("utf-8", "backslashreplace"))
            self._rest = b""
