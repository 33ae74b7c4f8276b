"""A manager for each database. Those on one server share a client."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
import shlex
import warnings
from typing import Any, Callable, Iterator, Mapping, NamedTuple

from ..errors import ConfigurationError, MigopyException
from ..fab.syntax import escape
from ..terminal import ColorsLogger
from ..terminal.messages import failure_method
from ..terminal.streams import say
from ..terminal.texts import safe_str
from .choice import Target


class Answer(NamedTuple):
    """What a subtask printed for programs, and how it failed; ``document`` is empty if it printed nothing."""

    document: Mapping[str, Any]
    error: MigopyException | None


class Managers:
    """Makes the managers, and closes their clients at the end."""

    def __init__(self, manager_class: type[Any]) -> None:
        self._class = manager_class
        self._owners: list[Any] = []
        """The managers whose clients the others use."""
        self._clients: dict[str | None, Any] = {}
        self._failures: dict[str | None, MigopyException] = {}
        """By URI, why there is no client: a server that is down costs its time limit once, not for each database."""

    def __enter__(self) -> Managers:
        return self

    def __exit__(self, *_: object) -> None:
        for owner in self._owners:
            owner.close()

    def client(self, uri: str | None = None) -> Any:
        """The client of a server. Raises ``MigopyException`` if it cannot be connected."""
        if uri in self._failures:
            raise copy.copy(self._failures[uri])
        if uri in self._clients:
            return self._clients[uri]
        owner = self.class_for(Target("admin", uri))()
        self._owners.append(owner)
        try:
            with _refuse_forked_client():
                self._clients[uri] = owner.mongo_client
            return self._clients[uri]
        except MigopyException as error:
            self._failures[uri] = copy.copy(error)  # its traceback would keep the client alive
            raise

    def manager(self, target: Target, *, is_quiet: bool = False, **attributes: Any) -> Any:
        """A manager for one database; ``attributes`` replace settings. A quiet one does not say that all is well."""
        manager = self.class_for(target, **attributes)()
        manager.logger.is_quiet = is_quiet
        manager.mongo_client = self.client(target.uri)
        manager.must_exist = target.was_there
        return manager

    def class_for(self, target: Target, **attributes: Any) -> type[Any]:
        """The team's class for one database."""
        settings = {
            **target.settings,
            "MONGO_AUTH_DATABASE": self._class.MONGO_AUTH_DATABASE or self._class.MONGO_DATABASE or "admin",
            "logger": QualifyingLogger(self._class.logger, self._class.FAB_TASK, target.name),
        }
        return type(self._class.__name__, (self._class,), {**settings, **attributes})


@contextlib.contextmanager
def _refuse_forked_client() -> Iterator[None]:
    """Raises ``ConfigurationError`` for a client that was connected before this process was forked."""
    forked = "MongoClient opened before fork"  # PyMongo warns that such a client may wait for itself for ever
    with warnings.catch_warnings():
        warnings.filterwarnings("error", forked, UserWarning)
        try:
            yield
        except UserWarning as warning:
            if not str(warning).startswith(forked):
                raise
            raise ConfigurationError(
                "MongoClient returned a client that was made before the processes for many databases: make it inside of"
                " that function."
            ) from warning


def answer(call: Callable[[], Any]) -> Answer:
    """Call a subtask that prints a document, and take that instead."""
    error = None
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        try:
            call()
        except MigopyException as raised:
            error = raised
    before, document = _split(stdout.getvalue())
    if before:
        say(before)
    return Answer(document, error)


def _split(text: str) -> tuple[str, Mapping[str, Any]]:
    """What a team's method printed before the document, and the document."""
    begin = 0 if text.startswith("{\n") else text.rfind("\n{\n") + 1
    with contextlib.suppress(ValueError):
        return text[:begin].rstrip("\n"), json.loads(text[begin:])
    return text.rstrip("\n"), {}


class QualifyingLogger(ColorsLogger):
    """The team's logger, for messages about one database: each command in them gets ``databases=``."""

    def __init__(self, logger: ColorsLogger, task: str, database: str) -> None:
        self._logger_of_team = logger
        self.is_quiet = False
        self._command = re.compile(rf"fab ({re.escape(task)}:\w+(?:,[^\s;,:?)]*[^\s;,:?).])*)")
        self._option = f",databases={escape(database)}"

    def qualified(self, message: object) -> str:
        """The message with commands that can be typed as they are."""
        return self._command.sub(lambda found: f"fab {shlex.quote(found[1] + self._option)}", safe_str(message))

    def qualified_document(self, value: Any) -> Any:
        """The same for all texts in a document."""
        if isinstance(value, str):
            return self.qualified(value)
        if isinstance(value, Mapping):
            return {key: self.qualified_document(part) for key, part in value.items()}
        return [self.qualified_document(part) for part in value] if isinstance(value, list) else value

    def white(self, message: object) -> None:
        self._logger_of_team.white(self.qualified(message))

    def red(self, message: object) -> None:
        self._logger_of_team.red(self.qualified(message))

    def error(self, message: object) -> None:
        failure_method(self._logger_of_team)(self.qualified(message))

    def green(self, message: object) -> None:
        if not self.is_quiet:
            self._logger_of_team.green(self.qualified(message))

    def white_bold(self, message: object) -> None:
        self._logger_of_team.white_bold(self.qualified(message))
