"""The migrations directory: which files are in it, in what order, and how one of them is imported."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import importlib.machinery
import importlib.util
import inspect
import os
import re
import sys
import traceback
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType, GeneratorType, ModuleType
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Sequence

from ..errors import BadMigration, ConfigurationError, MigopyException, MigrationFailed
from ..terminal.texts import summary, told

NOTHING_RUN = "No migration was run."

LAZY = (GeneratorType, map, filter)
"""What does its work only when somebody goes through it; map() and filter() of Python 2 had done it."""

DROPPING = re.compile(rb"drop|\bmigrations\b")
"""What stands in a file that may drop the history: to look after each other one would cost them all a round trip."""

NUMBER_WIDTH = 3
"""Digits of the number of the first migration that ``create`` makes."""


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
        module = _import(self, content)
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


def find(directory: Path, pattern: str) -> list[Migration]:
    """The migration files of the directory, in order, those with a bad name last.

    Files that start with ``_`` are helpers; hidden ones, directories and what does not end in ``.py`` are passed over.
    A link that leads nowhere counts as a file, one that cannot be read: what it stands for must not be left out in
    silence. Raises ``ConfigurationError`` when the directory cannot be read or the pattern cannot be used.
    """
    names = [entry.name for entry in _entries(directory) if entry.name.endswith(".py") and _may_be_a_file(entry)]
    number_of = numbering(pattern)
    found = [Migration(number_of(name), name, directory) for name in names if name[0] not in "._"]
    return sorted(found, key=lambda migration: migration.order)


def no_files(directory: Path, pattern: str) -> dict[str, str]:
    """What has the name of a migration and is no file, and what it is instead."""
    number_of = numbering(pattern)
    strays = [entry for entry in _entries(directory) if not entry.is_file() and number_of(entry.name) is not None]
    return {
        entry.name: "it is a directory" if entry.is_dir() else "it is a link that leads nowhere"
        for entry in sorted(strays, key=lambda entry: entry.name)
    }


def _may_be_a_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file() or (entry.is_symlink() and not entry.is_dir())


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except FileNotFoundError:
        raise ConfigurationError(
            f"The migrations directory {directory} does not exist: make it, or set MIGRATIONS_DIRECTORY."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"The migrations directory {directory} cannot be read: {error.strerror}.") from error


def order(number: int | None, name: str) -> tuple[bool, int, str]:
    """What to sort by: the number, of equal ones the name; badly named files come last."""
    return number is None, number or 0, name


def in_order(names: Iterable[str], number_of: Callable[[str], int | None]) -> list[str]:
    return sorted(names, key=lambda name: order(number_of(name), name))


def require_good_names(badly_named: Sequence[str], pattern: str) -> None:
    """Raises ``BadMigration`` when there are any."""
    if badly_named:
        raise BadMigration(
            f"Not the name of a migration: {', '.join(badly_named)}. A name has to match {pattern}, or"
            " start with _ if the file is no migration.",
            migration=badly_named[0],
        )


def numbering(pattern: str) -> Callable[[str], int | None]:
    """A function that gives the number of a file name, or None when the whole name does not match the pattern.

    A name that cannot be printed matches none: messages and documents could not hold it.
    """
    try:
        compiled = re.compile(pattern)
        compiled.groupindex["migr_nr"]
    except (re.error, KeyError):
        raise ConfigurationError(
            f"MIGRATIONS_FILE_PATTERN {pattern!r} has to be a regular expression with a group (?P<migr_nr>[0-9]+)."
        ) from None

    def number_of(name: str) -> int | None:
        match = compiled.fullmatch(name) if name.isprintable() else None
        try:
            return int(match.group("migr_nr")) if match else None
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"The group migr_nr of MIGRATIONS_FILE_PATTERN does not match a number in {name!r}."
            ) from None

    return number_of


def new_name(words: str, names: Iterable[str], pattern: str) -> str:
    """The name of a new file: numbered after the highest of the names, and as wide as that.

    Raises ``BadMigration`` when the words make no name that matches the pattern.
    """
    number_of = numbering(pattern)
    numbers = {name: number for name in names for number in [number_of(name)] if number is not None}
    last = max(numbers, key=lambda name: numbers[name], default=None)
    width = len(re.fullmatch(pattern, last).group("migr_nr")) if last else NUMBER_WIDTH  # type: ignore[union-attr]
    number = numbers[last] + 1 if last else 1
    letters = [letter for letter in unicodedata.normalize("NFKD", words.lower()) if not unicodedata.combining(letter)]
    slug = re.sub(r"[^a-z0-9]+", "_", "".join(letters)).strip("_")
    name = f"{number:0{width}}_{slug}.py"
    if number_of(name) != number:
        raise BadMigration(f"{name} would not match MIGRATIONS_FILE_PATTERN {pattern}: choose other words.")
    return name


def create(directory: Path, words: str, registered: Iterable[str], pattern: str, template: str) -> Path:
    """Write a new migration file, and the directory if it is missing; never overwrites a file."""
    directory.mkdir(parents=True, exist_ok=True)
    text = template.replace("{words}", words)
    while True:
        names = [migration.name for migration in find(directory, pattern)]
        path = directory / new_name(words, [*names, *registered], pattern)
        with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(text)
            return path


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


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Keep the folder on ``sys.path`` meanwhile: Fabric takes it off after loading the fabfile (``load_fabfile``)."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


def _import(migration: Migration, content: bytes) -> ModuleType:
    """Run the file as a module of a package, so that ``from . import _helpers`` works in it.

    No ``__pycache__`` is written: a file that is run once gains nothing by it, and the folder may be read-only.
    """
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        name = f"{_package(migration.directory)}.{os.path.splitext(migration.name)[0]}"
        return _module(name, migration.path, content)
    except (Exception, SystemExit) as error:  # sys.exit(0) would look like success, and nothing has run
        raise _explained(migration, content, error) from error
    finally:
        sys.dont_write_bytecode = kept


def _package(directory: Path) -> str:
    """The name of the package that the files of one directory belong to; its ``__init__.py`` is run if there is one.

    It is the path, which no other module can have: a directory may be called ``json`` or ``db/migrations``.
    """
    name = str(directory)
    if name in sys.modules:
        return name
    init = directory / "__init__.py"
    if init.exists():
        _module(name, init, init.read_bytes(), submodule_search_locations=[name])
    else:
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [name]
    return name


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs what has been read already; Python's own would look for bytecode and read the file once more."""

    def __init__(self, name: str, path: str, content: bytes) -> None:
        super().__init__(name, path)
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._content, self.path)


