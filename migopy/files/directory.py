"""The migrations directory: the names, the numbers and the order of its files, and new files."""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from pathlib import Path
from typing import Callable, Iterable, Mapping, Sequence

from ..errors import BadMigration, ConfigurationError
from .migration import Migration, sort_key

EXAMPLE = "012_add_tags.py"
"""The name of a migration, for messages."""

TESTS = "tests"
"""The folder of the tests, in the migrations directory."""

NUMBER_WIDTH = 3
"""Digits in the number of the first file that ``create`` writes."""


def find(directory: Path, pattern: str) -> list[Migration]:
    """The migration files of the directory in order, files with wrong names last.

    Raises ``ConfigurationError`` if the directory cannot be read or the pattern cannot be used.
    """
    names = [entry.name for entry in _entries(directory) if entry.name.endswith(".py") and _may_be_a_file(entry)]
    number_of = number_parser(pattern)
    # Files that start with _ are helpers, those that start with a dot are hidden.
    found = [Migration(number_of(name), name, directory) for name in names if name[0] not in "._"]
    return sorted(found, key=lambda migration: migration.sort_key)


def unusable_entries(directory: Path, pattern: str) -> dict[str, str]:
    """Directories and broken links with the name of a migration, each with the reason."""
    number_of = number_parser(pattern)
    found = [entry for entry in _entries(directory) if not entry.is_file() and number_of(entry.name) is not None]
    return {
        entry.name: "it is a directory" if entry.is_dir() else "it is a broken symbolic link"
        for entry in sorted(found, key=lambda entry: entry.name)
    }


def _may_be_a_file(entry: os.DirEntry[str]) -> bool:
    # A broken link counts as a file that cannot be read: its migration must not be skipped silently.
    return entry.is_file() or (entry.is_symlink() and not entry.is_dir())


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except FileNotFoundError:
        raise ConfigurationError(
            f"The migrations directory {directory} does not exist. Create it, or set MIGRATIONS_DIRECTORY."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"The migrations directory {directory} cannot be read: {error.strerror}.") from error


def sort_names(names: Sequence[str], pattern: str) -> list[str]:
    """The names by number, then by name. Raises ``BadMigration`` if one does not match the pattern."""
    number_of = number_parser(pattern)
    require_good_names([name for name in names if number_of(name) is None], pattern)
    return sorted(names, key=lambda name: sort_key(number_of(name), name))


def require_good_names(badly_named: Sequence[str], pattern: str) -> None:
    """Raises ``BadMigration`` if there are any badly named files."""
    if badly_named:
        good = f"such as {EXAMPLE}" if number_parser(pattern)(EXAMPLE) else f"that matches {pattern}"
        raise BadMigration(
            f"Not the name of a migration: {', '.join(badly_named)}. Rename it to a name {good}; or, if it is not a"
            " migration, to a name that starts with _. Nothing was done.",
            migration=badly_named[0],
        )


def number_parser(pattern: str) -> Callable[[str], int | None]:
    """A function that returns the number in a file name, or None if the name does not match the pattern.

    Raises ``ConfigurationError`` if the pattern cannot be used.
    """
    try:
        compiled = re.compile(pattern)
        compiled.groupindex["migr_nr"]
    except (re.error, KeyError):
        raise ConfigurationError(
            f"MIGRATIONS_FILE_PATTERN {pattern!r} has to be a regular expression with a group (?P<migr_nr>[0-9]+)."
        ) from None

    def number_of(name: str) -> int | None:
        match = compiled.fullmatch(name) if name.isprintable() else None  # others cannot be shown or stored
        try:
            return int(match.group("migr_nr")) if match else None
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"The group migr_nr of MIGRATIONS_FILE_PATTERN does not match a number in {name!r}."
            ) from None

    return number_of


def new_name(words: str, names: Sequence[str], pattern: str) -> str:
    """The name of a new file, numbered after the highest name, with as many digits; ``012_x`` gives the number itself.

    Raises ``BadMigration`` if the name does not match the pattern, or the number is taken.
    """
    number_of = number_parser(pattern)
    numbers = {name: number for name in names for number in [number_of(name)] if number is not None}
    words = words[: -len(".py")] if words.endswith(".py") else words
    given = re.fullmatch(r"([0-9]+)_(.+)", words)
    if given:
        digits, words = given[1], given[2]
        taken = next((name for name, number in numbers.items() if number == int(digits)), None)
        if taken:
            raise BadMigration(f"The number {digits} is taken by {taken}. Choose another one, or leave it out.")
    else:
        digits = _next_digits(numbers, pattern)
    name = f"{digits}_{_slug(words)}.py"
    if number_of(name) != int(digits):
        raise BadMigration(f"{name} would not match MIGRATIONS_FILE_PATTERN {pattern}. Choose other words.")
    return name


def _next_digits(numbers: Mapping[str, int], pattern: str) -> str:
    last = max(numbers, key=lambda name: numbers[name], default=None)
    width = len(re.fullmatch(pattern, last).group("migr_nr")) if last else NUMBER_WIDTH  # type: ignore[union-attr]
    number = numbers[last] + 1 if last else 1
    return f"{number:0{width}}"


def _slug(words: str) -> str:
    """The words as a part of a file name. Raises ``BadMigration`` if nothing is left of them."""
    letters = [letter for letter in unicodedata.normalize("NFKD", words.lower()) if not unicodedata.combining(letter)]
    slug = re.sub(r"[^a-z0-9]+", "_", "".join(letters)).strip("_")
    if not slug:
        raise BadMigration(f"No name can be made of {words!r}: write letters from a to z, or digits.")
    return slug


def create(directory: Path, words: str, registered: Iterable[str], pattern: str, template: str) -> Path:
    """Write a new migration file, and make the directory if it does not exist. Never overwrites a file."""
    directory.mkdir(parents=True, exist_ok=True)
    words = words[len(directory.name) + 1 :] if words.startswith(f"{directory.name}/") else words  # of the shell
    text = template.replace("{words}", in_docstring(words))
    while True:
        names = [migration.name for migration in find(directory, pattern)]
        path = directory / new_name(words, [*names, *registered], pattern)
        with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(text)
            return path


def in_docstring(words: str) -> str:
    """The words on one line, without a character that ends a docstring or begins an escape in it."""
    return " ".join(words.replace("\\", "").replace('"', "'").split())


def create_test(migration: Path, words: str, template: str) -> Path:
    """Write a test of a new migration. Never overwrites a file.

    Raises ``ConfigurationError`` if it cannot be written.
    """
    path = migration.parent / TESTS / f"test_{migration.name}"
    try:
        path.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(template.replace("{words}", in_docstring(words)).replace("{name}", migration.stem))
    except OSError as error:
        raise ConfigurationError(f"The test {path} cannot be written: {error.strerror}.") from error
    return path
