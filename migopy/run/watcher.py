"""Says what the server is doing for a migration that takes long: in the run itself, and to ``fab migrations``."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from typing import TYPE_CHECKING, Any, Callable, Iterator

from pymongo.errors import PyMongoError

from ..mongo.clock import clock
from ..mongo.operations import Doing, Operations
from ..mongo.threads import end, start_later
from ..mongo.transaction_guard import call_unwatched
from ..terminal.progress import ProgressLine

if TYPE_CHECKING:
    from types import TracebackType

    from pymongo import MongoClient
    from pymongo.client_session import ClientSession

LONG_SECONDS = 10.0
"""How long a migration runs before the server is asked for the first time."""

LONG_COMMAND_SECONDS = 5.0
"""How long one command runs before it is worth a line."""

ASK_SECONDS = 5.0
"""Between two questions to the server."""

LOOK_SECONDS = 1.0
"""Between two looks at the sessions of the client, which cost no round trip."""


class Watcher:
    """A thread for one run. ``say`` shows a line, ``tell`` tells other terminals (empty for nothing special)."""

    def __init__(self, client: MongoClient[Any], say: Callable[[str], None], tell: Callable[[str], None]) -> None:
        self._operations = Operations(client)
        self._say = say
        self._tell = tell
        self._ended = threading.Event()
        self._one_at_a_time = threading.Lock()
        """Held to show a line, and to end that."""
        self._name: str | None = None
        self._ask_at = 0.0
        self._line: ProgressLine | None = None
        self._shown = self._told = ""

    def __enter__(self) -> Watcher:
        # What this thread writes belongs to no transaction of the migration.
        start_later(LOOK_SECONDS, functools.partial(call_unwatched, self._run), self._ended, "migopy watcher")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._ended)

    @contextlib.contextmanager
    def watch(self, name: str, session: ClientSession | None = None) -> Iterator[None]:
        """Watch the commands of a migration inside the block. ``session`` is a session that it uses."""
        self._operations.look_for_sessions(*([session.session_id] if session else []))
        self._ask_at = clock() + LONG_SECONDS
        self._name = name
        try:
            yield
        finally:
            with self._one_at_a_time:
                self._name, self._shown = None, ""
                if self._line:
                    self._line.clear()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._operations.look_for_sessions()
            name = self._name
            if name is None:
                self._tell_once("")
            elif clock() >= self._ask_at:
                self._ask_at = clock() + ASK_SECONDS
                try:
                    self._ask(name)
                except PyMongoError:  # it cannot be asked (Stable API), or does not answer, which the migration notices
                    self._ask_at = clock() + 10 * ASK_SECONDS
            self._ended.wait(LOOK_SECONDS)

    def _ask(self, name: str) -> None:
        doing = self._operations.longest(LONG_COMMAND_SECONDS)
        if doing:
            self._show(name, doing)
        self._tell_once(str(doing or ""))

    def _show(self, name: str, doing: Doing) -> None:
        with self._one_at_a_time:
            if self._name != name:
                return
            self._line = self._line or ProgressLine(self._say)
            text = f"{name}: {doing}"
            kind = re.sub(r"for [^:]*|[\d,]+", "", text)
            self._line.show(text, doing.done, doing.total, at_once=kind != self._shown)
            self._shown = kind

    def _tell_once(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self._tell(text)
