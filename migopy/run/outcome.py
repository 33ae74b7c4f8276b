"""What execute, ignore, rollback and rehearse tell a program: one JSON document, also where they fail."""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import datetime
from typing import Any, Callable, Container, Iterator, Mapping, Sequence

from ..errors import MigopyException, StopTaskExecution
from ..mongo.clock import clock
from ..terminal.streams import show
from ..terminal.texts import one_line, summary
from .report import as_json


class Outcome:
    """The migrations that a subtask was about to change, and what became of each."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}

    def plan(self, names: Sequence[str]) -> None:
        """The migrations in their order; until something is told of one, it has not run."""
        empty = {"result": "not run", "at": None, "seconds": None, "error": None}
        self._rows = {name: {"name": name, **empty} for name in names}

    def ignored(self, names: Sequence[str], at: datetime) -> None:
        for name in names:
            self._rows[name].update(result="ignored", at=at)

    @contextlib.contextmanager
    def one(self, name: str, result: str, done: Container[str], now: Callable[[], datetime]) -> Iterator[None]:
        """A migration runs inside. It is only ``done`` that tells whether its history has been written: then it has had
        its result, whatever is raised after that.
        """
        row, started = self._rows[name], clock()
        try:
            yield
        except BaseException as error:
            row.update(result="failed", error=_reason(error))
            raise
        finally:
            row.update(at=now(), seconds=round(clock() - started, 3))
            if name in done:
                row["result"] = result

    def rows(self) -> Mapping[str, Any]:
        return {"migrations": list(self._rows.values())}


@contextlib.contextmanager
def printed(subtask: str, rows: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """What is printed inside, by migrations and by what they start too, goes to stderr; in the end the document is all
    that stands on stdout: whether it went well, and the rows as they are then.
    """
    reason: str | None = None
    try:
        with stdout_to_stderr():
            yield
    except StopTaskExecution:
        raise
    except BaseException as error:
        reason = _reason(error)
        raise
    finally:
        show(as_json({"subtask": subtask, "ok": reason is None, "error": reason, **rows()}))


def _reason(error: BaseException) -> str:
    return one_line(str(error)) if isinstance(error, MigopyException) else summary(error)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Both Python's stream and the descriptor, which the programs that a migration starts write to."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
