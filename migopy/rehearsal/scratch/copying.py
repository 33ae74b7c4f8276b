"""Copying a database as it is, or a sample of it."""

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
    AT_ONCE,
    COLLECTION,
    STORED_FUNCTIONS,
    TIMESERIES,
    VIEW,
    Batch,
    collections,
    documents,
    end_commands,
    indexes,
)

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

THREADS = 2
"""One reads while the other writes; more would be faster, at the expense of whoever else uses the server."""

DAY = 86_400

DUPLICATE_KEY = 11000


class Original(NamedTuple):
    """A collection, view or time series that is to be copied; ``size`` and ``storage`` in bytes, without compression
    and on disk with the indexes.
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


class Copied(NamedTuple):
    """How many documents there are in the original and in the copy."""

    original: int
    copy: int


def originals(db: Database[Any], without: Iterable[str] = ()) -> list[Original]:
    """What there is to copy, the largest first; not what MongoDB keeps for itself, nor the names in ``without``."""
    found = [_measured(db, info) for info in collections(db, without)]
    return sorted(found, key=lambda original: original.size, reverse=True)


def _measured(db: Database[Any], info: Mapping[str, Any]) -> Original:
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


class Copy:
    """One database that is copied into another, which has to be empty.

    Nothing is lost: documents are not decoded, validators are passed over, indexes are built afterwards as they were
    described. ``limit`` is how many documents there may be in a collection before only a sample is taken; those named
    in ``whole`` are always copied as a whole.
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
    ) -> dict[str, Copied]:
        """Copy them; what was copied by name. ``progress`` is told now and then how many documents have been."""
        views = [original for original in what if original.kind == VIEW]
        filled = [original for original in what if original.kind != VIEW]
        for original in filled:
            self._create(original)
        pool = ThreadPoolExecutor(THREADS, "migopy copy")
        try:
            jobs = {original.name: pool.submit(self._fill, original) for original in filled}
            pending = set(jobs.values())
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
                for job in done:
                    job.result()
                progress(self.documents)
        except KeyboardInterrupt:
            self._stopped.set()
            end_commands(self._target)  # an index may take minutes
            raise
        finally:
            self._stopped.set()
            pool.shutdown()
        for view in views:
            self._create(view)
        return {name: job.result() for name, job in jobs.items()}

    def _create(self, original: Original) -> None:
        options = dict(original.options)
        if "expireAfterSeconds" in options:
            options["expireAfterSeconds"] = longest()
        if original.name != STORED_FUNCTIONS:
            with hold_back():  # abandoned, it might be done when all has been dropped
                self._target.command("create", original.name, **options)

    def _fill(self, original: Original) -> Copied:
        """Copy the documents, then build the indexes."""
        copied = 0
        for batch in self._batches(original):
            if self._stopped.is_set():
                break
            number = insert(self._target[original.name], batch)
            copied += number
            self.documents += number
        else:
            self._build_indexes(original)
        return Copied(max(original.documents, copied), copied)

    def _batches(self, original: Original) -> Iterator[bytes]:
        collection = self._source[original.name]
        limit = self._limit
        if limit is None or original.name in self._whole:
            return iter(collection.find_raw_batches({}, batch_size=AT_ONCE))
        if original.kind == TIMESERIES:  # it counts buckets, and its documents need no _id
            return iter(sampling.newest(collection, limit, original.options["timeseries"]["timeField"]))
        if original.documents <= limit:
            return iter(collection.find_raw_batches({}, batch_size=AT_ONCE))
        if original.is_capped:
            last = [
                document for batch in sampling.newest(collection, limit, "$natural") for document in documents(batch)
            ]
            return iter([b"".join(reversed(last))])
        return sampling.sample(collection, limit)

    def _build_indexes(self, original: Original) -> None:
        described = [_lasting(index) for index in indexes(self._source, original.name)]
        if described:
            self._target.command("createIndexes", original.name, indexes=described)


def insert(collection: Collection[Any], batch: bytes) -> int:
    """Insert a batch of at most ``AT_ONCE`` documents; how many were not there yet."""
    if not batch:
        return 0
    reply = collection.database.command(
        "insert",
        collection.name,
        documents=[Batch(batch)],
        ordered=False,
        bypassDocumentValidation=collection.name != STORED_FUNCTIONS,  # there no role of MongoDB's own gives that right
        writeConcern=collection.write_concern.document,
    )
    failures = [failure for failure in reply.get("writeErrors", ()) if failure["code"] != DUPLICATE_KEY]
    if failures:
        raise WriteError(failures[0]["errmsg"], failures[0]["code"], failures[0])
    return int(reply["n"])


def _lasting(index: Mapping[str, Any]) -> dict[str, Any]:
    """The index without the namespace of the original, which MongoDB 4.2 tells, and without an end of its documents."""
    described = {key: value for key, value in index.items() if key != "ns"}
    if "expireAfterSeconds" in described:
        described["expireAfterSeconds"] = longest()
    return described


def longest() -> int:
    """Seconds after which documents may expire: since 1970, all that MongoDB takes, of indexes too until 4.2.

    Nothing that is alive in the original is so old.
    """
    return int(time.time()) - DAY
