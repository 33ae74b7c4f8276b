"""Dumps on disk: making a folder for one, and reading what is in it."""

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

from ..errors import DumpFailed, UnknownSubtask

UNFINISHED = ".unfinished"
"""The end of a folder's name until the dump is complete."""

MAX_NAMED = 10
"""Dumps that a sentence names."""

BUCKETS = "system.buckets."
"""The prefix of the collection that holds the documents of a time series."""

NOT_RESTORED = ("system.profile", "system.indexes")
"""Collections that mongorestore ignores, like users and roles, whose files begin with a dollar sign."""

READ_ERRORS = (OSError, EOFError, zlib.error)
"""Raised by reading a file, plain or compressed."""


# Making a dump


def make(parent: Path, fill: Callable[[Path], None]) -> Path | None:
    """Make a folder such as ``2014_01_14_12_30_59`` in the dump directory, and let ``fill`` fill it.

    Only its owner may read it. It gets its final name when the dump is complete and on disk. Returns None if ``fill``
    has put nothing into it, as mongodump does for a database that does not exist yet. Raises ``DumpFailed`` when the
    folder cannot be made.
    """
    with _explain_disk_errors(parent):
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_unfinished(parent)
        with _unfinished_folder(parent) as folder:
            fill(folder)
            if not any(folder.iterdir()):
                return None
            _sync_all(folder)
            finished = folder.rename(_final_path(folder))
            _sync(parent)
            return finished


