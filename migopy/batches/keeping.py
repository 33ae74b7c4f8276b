"""Keeping what batches replace: some fields of each document, or whole documents, as they were and as they are then."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Sequence

import bson
from bson.raw_bson import RawBSONDocument

from ..errors import BatchFailed
from ..mongo.concerns import EXACTLY
from ..mongo.raw import (
    ARRAY,
    DATE,
    INT32,
    INT64,
    OBJECT_ID,
    STRING,
    Element,
    document_of,
    element,
    id_of,
    split,
)
from ..store.kept import AFTER, BEFORE, KeptStore, KeptWalk, Part
from ..store.names import store_beside
from .arguments import Keep
from .commands import close_cursor, find_raw
from .ids import BY_ID, IdRange, Ids, bounds, filter_within
from .walk import BatchResult, BatchTooLarge, WriteBatch

if TYPE_CHECKING:
    from datetime import datetime

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from .trail import NoTrail, Trail
    from .walk import Walk

MAX_DOCUMENTS = 100_000
"""Of one reply, which also has a limit of 16 MB."""

MAX_BYTES = 16 * 1024 * 1024
"""Of what one batch keeps; a batch with more is tried again with fewer documents."""

COMPARABLE_KINDS = (INT32, INT64, STRING, OBJECT_ID, DATE)
"""Types of BSON whose values ``$gte`` and ``$lte`` compare as the index orders them."""

NOT_THERE = b"\5\0\0\0\0"
"""In place of a document that is gone."""


class Keeping:
    """What one execution of a migration keeps, and what its rollback finds.

    ``store`` is None outside of a run: then it is the collection beside the first that something is kept of.
    ``registered`` is the name and the number under which the registered execution has kept something: 0 if it has kept
    nothing, None for the number if it is not known.
    """

    def __init__(
        self,
        trail: Trail | NoTrail,
        store: KeptStore | None,
        now: Callable[[], datetime],
        registered: tuple[str, int | None] | None = None,
    ) -> None:
        self._trail = trail
        self._store = store
        self._now = now
        self._registered = registered
        self.run: int | None = None
        """Which execution of the migration this is; None as long as nothing is kept."""
        self._walks: list[KeptWalk] = []
        self._without_keep: list[str] = []

    def begin(self, walk: Walk, keep: Keep | None, *, deletes: bool = False) -> Keeper | None:
        """Begin or resume the keeping of a walk; None if it does not keep anything.

        Raises ``BatchFailed`` in a ``down()``, and ``NotAllowed`` if the user may not write to the collection.
        """
        collection = walk.collection.full_name
        if keep is None:
            self._without_keep.append(collection)
            self._note_walks_without_keep()
            return None
        if self._trail.direction == "down":
            raise BatchFailed("keep is for up(): nothing takes back what down() does.")
        store = self._open(walk.collection)
        resumed = self._find(walk.checkpoint.kept)
        wanted = KeptWalk(self._trail.migration, 0, 0, collection, True, keep.fields, deletes)
        if resumed is None or not resumed.is_like(wanted):
            resumed = self._add(wanted)
            self._trail.note_kept(walk.checkpoint, (resumed.run, resumed.nth))
        self._note_walks_without_keep()
        keeper = Keeper(store, resumed, keep, walk, itertools.count())
        keeper.complete()
        return keeper

    def _open(self, collection: Collection[Any]) -> KeptStore:
        """The store, with what is known of this execution."""
        if self._store is None:
            self._store = store_beside(collection, KeptStore)
        if self.run is None:
            walks = self._store.walks(self._trail.migration)
            self.run = self._trail.kept_run() or 1 + max((walk.run for walk in walks), default=0)
            self._walks = [walk for walk in walks if walk.run == self.run]
            self._store.require_right_to_remove()
        return self._store

    def _find(self, kept: tuple[int, int] | None) -> KeptWalk | None:
        return next((walk for walk in self._walks if (walk.run, walk.nth) == kept), None)

    def _add(self, wanted: KeptWalk) -> KeptWalk:
        assert self._store is not None
        assert self.run is not None
        nth = 1 + max((walk.nth for walk in self._walks), default=0)
        walk = wanted._replace(run=self.run, nth=nth, at=self._now(), by=self._store.by)
        self._store.add_walk(walk)
        self._walks.append(walk)
        return walk

    def _note_walks_without_keep(self) -> None:
        """Store which walks keep nothing, once another one keeps something."""
        if self.run is None:
            return
        noted = {walk.collection for walk in self._walks if not walk.keeps}
        for collection in dict.fromkeys(self._without_keep):
            if collection not in noted:
                self._add(KeptWalk(self._trail.migration, 0, 0, collection, keeps=False))
        self._without_keep.clear()

    def count_documents(self) -> int:
        """How many documents this execution has kept, in earlier attempts too."""
        if self._store is None or self.run is None:
            return 0
        return sum(kept.documents for kept in self._store.amounts(self._trail.migration) if kept.walk.run == self.run)

    def walks_to_restore(self) -> tuple[KeptStore, list[KeptWalk]]:
        """The walks of the execution that is rolled back, the last one first. Raises ``BatchFailed`` for none."""
        if self._trail.direction == "up":
            raise BatchFailed("restore() is for down(): it puts back what up() has kept.")
        name, run = self._registered or (self._trail.migration, self.run)
        found = self._store.walks_of_run(name, run) if self._store else []
        walks = [walk for walk in found if walk.keeps]
        if self._store is None or not walks:
            of = f" of {self._trail.migration}" if self._trail.migration else " by this object"
            raise BatchFailed(
                f"Nothing is kept{of}: either up() has kept nothing (it needs keep=...), or it was dropped."
            )
        return self._store, walks[::-1]


class Keeper:
    """Keeps what the batches of one walk, or of one of its parts, replace. ``numbers`` are those of its batches."""

    def __init__(self, store: KeptStore, kept_walk: KeptWalk, keep: Keep, walk: Walk, numbers: Iterator[int]) -> None:
        self._store = store
        self._kept_walk = kept_walk
        self._keep = keep
        self._walk = walk
        self._numbers = numbers
        self._is_dense = True
        """Whether few other documents stood between those that were to be changed, as far as it is known."""

    def of(self, part: Walk) -> Keeper:
        """The keeper of a part of the walk, or of the walk itself."""
        # A batch gets its number after its transaction has begun to read. So where one needs what another has changed,
        # in a unique index, it has the greater number, and is put back first.
        return Keeper(self._store, self._kept_walk, self._keep, part, self._numbers)

    def complete(self) -> None:
        """Read what earlier attempts have kept. A batch in which one of them died on a standalone gets its end."""
        if self._walk.checkpoint.finished:
            return
        parts = self._store.parts(self._kept_walk)
        self._numbers = itertools.count(1 + max((part.batch for part in parts), default=0))
        for part in parts if not self._kept_walk.deletes else ():
            if not part.chunks_after:
                before, _ = self._store.read(self._kept_walk, part)
                ids = [id_of(document) for document in before]
                now = read_by_ids(self._walk.collection, ids, self._keep.projection, None)
                self._store.insert(self._kept_walk, part, {AFTER: align(before, now)})

    def around(
        self, batch: Ids | IdRange, write: Callable[[Ids | IdRange, ClientSession | None], BatchResult]
    ) -> WriteBatch:
        """What writes the batch and keeps what it replaces, both in the transaction if there is one."""

        def write_and_keep(session: ClientSession | None) -> BatchResult:
            # Without a transaction, other documents may match the filter by the time that the batch is written.
            known = batch if session else self._walk.ids_of(batch)
            if not known:
                return BatchResult(batch[-1:], 0, 0)
            return self.replace(
                filter_within(self._walk.filter, known),
                filter_within({}, known),
                lambda session: write(known, session),
                session,
            )

        return write_and_keep

    def replace_each(self, ids: Ids, write: WriteBatch, session: ClientSession | None) -> BatchResult:
        """Write updates of these documents, which are in order, and keep the documents."""
        range_of_ids = bounds(ids)
        if session and range_of_ids and self._is_dense:
            within = {"_id": range_of_ids}
            before = self._read_before(within, session, limit=len(ids) + 1)
            # In a transaction all of them are there. If there is no other one, the range is faster than its _ids.
            self._is_dense = len(before) == len(ids)
            if self._is_dense:
                return self._replace(before, within, write, session)
        # It is sent twice, and encoded once.
        to_change = RawBSONDocument(bson.encode(filter_within({}, ids), codec_options=EXACTLY))
        return self.replace(to_change, to_change, write, session)

    def replace(
        self,
        selected: Mapping[str, Any],
        within: Mapping[str, Any],
        write: WriteBatch,
        session: ClientSession | None,
    ) -> BatchResult:
        """Write a batch, and keep the documents that ``selected`` finds before it and ``within`` finds after it."""
        return self._replace(self._read_before(selected, session), within, write, session)

    def _read_before(
        self, selected: Mapping[str, Any], session: ClientSession | None, limit: int | None = None
    ) -> list[bytes]:
        most = MAX_BYTES if self._walk.batch_size > 1 else None
        return read_raw(self._walk.collection, selected, self._keep.projection, session, most, limit)

    def _replace(
        self, before: list[bytes], within: Mapping[str, Any], write: WriteBatch, session: ClientSession | None
    ) -> BatchResult:
        part = Part(next(self._numbers), 0, len(before), sum(map(len, before)))
        if session is None and before:
            # First, so that what a killed run has changed is always kept.
            part = self._store.insert(self._kept_walk, part, {BEFORE: before})
        result = write(session)
        after: list[bytes] = []
        if before and not self._kept_walk.deletes:
            after = align(before, self._read_again(before, within, session), session)
        streams = {AFTER: after}
        if session:
            if after and result.changed < part.documents:
                part, before, after = _drop_unchanged(part, before, after)
            streams = {BEFORE: before, AFTER: after}
        self._store.insert(self._kept_walk, part, streams, session)
        return result

    def _read_again(
        self, before: Sequence[bytes], within: Mapping[str, Any], session: ClientSession | None
    ) -> list[bytes]:
        """The documents after the batch."""
        collection, projection = self._walk.collection, self._keep.projection
        if len(before) < self._walk.batch_size // 2:  # within the range of the batch are many others
            return read_by_ids(collection, list(map(id_of, before)), projection, session)
        return read_raw(collection, within, projection, session)


def read_raw(
    collection: Collection[Any],
    wanted: Mapping[str, Any],
    projection: Mapping[str, int] | None,
    session: ClientSession | None,
    max_bytes: int | None = None,
    limit: int | None = None,
) -> list[bytes]:
    """The documents that match, undecoded and in the order of their ``_id``s. Raises ``BatchTooLarge``."""
    find: dict[str, Any] = {"filter": wanted, "sort": BY_ID, "hint": BY_ID, "batch_size": MAX_DOCUMENTS}
    if limit:
        find["limit"] = limit
    reply = find_raw(collection, find, projection, session)
    close_cursor(collection, reply, session)
    if max_bytes is not None and (reply.open_cursor or len(reply) > max_bytes):
        raise BatchTooLarge
    if not reply.open_cursor:
        return reply.raw_documents()
    with collection.find_raw_batches(projection=projection, session=session, **find) as cursor:
        return [document for piece in cursor for document in split(piece)]


def read_by_ids(
    collection: Collection[Any],
    ids: Sequence[Element],
    projection: Mapping[str, int] | None,
    session: ClientSession | None,
) -> list[bytes]:
    """The documents with these ``_id``s, which are in order; those that are there."""
    listed = b"".join(element(id.kind, b"%d" % place, id.value) for place, id in enumerate(ids))
    # As in filter_within(): a clustered collection has no index on _id.
    condition = element(ARRAY, b"$in", document_of(listed)) + raw_bounds(ids)
    return read_raw(collection, {"_id": RawBSONDocument(document_of(condition))}, projection, session)


def raw_bounds(ids: Sequence[Element]) -> bytes:
    """The condition that every ``_id`` from the first to the last fits; empty where their types do not compare."""
    first, last = ids[0], ids[-1]
    if first.kind == last.kind and first.kind in COMPARABLE_KINDS:
        return element(first.kind, b"$gte", first.value) + element(last.kind, b"$lte", last.value)
    return b""


def align(before: Sequence[bytes], after: list[bytes], session: ClientSession | None = None) -> list[bytes]:
    """The documents of ``after`` in the order of those of ``before``, with ``NOT_THERE`` for each that is gone."""
    if session and len(before) == len(after):  # in a transaction they are the same ones
        return after
    by_id = {id_of(document).raw: document for document in after}
    return [by_id.get(id_of(document).raw, NOT_THERE) for document in before]


def _drop_unchanged(
    part: Part, before: Sequence[bytes], after: Sequence[bytes]
) -> tuple[Part, list[bytes], list[bytes]]:
    """Without the documents that the batch has left as they were."""
    changed = [(one, other) for one, other in zip(before, after) if one != other]
    before = [one for one, _ in changed]
    part = part._replace(documents=len(changed), bytes=sum(map(len, before)))
    return part, before, [other for _, other in changed]