def _module(name: str, path: Path, content: bytes, **options: Any) -> ModuleType:
    """Run a file under that name; what cannot be run to its end does not stay among the modules."""
    loader = _Loader(name, str(path), content)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader, **options)
    assert spec is not None  # it has a loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).hexdigest()


def _explained(migration: Migration, content: bytes, error: Exception | SystemExit) -> MigopyException:
    """The sentence for a file that cannot be imported: where, and what is wrong there."""
    place = f"line {line_in(migration.path, error)}"
    if isinstance(error, SyntaxError):
        same_file = error.filename == str(migration.path)
        place = f"line {error.lineno}" if same_file else f"{error.filename}, line {error.lineno}"
        place += ", is Python 2 syntax" if is_python_2(error) else ""
    no_text = not_text(content) if _is_of_compile(error) else None
    why = f"as text: {no_text}" if no_text else f"({place}): {_without_place(error)}"
    sentence = " ".join(filter(None, [f"{migration.name} cannot be imported {why}.", _advice(error), NOTHING_RUN]))
    if no_text or isinstance(error, (SyntaxError, ImportError, OSError, SystemExit)):
        return BadMigration(sentence, migration=migration.name)
    return MigrationFailed(sentence, migration=migration.name)


def _without_place(error: BaseException) -> str:
    """Type and text; those of a syntax error without its file and line, which stand before it."""
    has_place = isinstance(error, SyntaxError) and error.lineno
    return summary(type(error)(error.msg)) if has_place else summary(error)  # type: ignore[attr-defined]


def _advice(error: BaseException) -> str:
    """What to write in place of a name of PyMongo 2."""
    from ..legacy import advice  # PyMongo, which finding files does without

    return advice(error)


def _is_of_compile(error: BaseException) -> bool:
    """Whether ``compile()`` may have raised it; of null bytes it made a ValueError before Python 3.12."""
    return isinstance(error, SyntaxError) or (isinstance(error, ValueError) and "null bytes" in told(error))


ENCODING_NAMED = re.compile(rb"\A(?:[ \t\f]*(?:#[^\n]*)?\r?\n)?[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
"""A comment in one of the first two lines of a file, as PEP 263 wants it."""


def not_text(content: bytes) -> str | None:
    """Why Python cannot read the content as text, and what to do; None if it can."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        return "it is UTF-16, or no text at all; save it as UTF-8"
    named = ENCODING_NAMED.match(content)
    encoding = named[1].decode() if named else "UTF-8"
    try:
        content.decode(encoding)
    except LookupError:
        return f"Python does not know the encoding {encoding} that its first lines name"
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        advice = "" if named else ", or name its encoding in its first line, as in # coding: latin-1"
        return f"line {line} is not {encoding} (byte 0x{content[error.start]:02x}); save it as UTF-8{advice}"
    return None


# What the offending line of a Python 2 file looks like, where Python's own message does not say so.
PYTHON_2_LINE = r"""
      ^\s*(print|exec)\s+[^=(]         # print 'text', exec code
    | ^\s*print\s*>>                     # print >> stream
    | \bexcept\b .* , \s* \w+ \s* :      # except KeyError, error:
    | ^\s*raise\s+\w+\s*,                # raise ValueError, 'text'
    | <> | `                             # a <> b, `a`
    | \b0[0-7]+\b | \b[0-9]+[lL]\b       # 0755, 10L
    | \b[uU][rR]['"]                     # ur'text'
    | \bdef\s+\w+\(.*\(                  # def f(a, (b, c)):
"""


def is_python_2(error: SyntaxError) -> bool:
    """Whether the line that Python 3 refuses is one that Python 2 took; ``TabError`` is for mixed tabs and spaces."""
    return isinstance(error, TabError) or bool(re.search(PYTHON_2_LINE, error.text or "", re.VERBOSE))


def line_in(path: Path, error: BaseException) -> int | None:
    """The line of the file at which the error came out of it, the innermost if it passed more than one."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None
