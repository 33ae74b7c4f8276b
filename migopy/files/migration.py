"""One migration file: its name, its checksum, and its functions after the import."""

from __future__ import annotations

import ast
import inspect
import os
import re
import traceback
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import GeneratorType, ModuleType
from typing import Any, Callable, Mapping, NamedTuple

from ..errors import BadMigration
from ..terminal.signature import signature, takes_session
from ..terminal.texts import one_line
from .allowances import allowances_of, require_known_allowances
from .fingerprint import Fingerprint
from .importing import import_file
from .keeps import find_batch_calls
from .syntax import parse

LAZY_RESULTS = (GeneratorType, map, filter)
"""Results that do their work only in a loop. In Python 2, map() and filter() did it at once."""

MAY_DROP_HISTORY = re.compile(rb"drop|\bmigrations\b")
"""Words in a file that may drop the history. Only after such a file is a round trip spent to look whether it did."""

OPTIONAL_PARAMETERS = frozenset({"session", "batches"})
"""What ``up`` and ``down`` may ask for by the name of a parameter."""


class Migration(NamedTuple):
    """A file of the directory, not imported. ``number`` is None if the name does not match the pattern."""

    number: int | None
    name: str
    directory: Path

    @property
    def path(self) -> Path:
        return self.directory / self.name

    @property
    def sort_key(self) -> tuple[bool, int, str]:
        return sort_key(self.number, self.name)

    def fingerprint(self) -> Fingerprint:
        """The checksums of the file. Raises ``BadMigration`` if it cannot be read."""
        return Fingerprint(self._content())

    def load(self, function: str, otherwise: Callable[..., Any] | None = None) -> LoadedMigration:
        """Import the file and find its ``up`` or ``down``, or take another function where it has none.

        Raises ``BadMigration`` if the file cannot be imported or the function cannot be called.
        """
        content = self._content()  # read once, so the checksum fits what runs
        module = import_file(self.path, content)
        call = getattr(module, function, otherwise)
        if not callable(call):
            raise BadMigration(
                f"{self.name} has no function {function}(db): add one. No migration was run.", migration=self.name
            )
        loaded = LoadedMigration(self, module, call, content)
        require_plain_function(call, f"{function}() of {self.name}", migration=self.name)
        loaded.require_parameters(function)
        require_known_allowances(loaded.allowances, self.name)
        loaded.require_possible_keeps()
        if loaded.in_transaction and loaded.in_batches:
            raise BadMigration(
                f"{function}() of {self.name} has the parameters session and batches: remove one of them. A migration"
                " runs in one transaction or in batches. No migration was run.",
                migration=self.name,
            )
        if function == "up":
            loaded.require_verify_sees_transaction()
        return loaded

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            why = "it is a broken symbolic link" if os.path.islink(self.path) else error.strerror
            raise BadMigration(f"{self.path} cannot be read: {why}.", migration=self.name) from error


class NotVerified(Exception):  # noqa: N818 - people read the name in front of its text
    """``verify()`` returned False, as a function that answers a question does."""


