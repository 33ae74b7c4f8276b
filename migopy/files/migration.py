"""One migration file: its name, its checksum, and its functions once it is imported."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import traceback
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import GeneratorType, ModuleType
from typing import Any, Callable, NamedTuple

from ..errors import BadMigration
from .importing import import_file

LAZY = (GeneratorType, map, filter)
"""What does its work only when somebody goes through it; map() and filter() of Python 2 had done it."""


DROPPING = re.compile(rb"drop|\bmigrations\b")
"""What stands in a file that may drop the history: to look after each other one would cost them all a round trip."""


OFFERED = frozenset({"session", "batches"})
"""What ``up`` and ``down`` may ask for by the name of a parameter."""


class Migration(NamedTuple):
    """One file of the directory. Finding it does not import it: listing works while a file has a syntax error.

    ``number`` is None where the name does not match the pattern.
    """

    number: int | None
    name: str
    directory: Path

    @property
    def path(self) -> Path:
        return self.directory / self.name

    @property
    def order(self) -> tuple[bool, int, str]:
        return order(self.number, self.name)

    def checksum(self) -> str:
        """SHA-256 of the content, whatever the newline style that a checkout gave the file."""
        return _checksum(self._content())

    def load(self, function: str) -> LoadedMigration:
        """Import the file and find its ``up`` or ``down``. It is read once: what is run is what the checksum is of.

        Raises ``BadMigration`` when it cannot be imported, or has no such function that a call with what it asks for
        would run.
        """
        content = self._content()
        module = import_file(self.path, content)
        call = getattr(module, function, None)
        if not callable(call):
            raise BadMigration(
                f"{self.name} has no function {function}(db): add one. No migration was run.", migration=self.name
            )
        may_drop = bool(DROPPING.search(content))
        loaded = LoadedMigration(self, module, call, _checksum(content), may_drop)
        require_runs(call, f"{function}() of {self.name}", migration=self.name)
        loaded.require_parameters(function)
        if loaded.in_transaction and loaded.in_batches:
            raise BadMigration(
                f"{self.name}: {function}() asks for session and for batches, and one transaction cannot be many: leave"
                " out one of the two. No migration was run.",
                migration=self.name,
            )
        return loaded

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            why = "it is a link that leads nowhere" if os.path.islink(self.path) else error.strerror
            raise BadMigration(f"{self.path} cannot be read: {why}.", migration=self.name) from error


@dataclass(frozen=True)
class LoadedMigration:
    """A migration whose file has been imported, with the function of it that is to run, and what it was then.

    ``may_drop`` is whether the history may be gone when it has run.
    """

    migration: Migration
    module: ModuleType
    call: Callable[..., Any]
    checksum: str
    may_drop: bool

    @property
    def name(self) -> str:
        return self.migration.name

    @cached_property
    def asks_for(self) -> frozenset[str]:
        """What of ``OFFERED`` the function wants beside the database: the names of its parameters say it.

        A decorator that passes all on (``functools.wraps``, ``**options``) has those of the function inside.
        """
        taken = inspect.signature(self.call, follow_wrapped=False).parameters.values()
        passes_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken)
        named = inspect.signature(self.call).parameters.values() if passes_on else taken
        variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        return OFFERED & {parameter.name for parameter in named if parameter.kind not in variable}

    def require_parameters(self, function: str) -> None:
        """Raises ``BadMigration`` unless the function can be called with the database and what it asks for."""
        try:
            signature = inspect.signature(self.call, follow_wrapped=False)
            signature.bind(None, **dict.fromkeys(self.asks_for))
        except (TypeError, ValueError) as error:
            raise BadMigration(
                f"{function}() of {self.name} cannot be called ({error}): write {function}(db), or beside db what it"
                f" asks for by name ({', '.join(sorted(OFFERED))}). No migration was run.",
                migration=self.name,
            ) from error

    @property
    def in_transaction(self) -> bool:
        """A parameter named ``session`` asks for a transaction."""
        return "session" in self.asks_for

    @property
    def in_batches(self) -> bool:
        """A parameter named ``batches`` asks for them."""
        return "batches" in self.asks_for

    @property
    def has_down(self) -> bool:
        return callable(getattr(self.module, "down", None))

    @cached_property
    def verify(self) -> Callable[..., None] | None:
        """What looks at what ``up()`` has done: ``verify(db)`` or ``verify(db, session)``, parameters named as there.

        With other parameters a function of that name is the file's own affair; files of 2014 may have one.
        """
        verify = getattr(self.module, "verify", None)
        if not callable(verify) or not callable(getattr(self.module, "up", None)):
            return None
        database = list(inspect.signature(self.module.up).parameters)[:1]
        return verify if list(inspect.signature(verify).parameters) in (database, [*database, "session"]) else None

    def is_from_verify(self, error: BaseException) -> bool:
        """Whether it was ``verify()`` that raised, and not ``up()``."""
        code = getattr(self.verify, "__code__", None)
        return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


def order(number: int | None, name: str) -> tuple[bool, int, str]:
    """What to sort by: the number, of equal ones the name; badly named files come last."""
    return number is None, number or 0, name


def require_runs(function: Callable[..., Any], name: str, migration: str | None = None) -> None:
    """Raises ``BadMigration`` when a call of the function would only make something that has to be run still."""
    of_object = getattr(type(function), "__call__", None)  # noqa: B004 - the method itself is looked at
    for call in (function, of_object):
        for is_one, kind in (
            (inspect.iscoroutinefunction, "an async function"),
            (inspect.isgeneratorfunction, "a generator (there is a yield in it)"),
            (inspect.isasyncgenfunction, "an async generator"),
        ):
            if is_one(call):
                raise BadMigration(
                    f"{name} is {kind}, of which a call runs nothing: write a plain function. No migration was run.",
                    migration=migration,
                )


def not_run(result: Any) -> str | None:
    """What a function has returned instead of doing its work, which a decorator may hide; None if it has done it."""
    if not (inspect.isawaitable(result) or inspect.isasyncgen(result) or isinstance(result, LAZY)):
        return None
    if hasattr(result, "close"):
        result.close()  # else Python warns of a coroutine that was never awaited
    return type(result).__name__


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).hexdigest()
