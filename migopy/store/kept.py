"""What ``update`` and ``delete`` have replaced: the collection ``migrations_kept``.

It has two kinds of documents. The first field of their ``_id`` tells them apart, and the index on ``_id`` finds both:

- ``{walk: migration, run, nth}``: one walk of one execution, with ``collection``, ``keeps``, ``fields``, ``deletes``,
  ``at`` and ``by``.
- ``{part: migration, run, nth, batch, piece, documents, bytes, stream, chunk}``: what one batch of it has replaced.
  ``bytes`` in it are documents one after the other, as MongoDB sends them: in the stream ``before`` as they were, in
  the stream ``after``, in the same order, as the batch left them. Each stream is cut into chunks that fit into a
  document. ``piece`` is the place of its first document in the batch.

Nothing is ever updated here, only inserted and deleted.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping, NamedTuple, Sequence

from bson import MaxKey

from ..errors import BatchFailed
from ..mongo.concerns import BETWEEN_BATCHES, majority_collection
from ..mongo.failures import explains_server_errors
from ..mongo.raw import split
from . import documents

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from .names import Names

CHUNK_BYTES = 15 * 1024 * 1024
"""Of a stream in one document, which may have 16 MB."""

BEFORE, AFTER = "before", "after"

PART_KEYS = {"part", "run", "nth", "batch", "piece", "documents", "bytes", "stream", "chunk"}

BY_ID = [("_id", 1)]


class KeptWalk(NamedTuple):
    """One walk of one execution of a migration, the ``nth`` of it.

    ``fields`` are the names of the fields that it keeps; None if it keeps whole documents. ``deletes`` says that the
    documents themselves are gone. A walk that keeps nothing is only there to be named.
    """

    migration: str
    run: int
    nth: int
    collection: str
    """With the name of the database."""
    keeps: bool = True
    fields: Sequence[str] | None = None
    deletes: bool = False
    at: datetime | None = None
    by: str | None = None

    @property
    def key(self) -> dict[str, Any]:
        return {"walk": self.migration, "run": self.run, "nth": self.nth}

    def is_like(self, other: KeptWalk) -> bool:
        """Whether both keep the same of the same collection."""
        return other._replace(run=self.run, nth=self.nth, at=self.at, by=self.by) == self

    @property
    def name(self) -> str:
        """The name of the collection."""
        return self.collection.partition(".")[2]

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> KeptWalk | None:
        """None for a document that is not a walk."""
        get, key = document.get, document["_id"]
        numbers = documents.number(key.get("run")), documents.number(key.get("nth"))
        migration, collection, fields = key["walk"], documents.string(get("collection")), get("fields")
        if collection is None or numbers[0] is None or numbers[1] is None:
            return None
        names = tuple(map(str, fields)) if isinstance(fields, list) else None
        at, by = documents.moment(get("at")), documents.text(get("by"))
        keeps, deletes = get("keeps") is True, get("deletes") is True
        return cls(migration, numbers[0], numbers[1], collection, keeps, names, deletes, at, by)

    def document(self) -> dict[str, Any]:
        facts = {"collection": self.collection, "keeps": self.keeps, "deletes": self.deletes, "at": self.at}
        fields = None if self.fields is None else list(self.fields)
        return {"_id": self.key, **facts, "fields": fields, "by": self.by}


class Part(NamedTuple):
    """What a batch of a walk has replaced, or a piece of that: so many ``documents`` with ``bytes`` as they were.

    ``chunks`` counts the documents that hold the stream ``before``, ``chunks_after`` those of the stream ``after``.
    """

    batch: int
    piece: int
    documents: int
    bytes: int
    chunks: int = 0
    chunks_after: int = 0

    @property
    def key(self) -> dict[str, Any]:
        return {"batch": self.batch, "piece": self.piece, "documents": self.documents, "bytes": self.bytes}

    @property
    def place(self) -> tuple[int, int]:
        return self.batch, self.piece

    @property
    def streams(self) -> list[tuple[str, int]]:
        chunks = {BEFORE: self.chunks, AFTER: self.chunks_after}
        return [(stream, number) for stream, count in chunks.items() for number in range(count)]


class Kept(NamedTuple):
    """How much a walk has kept that is still there."""

    walk: KeptWalk
    documents: int
    bytes: int


class KeptStore:
    """The collection of all that is kept."""

    def __init__(self, db: Database[dict[str, Any]], names: Names, *, address: str, by: str) -> None:
        self.address = address
        self.collection = majority_collection(db, names.kept)
        self._between_batches = self.collection.with_options(write_concern=BETWEEN_BATCHES)
        self.by = by

    @explains_server_errors
    def walks(self, migration: str | None = None) -> list[KeptWalk]:
        """The walks of a migration, or of all, in their order."""
        wanted = {"_id": _within("walk", migration)}
        found = map(KeptWalk.from_document, self.collection.find(wanted, hint=BY_ID).sort(BY_ID))
        return [walk for walk in found if walk]

    def walks_of_run(self, migration: str, run: int | None) -> list[KeptWalk]:
        """The walks of one execution of a migration, of the last one for None; none for 0."""
        walks = self.walks(migration) if run != 0 else []
        return [walk for walk in walks if walk.run == (run or walks[-1].run)]

    @explains_server_errors
    def add_walk(self, walk: KeptWalk) -> None:
        self.collection.insert_one(walk.document())

    @explains_server_errors
    def require_right_to_remove(self) -> None:
        """Raises ``NotAllowed`` before anything is kept that could not be removed."""
        self.collection.delete_one({"_id": {"walk": MaxKey()}})

    @explains_server_errors
    def parts(self, walk: KeptWalk) -> list[Part]:
        """What the batches of a walk have replaced, in their order. This reads the index only."""
        return [part for _, part in _parts(self._part_keys(_within("part", walk.migration, walk.run, walk.nth)))]

    @explains_server_errors
    def amounts(self, migration: str | None = None) -> list[Kept]:
        """How much each walk of a migration, or of all, has kept. Walks without anything are left out."""
        walks = {(walk.migration, walk.run, walk.nth): walk for walk in self.walks(migration)}
        amounts: dict[tuple[str, int, int], Kept] = {}
        for (name, run, nth), part in _parts(self._part_keys(_within("part", migration))):
            # Without a walk it is what a dropping has left that was interrupted.
            walk = walks.get((name, run, nth)) or KeptWalk(name, run, nth, "?.?")
            amount = amounts.get((name, run, nth), Kept(walk, 0, 0))
            amounts[name, run, nth] = Kept(walk, amount.documents + part.documents, amount.bytes + part.bytes)
        return list(amounts.values())

    def _part_keys(self, within: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for document in self.collection.find({"_id": within}, {"_id": 1}, hint=BY_ID).sort(BY_ID):
            if PART_KEYS.issubset(document["_id"]):  # otherwise it is not one of ours
                yield document["_id"]

    def read(self, walk: KeptWalk, part: Part) -> tuple[list[bytes], list[bytes]]:
        """The documents as they were, and as the batch left them; the second is empty where that is not known."""
        keys = [_part_key(walk, part, *chunk) for chunk in part.streams]
        found = self.collection.find({"_id": {"$in": keys}})
        chunks = {(each["_id"]["stream"], each["_id"]["chunk"]): bytes(each["bytes"]) for each in found}
        if len(chunks) < len(keys):
            raise BatchFailed(
                f"A part of what {walk.migration or 'up()'} has kept of {walk.name} is missing in"
                f" {self.collection.name}: it cannot be put back."
            )
        before = b"".join(chunks[BEFORE, number] for number in range(part.chunks))
        after = b"".join(chunks[AFTER, number] for number in range(part.chunks_after))
        return list(split(before)), list(split(after))

    def insert(
        self, walk: KeptWalk, part: Part, streams: Mapping[str, Sequence[bytes]], session: ClientSession | None = None
    ) -> Part:
        """Store streams of a part; the part with these."""
        joined = {stream: b"".join(found) for stream, found in streams.items()}
        stored = [
            {"_id": _part_key(walk, part, stream, number), "bytes": found[begin : begin + CHUNK_BYTES]}
            for stream, found in joined.items()
            for number, begin in enumerate(range(0, len(found), CHUNK_BYTES))
        ]
        for documents_of_a_message in _that_fit(stored):
            self._between_batches.insert_many(documents_of_a_message, session=session)
        counts = {stream: -(-len(found) // CHUNK_BYTES) for stream, found in joined.items()}
        return part._replace(chunks=counts.get(BEFORE, part.chunks), chunks_after=counts.get(AFTER, part.chunks_after))

    def remove(self, walk: KeptWalk, parts: Iterable[Part], session: ClientSession | None = None) -> None:
        keys = [_part_key(walk, part, *chunk) for part in parts for chunk in part.streams]
        if keys:
            self._between_batches.delete_many({"_id": {"$in": keys}}, session=session)

    @explains_server_errors
    def drop(self, kept: Iterable[KeptWalk]) -> None:
        """Delete what these walks have kept, and the walks."""
        for walk in kept:
            # First the walk: without it nothing of it is restored, even if the rest is still there.
            self.collection.delete_one({"_id": walk.key})
            self.collection.delete_many({"_id": _within("part", walk.migration, walk.run, walk.nth)})


def _within(kind: str, migration: str | None, run: int | None = None, nth: int | None = None) -> dict[str, Any]:
    """The range of ``_id``s of a walk, an execution, a migration or all."""
    if migration is None:
        # MongoDB compares the types of two first fields, then their names, then their values.
        return {"$gte": {kind: ""}, "$lt": {f"{kind} ": ""}}
    known = {"run": run, "nth": nth}
    begin = {kind: migration, **{name: number for name, number in known.items() if number is not None}}
    following = ["run", "nth", "batch"][len(begin) - 1]
    return {"$gte": begin, "$lt": {**begin, following: MaxKey()}}


def _part_key(walk: KeptWalk, part: Part, stream: str, chunk: int) -> dict[str, Any]:
    return {"part": walk.migration, "run": walk.run, "nth": walk.nth, **part.key, "stream": stream, "chunk": chunk}


def _parts(keys: Iterable[Mapping[str, Any]]) -> Iterator[tuple[tuple[str, int, int], Part]]:
    """The parts that consist of the chunks with these ``_id``s, which are in order, each with the key of its walk."""
    last: tuple[tuple[str, int, int], Part] | None = None
    for key in keys:
        walk = key["part"], key["run"], key["nth"]
        part = Part(key["batch"], key["piece"], key["documents"], key["bytes"])
        if last and last[0] == walk and last[1].key == part.key:
            part = last[1]
        elif last:
            yield last
        is_before = key["stream"] == BEFORE
        last = walk, part._replace(chunks=part.chunks + is_before, chunks_after=part.chunks_after + (not is_before))
    if last:
        yield last


def _that_fit(stored: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The documents in groups that fit into one message of 48 MB."""
    for begin in range(0, len(stored), 2):
        yield list(stored[begin : begin + 2])
