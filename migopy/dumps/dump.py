"""Dumps on disk: a folder that has its name only when it is whole, and what is in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import itertools
import json
import os
import shutil
import time
import zlib
from pathlib import Path
from typing import IO, Any, Callable, Iterator, Mapping, NamedTuple, Sequence
from urllib.parse import unquote_plus

from ..errors import DumpFailed

UNFINISHED = ".unfinished"
"""The end of the name of a folder until all of the dump is in it."""

BUCKETS = "system.buckets."
"""Before the name of a time series: the collection that holds its documents."""

NOT_RESTORED = ("system.profile", "system.indexes")
"""What mongorestore passes over, beside the users and roles in files that start with a dollar sign."""

UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a file raises, one that is compressed and was cut or damaged among them."""


# Making one


def make(parent: Path, fill: Callable[[Path], None]) -> Path | None:
    """Make a folder ``2014_01_14_12_30_59`` in the dump directory, for its owner only, and let ``fill`` fill it.

    It gets its name when it is whole and on disk; half a dump is never taken for one, whatever ends it. Returns None,
    and leaves nothing, if nothing was put into it: mongodump of a database that does not exist yet makes no file.
    Raises ``DumpFailed`` when the folder cannot be made.
    """
    with _disk_errors(parent):
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear_unfinished(parent)
        with _unfinished_folder(parent) as folder:
            fill(folder)
            if not any(folder.iterdir()):
                return None
            _flush(folder)
            whole = folder.rename(_whole(folder))
            _to_disk(parent)
            return whole