@dataclass(frozen=True)
class LoadedMigration:
    """An imported migration and the function that will run. ``content`` is the text of the file."""

    migration: Migration
    module: ModuleType
    call: Callable[..., Any]
    content: bytes = field(repr=False)

    @cached_property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(self.content)

    @property
    def may_drop(self) -> bool:
        """Whether it may drop the history."""
        return bool(MAY_DROP_HISTORY.search(self.content))

    @property
    def name(self) -> str:
        return self.migration.name

    @cached_property
    def _signature(self) -> inspect.Signature:
        return signature(self.call, follow_wrapped=False)

    @cached_property
    def asks_for(self) -> frozenset[str]:
        """The ``OPTIONAL_PARAMETERS`` that the function has."""
        parameters = self._signature.parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            # A decorator with **options and functools.wraps passes them to the function inside.
            parameters = signature(self.call).parameters.values()
        variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        return OPTIONAL_PARAMETERS & {parameter.name for parameter in parameters if parameter.kind not in variable}

    def require_parameters(self, function: str) -> None:
        """Raises ``BadMigration`` if the function cannot be called with the database and what it asks for."""
        try:
            self._signature.bind(None, **dict.fromkeys(self.asks_for))
        except (TypeError, ValueError) as error:
            raise BadMigration(
                f"{function}() of {self.name} cannot be called ({error}): write {function}(db), {function}(db, session)"
                f" or {function}(db, batches). No migration was run.",
                migration=self.name,
            ) from error

    @property
    def down_problem(self) -> str | None:
        """Why ``rollback`` could not call ``down()``; None if it could, or if there is none."""
        down = getattr(self.module, "down", None)
        if not callable(down):
            return None
        try:
            require_plain_function(down, f"down() of {self.name}")
            replace(self, call=down).require_parameters("down")
        except BadMigration as error:
            return str(error).replace(" No migration was run.", "")
        return None

    def require_verify_sees_transaction(self) -> None:
        """Raises ``BadMigration`` if ``verify()`` would see the database as it was before ``up()``."""
        if self.in_transaction and self.verify and not takes_session(self.verify):
            raise BadMigration(
                f"verify(db) of {self.name} cannot see what up(db, session) has done, because nobody outside of the"
                " transaction can: write verify(db, session), and pass session=session to what it reads. No migration"
                " was run.",
                migration=self.name,
            )

    @property
    def in_transaction(self) -> bool:
        return "session" in self.asks_for

    @property
    def in_batches(self) -> bool:
        return "batches" in self.asks_for

    @property
    def has_down(self) -> bool:
        return callable(getattr(self.module, "down", None))

    @property
    def restores_what_it_kept(self) -> bool:
        """Whether it has no ``down()`` and, as far as the text shows it, keeps everything that it replaces."""
        return not self.has_down and self.in_batches and find_batch_calls(self.content).all_keep

    def require_possible_keeps(self) -> None:
        """Raises ``BadMigration`` if the file shows a ``keep`` that ``batches`` would refuse."""
        problem = find_batch_calls(self.content).problem if self.in_batches else ""
        if problem:
            raise BadMigration(f"{self.name}, {problem}. No migration was run.", migration=self.name)

    @property
    def allowances(self) -> Mapping[str, str]:
        """What the file allows in ``ALLOW``, with the reason."""
        return allowances_of(self.module)

    def irreversible_words(self) -> str | None:
        """The words of a ``down()`` that does nothing but raise ``NotImplementedError``; None for any other.

        That ``down()`` is called, without a database.
        """
        down: Any = getattr(self.module, "down", None)
        if not _only_raises(down, self.content, NotImplementedError.__name__):
            return None
        try:
            down(*[None] * down.__code__.co_argcount)
        except NotImplementedError as error:
            return irreversible_words(error)
        except Exception:
            return None  # the words need the database
        return None

    def is_irreversible(self, error: BaseException) -> bool:
        """Whether ``down()``, or a helper beside its file, has raised ``NotImplementedError``."""
        # PyMongo raises it too, for example for `if collection:`.
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        is_ours = bool(frames) and Path(frames[-1].f_code.co_filename).parent == self.migration.directory
        return isinstance(error, NotImplementedError) and is_ours and self.call is getattr(self.module, "down", None)

    @cached_property
    def verify(self) -> Callable[..., None] | None:
        """The function ``verify(db)`` or ``verify(db, session)`` that checks what ``up()`` did, or None."""
        return self._function_beside_up("verify")

    @cached_property
    def require(self) -> Callable[..., None] | None:
        """The function ``require(db)`` or ``require(db, session)`` that raises if ``up()`` must not run, or None."""
        return self._function_beside_up("require")

    def _function_beside_up(self, name: str) -> Callable[..., None] | None:
        function = getattr(self.module, name, None)
        if not callable(function) or not callable(getattr(self.module, "up", None)):
            return None
        database = list(signature(self.module.up).parameters)[:1]
        # With other parameters the function is not ours: a file of 2014 may have a verify() of its own.
        return function if list(signature(function).parameters) in (database, [*database, "session"]) else None

    def is_raised_by_verify(self, error: BaseException) -> bool:
        """Whether ``verify()`` raised the error, and not ``up()``."""
        code = getattr(self.verify, "__code__", None)
        frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
        return isinstance(error, NotVerified) or any(frame.f_code is code for frame in frames)


def irreversible_words(error: BaseException) -> str:
    """Why ``down()`` takes nothing back, as it says itself."""
    return one_line(error) or "down() raises NotImplementedError"


def sort_key(number: int | None, name: str) -> tuple[bool, int, str]:
    """Sorts by number, then by name. Files without a number come last."""
    return number is None, number or 0, name


def require_plain_function(function: Callable[..., Any], name: str, migration: str | None = None) -> None:
    """Raises ``BadMigration`` if calling the function would not run it, as with an async function."""
    of_object = getattr(type(function), "__call__", None)  # noqa: B004 - not a test whether it is callable
    for call in (function, of_object):
        for has_kind, kind in (
            (inspect.iscoroutinefunction, "an async function"),
            (inspect.isgeneratorfunction, "a generator (it contains a yield)"),
            (inspect.isasyncgenfunction, "an async generator"),
        ):
            if has_kind(call):
                raise BadMigration(
                    f"{name} is {kind}: calling it runs nothing. Write a plain function. No migration was run.",
                    migration=migration,
                )


def unrun_type(result: Any) -> str | None:
    """The type of a result that shows that a function did not run, such as a coroutine, or None if it ran."""
    if not (inspect.isawaitable(result) or inspect.isasyncgen(result) or isinstance(result, LAZY_RESULTS)):
        return None
    if hasattr(result, "close"):
        result.close()  # otherwise Python warns of a coroutine that was never awaited
    return type(result).__name__


def _only_raises(function: object, content: bytes, exception: str) -> bool:
    """Whether the first statement of a function, which stands in this file, raises this exception."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    functions = (node for node in ast.walk(parse(content)) if isinstance(node, ast.FunctionDef))
    place = (code.co_name, code.co_firstlineno)
    definition = next((node for node in functions if (node.name, node.lineno) == place), None)
    body = [statement for statement in getattr(definition, "body", ()) if not _is_docstring(statement)]
    raised = body[0].exc if body and isinstance(body[0], ast.Raise) else None
    name = raised.func if isinstance(raised, ast.Call) else raised
    return isinstance(name, ast.Name) and name.id == exception


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
