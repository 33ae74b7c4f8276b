"""The copier: copies one database into another, exactly or as a sample. Usable by itself."""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, Mapping, NamedTuple, Sequence

from pymongo import ReadPreference, WriteConcern
from pymongo.errors import ExecutionTimeout, WriteError

from ...mongo.kind import server_kind
from ...mongo.raw import RawDocuments, split
from ...terminal.signals import hold_back
from . import sampling
from .expiry import expiring
from .raw import (
    COLLECTION,
    MAX_DOCUMENTS,
    STORED_FUNCTIONS,
    TIMESERIES,
    VIEW,
    kill_commands,
    list_collections,
    list_indexes,
    server_time,
)

if TYPE_CHECKING:
    from concurrent.futures import Future

    from pymongo.collection import Collection
    from pymongo.database import Database

# One reads while the other writes. More would be faster, and slow down everybody else who uses the server.
THREADS = 2

COUNTING_SECONDS = 5
"""How long counting may take, for all collections together."""

MAX_EXPIRING = 10_000
"""How many documents that expire soon are counted in a collection."""

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
    until = time.monotonic() + COUNTING_SECONDS
    with ThreadPoolExecutor(THREADS, "migopy count") as pool:
        found = [*pool.map(lambda info: _measure(db, info, until), list_collections(db, without))]
    return sorted(found, key=lambda original: original.size, reverse=True)


def find_original(db: Database[Any], name: str) -> Original | None:
    """The collection, view or time series of that name, or None."""
    until = time.monotonic() + COUNTING_SECONDS
    return next((_measure(db, info, until) for info in list_collections(db) if info["name"] == name), None)


def _measure(db: Database[Any], info: Mapping[str, Any], until: float) -> Original:
    original = Original(info["name"], info.get("type", COLLECTION), info["options"])
    if original.kind == VIEW:
        return original
    shards = list(db[original.name].aggregate([{"$collStats": {"storageStats": {}}}]))
    stats = [shard["storageStats"] for shard in shards]

    def total(key: str) -> int:
        return sum(int(shard.get(key, 0)) for shard in stats)

    return original._replace(
        documents=_count(db[original.name], total("count"), until),
        size=total("size"),
        storage=total("storageSize") + total("totalIndexSize"),
    )


def _count(collection: Collection[Any], assumed: int, until: float) -> int:
    """How many documents there are; the ``assumed`` number if counting takes longer than ``until``."""
    # The number that MongoDB keeps is wrong after it was killed, and for a time series it is of buckets.
    milliseconds = max(1, int(1000 * (until - time.monotonic())))
    try:
        return collection.with_options(read_preference=ReadPreference.SECONDARY_PREFERRED).count_documents(
            {}, maxTimeMS=milliseconds
        )
    except ExecutionTimeout:
        return assumed


class Copier:
    """Copies ``source`` into ``target``, which has to be empty.

    The copy is exact: documents are not decoded, validators are bypassed, indexes are built as they are described. Of a
    collection with more than ``limit`` documents only a sample is copied, unless its name is in ``whole``. Documents
    that would expire soon are left out.
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
        self.left_out: dict[str, int] = {}
        """How many documents expire soon, at most ``MAX_EXPIRING``, by the name of their collection."""

    def run(
        self, what: Sequence[Original], progress: Callable[[int], None] = lambda documents: None
    ) -> dict[str, DocumentCounts]:
        """Copy these collections; returns the counts by name.

        ``progress`` is called now and then with the number of documents copied so far.
        """
        views = [original for original in what if original.kind == VIEW]
        others = [original for original in what if original.kind != VIEW]
        self._started = server_time(self._target)
        # Otherwise the server waits for all members with each index, for ever if one of them is stopped.
        self._quorum: dict[str, Any] = {"commitQuorum": 1} if server_kind(self._target.client).has_commit_quorum else {}
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
        if original.name != STORED_FUNCTIONS:
            with hold_back():  # abandoned, the command might run after the copy was dropped
                self._target.command("create", original.name, **original.options)

    def _copy_collection(self, original: Original) -> DocumentCounts:
        indexes = list_indexes(self._source, original.name)
        copied = 0
        for batch in self._batches(original, self._lasting(original, indexes)):
            if self._stopped.is_set():
                break
            number = insert(self._target[original.name], batch)
            copied += number
            self.documents += number
        else:
            self._build_indexes(original.name, indexes)
        return DocumentCounts(max(original.documents, copied), copied)

    def _lasting(self, original: Original, indexes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """A filter for the documents that do not expire soon; those that do are counted."""
        soon = expiring(original.options, indexes, self._started)
        if not soon:
            return {}
        number = self._source[original.name].count_documents({"$or": soon}, limit=MAX_EXPIRING)
        if number:
            self.left_out[original.name] = number
        return {"$nor": soon}

    def _batches(self, original: Original, lasting: Mapping[str, Any]) -> Iterator[bytes]:
        limit = None if original.name in self._whole else self._limit
        return read(self._source[original.name], original, limit, lasting)

    def _build_indexes(self, name: str, indexes: Sequence[Mapping[str, Any]]) -> None:
        if not indexes:
            return
        # MongoDB 4.2 also tells the namespace of the original.
        described = [{key: value for key, value in index.items() if key != "ns"} for index in indexes]
        self._target.command("createIndexes", name, indexes=described, **self._quorum)


def read(
    collection: Collection[Any], original: Original, limit: int | None, wanted: Mapping[str, Any] = sampling.ANY
) -> Iterator[bytes]:
    """Batches of the ``wanted`` documents of a collection; a sample of about ``limit`` if it has more."""
    if limit is None:
        return iter(collection.find_raw_batches(wanted, batch_size=MAX_DOCUMENTS))
    if original.kind == TIMESERIES:  # its documents may lack an _id
        return iter(sampling.newest(collection, limit, original.options["timeseries"]["timeField"], wanted))
    if original.documents <= limit:
        return iter(collection.find_raw_batches(wanted, batch_size=MAX_DOCUMENTS))
    if original.is_capped:
        newest_first = [
            document for batch in sampling.newest(collection, limit, "$natural") for document in split(batch)
        ]
        return iter([b"".join(reversed(newest_first))])
    return sampling.sample(collection, limit, wanted)


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
