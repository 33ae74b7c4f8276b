"""What execute, ignore, rollback and rehearse tell a program: one JSON document, also when they fail."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import datetime
from typing import Any, Callable, Container, Iterator, Mapping, Sequence

from ..errors import MigopyException, StopTaskExecution
from ..terminal.options import is_yes
from ..terminal.streams import show
from ..terminal.texts import one_line, summary
from ..terminal.wording import stopper
from .report import as_json


class Outcome:
    """The migrations that a subtask was about to change, and the result of each."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}

    def plan(self, names: Sequence[str]) -> None:
        """Begin with these migrations, in order: none of them has run."""
        empty = {"result": "not run", "at": None, "seconds": None, "walks": None, "error": None}
        self._rows = {name: {"name": name, **empty} for name in names}

    def record_ignored(self, names: Sequence[str], at: datetime) -> None:
        for name in names:
            self._rows[name].update(result="ignored", at=at)

    @contextlib.contextmanager
    def record(
        self, name: str, result: str, finished: Container[str], now: Callable[[], datetime]
    ) -> Iterator[dict[str, Any]]:
        """Record the result of the migration that runs inside: ``result``, failed or stopped. It may add to the row.

        What counts is whether its name is in ``finished`` afterwards, because its history was written by then. An
        error after that, say of ``after_each()``, is recorded beside the result.
        """
        row = self._rows[name]
        try:
            yield row
        except BaseException as error:
            ended = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            row.update(result=ended, error=_reason(error))
            raise
        finally:
            row.update(at=now())
            if name in finished:
                row["result"] = result

    def rows(self) -> Mapping[str, Any]:
        return {"migrations": list(self._rows.values())}


@contextlib.contextmanager
def open_outcome(subtask: str, json: str | None) -> Iterator[Outcome]:
    """Collects what the block does. With ``json=yes`` it is printed at the end."""
    outcome = Outcome()
    with json_output(subtask, json, outcome.rows):
        yield outcome


def json_output(
    subtask: str, json: str | None, rows: Callable[[], Mapping[str, Any]]
) -> contextlib.AbstractContextManager[None]:
    """``print_json_at_end`` with ``json=yes``, otherwise nothing."""
    return print_json_at_end(subtask, rows) if is_yes("json", json) else contextlib.nullcontext()


@contextlib.contextmanager
def print_json_at_end(subtask: str, rows: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """Print one JSON document at the end, with the rows as they are then; all other output goes to stderr."""
    reason: str | None = None
    try:
        with redirect_stdout_to_stderr():
            yield
    except StopTaskExecution:  # not an error
        raise
    except BaseException as error:
        reason = _reason(error)
        raise
    finally:
        show(as_json({"subtask": subtask, "ok": reason is None, "error": reason, **rows()}))


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return f"stopped by {stopper(summary(error))}"
    return one_line(str(error)) if isinstance(error, MigopyException) else summary(error)


@contextlib.contextmanager
def redirect_stdout_to_stderr() -> Iterator[None]:
    """For Python's stream, and for the file descriptor that programs started by a migration write to."""
    _flush_stdout()
    kept = os.dup(1)  # 1 is stdout, 2 is stderr
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _flush_stdout()
        os.dup2(kept, 1)
        os.close(kept)


def _flush_stdout() -> None:
    with contextlib.suppress(Exception):  # a team's stdout may be None, closed, or an object that only writes
        sys.stdout.flush()
