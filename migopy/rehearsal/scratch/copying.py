"""The copier: copies one database into another, exactly or as a sample. Usable by itself."""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping, NamedTuple, Sequence

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import WriteError

from ...terminal.signals import hold_back
from . import sampling
from .raw import (
    COLLECTION,
    MAX_DOCUMENTS,
    STORED_FUNCTIONS,
    TIMESERIES,
    VIEW,
    RawDocuments,
    kill_commands,
    list_collections,
    list_indexes,
    split,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    from pymongo.collection import Collection
    from pymongo.database import Database

# One reads while the other writes. More would be faster, and slow down everybody else who uses the server.
THREADS = 2

SECONDS_OF_A_DAY = 86_400

DUPLICATE_KEY = 11000


class Original(NamedTuple):
    """A collection, view or time series to copy.

    ``size`` is in bytes without compression, ``storage`` in bytes on disk, with the indexes.
    """

    name: str
    kind: str
    options: Mapping[str, Any]
    documents: int = 0
    size: int = 0
    storage: int = 0

    @property
    def is_capped(self) -> bool:
        return bool(self.options.get("capped"))


class DocumentCounts(NamedTuple):
    """How many documents the original has, and how many the copy."""

    original: int
    copy: int


def originals(db: Database[Any], without: Iterable[str] = ()) -> list[Original]:
    """The collections of a database to copy, the largest first."""
    found = [_measure(db, info) for info in list_collections(db, without)]
    return sorted(found, key=lambda original: original.size, reverse=True)


def _measure(db: Database[Any], info: Mapping[str, Any]) -> Original:
    original = Original(info["name"], info.get("type", COLLECTION), info["options"])
    if original.kind == VIEW:
        return original
    shards = list(db[original.name].aggregate([{"$collStats": {"storageStats": {}}}]))
    stats = [shard["storageStats"] for shard in shards]

    def total(key: str) -> int:
        return sum(int(shard.get(key, 0)) for shard in stats)

    return original._replace(
        documents=total("count"), size=total("size"), storage=total("storageSize") + total("totalIndexSize")
    )


class Copier:
    """Copies ``source`` into ``target``, which has to be empty.

    The copy is exact: documents are not decoded, validators are bypassed, indexes are built as they are described; but
    nothing expires in it. Of a collection with more than ``limit`` documents only a sample is copied, unless its name
    is in ``whole``.
    """

    def __init__(
        self, source: Database[Any], target: Database[Any], limit: int | None = None, whole: Sequence[str] = ()
    ) -> None:
        self._source = source.with_options(read_preference=ReadPreference.SECONDARY_PREFERRED)
        self._target = target.with_options(write_concern=WriteConcern(1))
        self._limit = limit
        self._whole = whole
        self._stopped = threading.Event()
        self.documents = 0
        """How many have been copied so far."""

    def run(
        self, what: Sequence[Original], progress: Callable[[int], None] = lambda documents: None
    ) -> dict[str, DocumentCounts]:
        """Copy these collections; returns the counts by name.

        ``progress`` is called now and then with the number of documents copied so far.
        """
        views = [original for original in what if original.kind == VIEW]
        others = [original for original in what if original.kind != VIEW]
        for original in others:
            self._create(original)
        pool = ThreadPoolExecutor(THREADS, "migopy copy")
        try:
            jobs = {original.name: pool.submit(self._copy_collection, original) for original in others}
            self._wait(set(jobs.values()), progress)
        except KeyboardInterrupt:
            self._stopped.set()
            kill_commands(self._target)  # an index may take minutes
            raise
        finally:
            self._stopped.set()
            pool.shutdown()
        for view in views:
            self._create(view)
        return {name: job.result() for name, job in jobs.items()}

    def _wait(self, pending: set[Future[DocumentCounts]], progress: Callable[[int], None]) -> None:
        while pending:
            done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
            for job in done:
                job.result()
            progress(self.documents)

    def _create(self, original: Original) -> None:
        options = dict(original.options)
        if "expireAfterSeconds" in options:
            options["expireAfterSeconds"] = longest_expiry()
        if original.name != STORED_FUNCTIONS:
            with hold_back():  # abandoned, the command might run after the copy was dropped
                self._target.command("create", original.name, **options)

    def _copy_collection(self, original: Original) -> DocumentCounts:
        copied = 0
        for batch in self._batches(original):
            if self._stopped.is_set():
                break
            number = insert(self._target[original.name], batch)
            copied += number
            self.documents += number
        else:
            self._build_indexes(original)
        return DocumentCounts(max(original.documents, copied), copied)

    def _batches(self, original: Original) -> Iterator[bytes]:
        collection = self._source[original.name]
        limit = self._limit
        if limit is None or original.name in self._whole:
            return iter(collection.find_raw_batches({}, batch_size=MAX_DOCUMENTS))
        if original.kind == TIMESERIES:  # its count is of buckets, and its documents may lack an _id
            return iter(sampling.newest(collection, limit, original.options["timeseries"]["timeField"]))
        if original.documents <= limit:
            return iter(collection.find_raw_batches({}, batch_size=MAX_DOCUMENTS))
        if original.is_capped:
            newest_first = [
                document for batch in sampling.newest(collection, limit, "$natural") for document in split(batch)
            ]
            return iter([b"".join(reversed(newest_first))])
        return sampling.sample(collection, limit)

    def _build_indexes(self, original: Original) -> None:
        indexes = [_without_expiry(index) for index in list_indexes(self._source, original.name)]
        if indexes:
            self._target.command("createIndexes", original.name, indexes=indexes)


def insert(collection: Collection[Any], batch: bytes) -> int:
    """Insert a batch of at most ``MAX_DOCUMENTS`` documents; returns how many were not there yet."""
    if not batch:
        return 0
    reply = collection.database.command(
        "insert",
        collection.name,
        documents=[RawDocuments(batch)],
        ordered=False,
        bypassDocumentValidation=collection.name != STORED_FUNCTIONS,  # no built-in role gives that right there
        writeConcern=collection.write_concern.document,
    )
    failures = [failure for failure in reply.get("writeErrors", ()) if failure["code"] != DUPLICATE_KEY]
    if failures:
        raise WriteError(failures[0]["errmsg"], failures[0]["code"], failures[0])
    return int(reply["n"])


def _without_expiry(index: Mapping[str, Any]) -> dict[str, Any]:
    # MongoDB 4.2 also tells the namespace of the original.
    described = {key: value for key, value in index.items() if key != "ns"}
    if "expireAfterSeconds" in described:
        described["expireAfterSeconds"] = longest_expiry()
    return described


def longest_expiry() -> int:
    """The longest ``expireAfterSeconds`` that MongoDB takes: about the time since 1970."""
    # Until MongoDB 4.2 that is the limit for indexes too. No live document of the original is so old.
    return int(time.time()) - SECONDS_OF_A_DAY
