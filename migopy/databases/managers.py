"""A manager for each database. Those on one server share a client."""

from __future__ import annotations

import contextlib
import io
import json
import re
from typing import Any, Mapping, NamedTuple

from ..errors import MigopyException
from ..fab.dispatch import call
from ..fab.syntax import escape
from ..terminal import ColorsLogger
from ..terminal.messages import failure_method
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
        self.logger: ColorsLogger = manager_class.logger
        self._owners: dict[str | None, Any] = {}
        """By URI, the manager whose client the others use."""

    def __enter__(self) -> Managers:
        return self

    def __exit__(self, *_: object) -> None:
        for owner in self._owners.values():
            owner.close()

    def client(self, uri: str | None = None) -> Any:
        if uri not in self._owners:
            self._owners[uri] = self._class_for(Target("admin", uri))()
        return self._owners[uri].mongo_client

    def manager(self, target: Target, *, is_quiet: bool = False, **attributes: Any) -> Any:
        """A manager for one database; ``attributes`` replace settings. A quiet one does not say that all is well."""
        manager = self._class_for(target, **attributes)()
        manager.logger.is_quiet = is_quiet
        manager.mongo_client = self.client(target.uri)
        return manager

    def _class_for(self, target: Target, **attributes: Any) -> type[Any]:
        settings = {
            **target.settings,
            "MONGO_AUTH_DATABASE": self._class.MONGO_AUTH_DATABASE or self._class.MONGO_DATABASE or "admin",
            "logger": QualifyingLogger(self._class.logger, self._class.FAB_TASK, target.name),
        }
        return type(self._class.__name__, (self._class,), {**settings, **attributes})


def answer(manager: Any, subtask: str, options: list[str], named: Mapping[str, str]) -> Answer:
    """Call a subtask with ``json=yes``, and take its document instead of printing it."""
    error = None
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        try:
            call(manager, subtask, options, {**named, "json": "yes"})
        except MigopyException as raised:
            error = raised
    text = stdout.getvalue()
    return Answer(json.loads(text) if text else {}, error)


class QualifyingLogger(ColorsLogger):
    """The team's logger, for messages about one database: each command in them gets ``databases=``."""

    def __init__(self, logger: ColorsLogger, task: str, database: str) -> None:
        self._logger_of_team = logger
        self.is_quiet = False
        self._command = re.compile(rf"(fab {re.escape(task)}:\w+(?:,[^\s;,:?)]*[^\s;,:?).])*)")
        self._option = f",databases={escape(database)}"

    def _qualified(self, message: object) -> str:
        return self._command.sub(lambda found: found[1] + self._option, safe_str(message))

    def white(self, message: object) -> None:
        self._logger_of_team.white(self._qualified(message))

    def red(self, message: object) -> None:
        self._logger_of_team.red(self._qualified(message))

    def error(self, message: object) -> None:
        failure_method(self._logger_of_team)(self._qualified(message))

    def green(self, message: object) -> None:
        if not self.is_quiet:
            self._logger_of_team.green(self._qualified(message))

    def white_bold(self, message: object) -> None:
        self._logger_of_team.white_bold(self._qualified(message))