@contextlib.contextmanager
def _explain_disk_errors(parent: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DumpFailed(
            f"No dump can be made in MONGO_DUMP_DIRECTORY, {parent}: {error.strerror or error}. Nothing else was run."
        ) from error


def _final_path(folder: Path) -> Path:
    return folder.with_name(folder.name[: -len(UNFINISHED)])


@contextlib.contextmanager
def _unfinished_folder(parent: Path) -> Iterator[Path]:
    """A new folder, removed at the end unless it was renamed."""
    with contextlib.ExitStack() as until_filled:
        with _lock(parent):  # so that nobody else removes or makes a folder meanwhile
            _remove_unfinished(parent)
            folder = _new_folder(parent)
            # The kernel frees this lock when the process dies: that tells a dead dump from a running one.
            until_filled.enter_context(_lock(folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems have no locks; there nothing is removed either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _new_folder(parent: Path) -> Path:
    """Make a folder named after the present second, with a number if that name is taken."""
    name = time.strftime("%Y_%m_%d_%H_%M_%S")
    for number in itertools.count(1):
        folder = parent / f"{name}{UNFINISHED}" if number == 1 else parent / f"{name}_{number}{UNFINISHED}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            if not _final_path(folder).exists():
                break
            folder.rmdir()
    return folder


def _remove_unfinished(parent: Path) -> None:
    """Remove what dead dumps have left."""
    for folder in parent.glob(f"*{UNFINISHED}"):
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # that dump has just ended
            continue
        try:
            with contextlib.suppress(OSError):  # BlockingIOError: that dump is still running
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        finally:
            os.close(descriptor)


def _sync_all(folder: Path) -> None:
    """Wait until all files are on disk, because the migrations that run next will be."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # some file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


# Reading a dump


class DumpedCollection(NamedTuple):
    """One collection, time series or view in a dump.

    ``stored_in`` is the collection that holds the documents: the buckets of a time series, otherwise the collection
    itself. ``file`` has these documents in the dump; it is None for a view.
    """

    name: str
    stored_in: str
    file: Path | None
    options: Mapping[str, Any]
    indexes: Sequence[Mapping[str, Any]]

    def documents(self) -> Iterator[bytes]:
        """The documents as BSON. Raises ``DumpFailed`` when the file cannot be read to its end."""
        return _read_documents(self.file) if self.file else iter(())

    @property
    def expires(self) -> bool:
        """Whether MongoDB itself deletes documents after a time."""
        return any("expireAfterSeconds" in facts for facts in (self.options, *self.indexes))


class Dump(NamedTuple):
    """The dump of one database. ``root`` is its folder, ``database`` the name of the database in it."""

    root: Path
    database: str
    collections: Sequence[DumpedCollection]
    is_compressed: bool = False

    @property
    def needs_bypass(self) -> bool:
        """Whether MongoDB may refuse documents of it: older ones that a validator forbids, and encrypted fields."""
        options = (collection.options for collection in self.collections)
        return any("validator" in each or "encryptedFields" in each for each in options)

    def collection(self, name: str) -> DumpedCollection | None:
        return next((collection for collection in self.collections if collection.name == name), None)

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in (self.root / self.database).iterdir())


def require_name(name: str, parent: Path, usage: str) -> None:
    """Raises ``UnknownSubtask`` if the name of a dump is empty. ``usage`` says what to write."""
    if not name:
        raise UnknownSubtask(f"Nothing was done. Which dump? Write {usage}. {_known(parent)}")


def _known(parent: Path) -> str:
    """The names of the dumps in the dump directory, the newest first, as the end of a sentence."""
    folders = (path for path in parent.glob("[!.]*") if path.is_dir() and not _is_unfinished(path))
    found = sorted((folder.name for folder in folders), reverse=True)
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return f"{parent} has {', '.join(found[:MAX_NAMED])}{more}." if found else f"There is no dump in {parent}."


def find(name: str, parent: Path, database: str) -> Dump:
    """Find the dump of a database by its name in the dump directory, or by its path.

    Raises ``DumpFailed`` when it is missing or not complete.
    """
    try:
        return _find(name, parent, database)
    except OSError as error:  # such as a folder of another user, or a name that is too long
        raise DumpFailed(f"The dump {name} cannot be read: {error.strerror}. Nothing was restored.") from error


def _find(name: str, parent: Path, database: str) -> Dump:
    root = parent / name  # an absolute name replaces parent
    if not (_exists(root) or _is_unfinished(root)):
        root = Path(name).absolute()
    if _is_unfinished(root):
        raise DumpFailed(f"The dump in {root} was not finished, so it cannot be restored. Take another one.")
    if not _exists(root / database):
        others = sorted({path.parent.name for path in root.glob("*/*.metadata.json*")})
        next_step = f" It has one of {' and '.join(others)}: write from=NAME to restore that." if others else ""
        others_there = "" if root.exists() else f" {_known(parent)}"
        raise DumpFailed(f"There is no dump of the database {database} in {root}.{next_step}{others_there}")
    return read(root, database)


def _is_unfinished(root: Path) -> bool:
    return root.name.endswith(UNFINISHED) or (not _exists(root) and _exists(Path(f"{root}{UNFINISHED}")))


def _exists(path: Path) -> bool:
    """Whether it exists. Raises ``OSError`` if that cannot be seen, where ``Path.exists()`` says no since 3.14."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def read(root: Path, database: str) -> Dump:
    """Read which collections there are, without their documents.

    Raises ``DumpFailed`` when files are missing.
    """
    folder = root / database
    gz = _compressed_suffix(folder)
    metadata_end, documents_end = f".metadata.json{gz}", f".bson{gz}"
    stems = sorted(path.name[: -len(metadata_end)] for path in folder.glob(f"*{metadata_end}"))
    collections = [_read_metadata(folder, stem, gz) for stem in stems]
    files_with_metadata = {collection.file for collection in collections}
    for path in sorted(folder.glob(f"*{documents_end}")):
        name = unquote_plus(path.name[: -len(documents_end)])
        # The oldest mongodumps wrote no metadata.
        if path not in files_with_metadata and not name.startswith("$") and name not in NOT_RESTORED:
            collections.append(DumpedCollection(name, name, path, {}, []))
    return Dump(root, database, collections, is_compressed=bool(gz))


def _compressed_suffix(folder: Path) -> str:
    """``.gz`` for a compressed dump, otherwise nothing."""
    names = [path.name for path in folder.iterdir()]
    suffixes = {".gz" if name.endswith(".gz") else "" for name in names if ".bson" in name or ".metadata.json" in name}
    if len(suffixes) != 1:
        raise _damaged(folder, "has compressed and uncompressed files" if suffixes else "is empty")
    return suffixes.pop()


def _read_metadata(folder: Path, stem: str, gz: str) -> DumpedCollection:
    path = folder / f"{stem}.metadata.json{gz}"
    try:
        with _open(path) as metadata:
            document = dict(json.load(metadata))
    except (*READ_ERRORS, ValueError, TypeError) as error:
        raise _damaged(path, f"cannot be read ({error})") from None
    # The name of the file is only the beginning of a long name.
    name, options = document.get("collectionName") or unquote_plus(stem), document.get("options") or {}
    prefix = BUCKETS if "timeseries" in options else ""
    file = None if "viewOn" in options else folder / f"{prefix}{stem}.bson{gz}"
    if file and not file.exists():
        raise _damaged(file, "is missing")
    return DumpedCollection(name, prefix + name, file, options, document.get("indexes") or [])


def _read_documents(path: Path) -> Iterator[bytes]:
    try:
        with _open(path) as file:
            while head := file.read(4):
                length = int.from_bytes(head, "little")
                document = head + file.read(max(0, length - 4))
                if not 5 <= len(document) == length:
                    raise _damaged(path, "ends in the middle of a document")
                yield document
    except READ_ERRORS as error:
        raise _damaged(path, f"cannot be read ({error})") from None


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _damaged(path: Path, why: str) -> DumpFailed:
    return DumpFailed(f"The dump is incomplete or damaged: {path} {why}. Nothing was restored.")


def facts(path: str | None, database: str) -> dict[str, Any]:
    """What the history stores about the dump before a run."""
    if path is None:
        return {}
    try:
        dump = read(Path(path), database)
        documents = sum(1 for collection in dump.collections for _ in collection.documents())
    except (TypeError, OSError, DumpFailed):  # a team's own dbdump() may return anything
        return {"dump": path}
    return {"dump": path, "dump_documents": documents, "dump_bytes": dump.size()}