@contextlib.contextmanager
def _disk_errors(parent: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DumpFailed(
            f"No dump can be made in MONGO_DUMP_DIRECTORY, {parent}: {error.strerror or error}. Nothing else was run."
        ) from error


def _whole(folder: Path) -> Path:
    return folder.with_name(folder.name[: -len(UNFINISHED)])


@contextlib.contextmanager
def _unfinished_folder(parent: Path) -> Iterator[Path]:
    """A new folder, locked while it is filled; what was not renamed at the end is removed.

    The lock is one of the kernel, gone with the process: it tells a dump that goes on from one that died.
    """
    with contextlib.ExitStack() as until_filled:
        with _locked(parent):  # nobody else clears or begins meanwhile
            _clear_unfinished(parent)
            folder = _new_folder(parent)
            until_filled.enter_context(_locked(folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # not every file system has locks; there, nothing is cleared either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _new_folder(parent: Path) -> Path:
    """One of the present second, numbered if others are there."""
    name = time.strftime("%Y_%m_%d_%H_%M_%S")
    for number in itertools.count(1):
        folder = parent / f"{name}{UNFINISHED}" if number == 1 else parent / f"{name}_{number}{UNFINISHED}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if not _whole(folder).exists():
                break
            folder.rmdir()
    return folder


def _clear_unfinished(parent: Path) -> None:
    """Remove what dumps that died have left."""
    for folder in parent.glob(f"*{UNFINISHED}"):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # BlockingIOError: it is being filled
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        finally:
            os.close(descriptor)


def _flush(folder: Path) -> None:
    """Return when the files are on disk: the migrations that come next will be."""
    for path in (*folder.rglob("*"), folder):
        _to_disk(path)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # not every file system has that for folders
            raise
    finally:
        os.close(descriptor)


# Reading one


class DumpedCollection(NamedTuple):
    """One collection, time series or view in a dump.

    ``data`` is the collection with its documents, that of the buckets for a time series, and ``file`` where they are in
    the dump; None for a view.
    """

    name: str
    data: str
    file: Path | None
    options: Mapping[str, Any]
    indexes: Sequence[Mapping[str, Any]]

    def documents(self) -> Iterator[bytes]:
        """As BSON, one after the other. Raises ``DumpFailed`` when the file ends in the middle of one."""
        return _documents(self.file) if self.file else iter(())

    @property
    def expires(self) -> bool:
        """Whether MongoDB itself deletes documents whose time has come."""
        return any("expireAfterSeconds" in facts for facts in (self.options, *self.indexes))


class Dump(NamedTuple):
    """The dump of one database. ``root`` is its folder, ``database`` the name that the database has there."""

    root: Path
    database: str
    collections: Sequence[DumpedCollection]
    is_compressed: bool = False

    @property
    def has_validators(self) -> bool:
        return any("validator" in collection.options for collection in self.collections)

    def named(self, name: str) -> DumpedCollection | None:
        return next((collection for collection in self.collections if collection.name == name), None)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in (self.root / self.database).iterdir())


def find(name: str, parent: Path, database: str) -> Dump:
    """The dump of a database, named as in the dump directory or by a path.

    Raises ``DumpFailed`` when there is none, or not the whole of one.
    """
    try:
        return _found(name, parent, database)
    except OSError as error:  # a folder of another user, a name that is too long
        raise DumpFailed(f"The dump {name} cannot be read: {error.strerror}. Nothing was restored.") from error


def _found(name: str, parent: Path, database: str) -> Dump:
    root = parent / name  # a Path on the right that is absolute wins
    if not (root.exists() or _is_unfinished(root)):
        root = Path(name).absolute()
    if _is_unfinished(root):
        raise DumpFailed(f"The dump in {root} was not finished: half a dump is not restored. Take another one.")
    if not (root / database).is_dir():
        others = sorted({path.parent.name for path in root.glob("*/*.metadata.json*")})
        next_step = f" It has one of {' and '.join(others)}: write from=NAME to restore that." if others else ""
        raise DumpFailed(f"There is no dump of the database {database} in {root}.{next_step}")
    return read(root, database)


def _is_unfinished(root: Path) -> bool:
    return root.name.endswith(UNFINISHED) or (not root.exists() and Path(f"{root}{UNFINISHED}").exists())


def read(root: Path, database: str) -> Dump:
    """Raises ``DumpFailed`` when there are no files or some are missing; the documents are not looked at yet."""
    folder = root / database
    names = {path.name for path in folder.iterdir()}
    compressed = {name.endswith(".gz") for name in names if ".bson" in name or ".metadata.json" in name}
    if len(compressed) != 1:
        raise _broken(folder, "it has both files that are compressed and others" if compressed else "it is empty")
    gz = ".gz" if compressed.pop() else ""
    found = {name[: -len(f".metadata.json{gz}")] for name in names if name.endswith(f".metadata.json{gz}")}
    collections = [_described(folder, stem, gz) for stem in sorted(found)]
    described = {collection.file for collection in collections}
    for path in sorted(folder.glob(f"*.bson{gz}")):  # the oldest mongodumps wrote no metadata
        name = unquote_plus(path.name[: -len(f".bson{gz}")])
        if path not in described and not name.startswith("$") and name not in NOT_RESTORED:
            collections.append(DumpedCollection(name, name, path, {}, []))
    return Dump(root, database, collections, is_compressed=bool(gz))


def _described(folder: Path, stem: str, gz: str) -> DumpedCollection:
    """A collection by its metadata; of a long name, the name of the files is only the beginning."""
    path = folder / f"{stem}.metadata.json{gz}"
    try:
        with _open(path) as metadata:
            document = dict(json.load(metadata))
    except (*UNREADABLE, ValueError, TypeError) as error:
        raise _broken(path, f"it cannot be read ({error})") from None
    name, options = document.get("collectionName") or unquote_plus(stem), document.get("options") or {}
    prefix = BUCKETS if "timeseries" in options else ""
    file = None if "viewOn" in options else folder / f"{prefix}{stem}.bson{gz}"
    if file and not file.exists():
        raise _broken(file, "it is not there")
    return DumpedCollection(name, prefix + name, file, options, document.get("indexes") or [])


def _documents(path: Path) -> Iterator[bytes]:
    try:
        with _open(path) as file:
            while head := file.read(4):
                length = int.from_bytes(head, "little")
                document = head + file.read(max(0, length - 4))
                if not 5 <= len(document) == length:
                    raise _broken(path, "it ends in the middle of a document")
                yield document
    except UNREADABLE as error:
        raise _broken(path, f"it cannot be read ({error})") from None


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _broken(path: Path, why: str) -> DumpFailed:
    return DumpFailed(f"The dump is not whole, look at {path}: {why}. Nothing was restored.")


def facts(path: str | None, database: str) -> dict[str, Any]:
    """What the history notes of the dump before a run. A team's own dbdump may have made anything, or nothing."""
    if path is None:
        return {}
    try:
        dump = read(Path(path), database)
        documents = sum(1 for collection in dump.collections for _ in collection.documents())
    except (TypeError, OSError, DumpFailed):
        return {"dump": path}
    return {"dump": path, "dump_documents": documents, "dump_bytes": dump.size()}
