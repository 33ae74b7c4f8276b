"""Putting back what was kept: a walk through the batches of ``up()``, the last one first."""

from __future__ import annotations

import functools
import itertools
import struct
from collections import Counter
from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple, Sequence

from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError

from ..errors import BatchFailed
from ..mongo.concerns import EXACTLY
from ..mongo.raw import (
    ARRAY,
    BOOLEAN,
    DOCUMENT,
    TIMESTAMP,
    Element,
    RawDocuments,
    document_of,
    element,
    elements,
    fields_behind_id,
    id_of,
    id_text,
    split,
    subdocument,
)
from ..store.kept import AFTER, BEFORE, KeptStore, KeptWalk, Part
from ..terminal.texts import MAX_EXAMPLES, MAX_VALUE_LENGTH, shorten, write_refusal
from ..terminal.wording import plural
from .arguments import Keep
from .keeping import raw_bounds, read_by_ids, read_raw
from .walk import BatchInTheWay, BatchResult, BatchTooLarge

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from .walk import Walk

DUPLICATE_KEY = 11000

CHANGED, DELETED, THERE_AGAIN = "changed", "deleted", "there again"
"""Why a document is left as it is."""

SENTENCES = {
    CHANGED: "{documents} of {name} {were} changed since and {are} left as {they_are}: _id {ids}",
    DELETED: "{documents} of {name} {were} deleted since",
    THERE_AGAIN: "{documents} of {name} {are} there again and {are} left as {they_are}: _id {ids}",
}

EMPTY_TIMESTAMP = bytes(8)
"""Where a document has this, MongoDB writes the current time as it inserts or replaces the document."""

MAX_JOINED_BYTES = 4 * 1024 * 1024
"""Of small parts that are put back in one batch."""

MAX_COMMAND_BYTES = 15 * 1024 * 1024
"""PyMongo takes all statements of a command for one document, of at most 16 MB."""


_statement_head = struct.Struct("<i3si").pack
_set_head = struct.Struct("<4si6si").pack


class Entry(NamedTuple):
    """One kept document: as it was, as the batch left it (empty if that is not known), as it is, and its ``_id``."""

    before: bytes
    after: bytes
    now: bytes | None
    id: Element


class Opened(NamedTuple):
    """The documents of a part as they were, as ``up()`` left them (empty if that is not known), and their ``_id``s."""

    before: list[bytes]
    after: list[bytes]
    ids: list[Element]


class Piece(NamedTuple):
    """The documents of a part from ``begin`` up to ``end``, which are put back in one batch."""

    part: Part
    begin: int
    end: int

    @property
    def place(self) -> tuple[int, int]:
        return self.part.batch, self.part.piece + self.begin

    @property
    def documents(self) -> int:
        return self.end - self.begin


class Restore:
    """Puts back what one walk of ``up()`` has kept.

    ``walk`` is the walk through it, whose batches are taken from what is kept and not from the collection.
    """

    def __init__(self, store: KeptStore, kept_walk: KeptWalk, walk: Walk, *, overwrite: bool) -> None:
        self._store = store
        self._kept_walk = kept_walk
        self._walk = walk
        self._overwrite = overwrite
        self._projection = Keep(kept_walk.fields).projection
        self._opened: dict[Part, Opened] = {}
        self._is_dense = True
        """Whether few other documents stand between those that are put back, as far as it is known."""

    def run(self, parts: Sequence[Part]) -> None:
        """Put back these parts, the last one first. Raises ``BatchFailed`` if their collection is gone."""
        waiting = self._waiting(parts)
        if waiting:
            self._require_collection()
        while waiting:
            pieces = self._next(waiting)
            self._walk.begin_batch(sum(piece.documents for piece in pieces))
            try:
                self._walk.write(functools.partial(self._put_back, pieces))
            except (BatchInTheWay, BatchTooLarge, PyMongoError) as error:
                if not self._walk.shrink_after(error):
                    raise
            else:
                partly = pieces[-1].begin > waiting[-len(pieces)].begin
                waiting[-len(pieces) :] = [waiting[-1]._replace(end=pieces[-1].begin)] if partly else []
        self._walk.finish()

    def _waiting(self, parts: Sequence[Part]) -> list[Piece]:
        """What is still to be put back, in the order of ``up()``."""
        last = self._walk.checkpoint.last
        done = (last[0]["batch"], last[0]["piece"]) if last else (float("inf"), 0)
        pieces: list[Piece] = []
        again: list[Part] = []
        for part in sorted(parts, key=lambda part: (*part.place, -part.documents)):
            if part.place >= done:
                continue
            if pieces and part.batch == pieces[-1].part.batch and part.piece < pieces[-1].part.piece + pieces[-1].end:
                # A killed restore has left these documents alone, in a batch that will be done again.
                again.append(part)
                continue
            end = min(part.documents, done[1] - part.piece) if part.batch == done[0] else part.documents
            pieces.append(Piece(part, 0, int(end)))
        self._store.remove(self._kept_walk, again)
        return pieces

    def _require_collection(self) -> None:
        """Raises ``BatchFailed`` for a collection that was dropped or renamed; deleted documents make it anew."""
        collection, is_known = self._walk.collection, self._walk.checkpoint.uuid is not None
        if is_known or self._kept_walk.deletes or collection.find_one({}, {"_id": 1}):
            return
        raise BatchFailed(
            f"{collection.name} was dropped or renamed, so nothing of it can be put back. If it was renamed, give it"
            " back its name, and roll back again. If it was dropped, all that is left is to forget the migration."
        )

    def _next(self, waiting: Sequence[Piece]) -> list[Piece]:
        """The last pieces, the last one first, that fit into the next batch."""
        size, room = self._walk.next_size, MAX_JOINED_BYTES
        chosen: list[Piece] = []
        ids: set[bytes] = set()
        for piece in reversed(waiting):
            if not chosen:
                piece = piece._replace(begin=max(piece.begin, piece.end - size))
            elif piece.documents > size or piece.part.bytes > room:
                break
            of_piece = {id.raw for id in self._open(piece.part).ids[piece.begin : piece.end]}
            # In another batch the same document may stand once more, where a standalone has done a batch twice.
            if not ids.isdisjoint(of_piece):
                break
            chosen.append(piece)
            ids |= of_piece
            size, room = size - piece.documents, room - piece.part.bytes
            if piece.begin:
                break
        self._opened = {piece.part: self._opened[piece.part] for piece in chosen}
        return chosen

    def _put_back(self, pieces: Sequence[Piece], session: ClientSession | None) -> BatchResult:
        left: Counter[str] = Counter()
        examples: dict[str, list[str]] = {}
        writes = Writes(self._walk, session)
        leftovers = [(piece, self._put_back_piece(piece, writes, left, examples)) for piece in pieces]
        writes.send()
        gone = [piece.part for piece, entries in leftovers if self._store_again(piece, entries, session)]
        self._store.remove(self._kept_walk, gone, session)
        place = dict(zip(("batch", "piece"), pieces[-1].place))
        done = sum(piece.documents for piece in pieces)
        return BatchResult([place], done, writes.count, _sum(self._walk.checkpoint.left, left, examples))

    def _put_back_piece(
        self, piece: Piece, writes: Writes, left: Counter[str], examples: dict[str, list[str]]
    ) -> list[Entry]:
        """Prepare the writes of a piece; returns the documents that are left as they are."""
        entries = []
        # From the last to the first: a unique index then allows each step, as it did on the way there.
        for entry in reversed(list(self._entries(piece, writes.session))):
            reason = self._reason(entry)
            if reason:
                entries.append(entry)
                left[reason] += 1
                examples.setdefault(reason, []).append(id_text(entry.id))
            elif entry.now != entry.before:
                self._write(writes, entry)
        return entries[::-1]

    def _store_again(self, piece: Piece, entries: Sequence[Entry], session: ClientSession | None) -> bool:
        """Keep the documents that were left as they are; returns whether the part is to be removed."""
        part = piece.part
        if len(entries) == part.documents:
            return False
        if entries:
            streams = {BEFORE: [entry.before for entry in entries], AFTER: [entry.after for entry in entries]}
            again = Part(part.batch, part.piece + piece.begin, len(entries), sum(map(len, streams[BEFORE])))
            self._store.insert(self._kept_walk, again, streams, session)
        return not piece.begin

    def _open(self, part: Part) -> Opened:
        if part not in self._opened:
            before, after = self._store.read(self._kept_walk, part)
            self._opened[part] = Opened(before, after, list(map(id_of, before)))
        return self._opened[part]

    def _entries(self, piece: Piece, session: ClientSession | None) -> Iterator[Entry]:
        opened, part = self._open(piece.part), slice(piece.begin, piece.end)
        before, after, ids = opened.before[part], opened.after[part], opened.ids[part]
        now = self._read_now(ids, after, session)
        if after and now == after:  # nobody has changed any, which is the rule and saves half of the work
            return map(Entry, before, after, after, ids)
        now_by_id = {id_of(document).raw: document for document in now}
        return map(Entry, before, after or itertools.repeat(b""), (now_by_id.get(id.raw) for id in ids), ids)

    def _read_now(self, ids: Sequence[Element], after: Sequence[bytes], session: ClientSession | None) -> list[bytes]:
        """The documents with these ``_id``s, those that are there."""
        collection, condition = self._walk.collection, raw_bounds(ids)
        if after and condition and self._is_dense:
            within = {"_id": RawBSONDocument(document_of(condition))}
            now = read_raw(collection, within, self._projection, session, limit=len(ids) + 1)
            if now == after:  # a range is read faster than so many _ids
                return now
            self._is_dense = len(now) <= len(ids)
        return read_by_ids(collection, ids, self._projection, session)

    def _reason(self, entry: Entry) -> str:
        """Why the document is left as it is; empty if it is put back, or is already as it was."""
        now = entry.now
        if now == entry.before:
            return ""
        if self._kept_walk.deletes:
            return "" if now is None or self._overwrite else THERE_AGAIN
        if now is None:
            return DELETED
        return "" if self._overwrite or now == entry.after else CHANGED

    def _write(self, writes: Writes, entry: Entry) -> None:
        fields, now = self._kept_walk.fields, entry.now
        if now is None:
            writes.insert(entry)
        elif fields is None:
            writes.replace(entry.id, entry.before)
        elif _have_twins(fields, entry.before, now):
            writes.replace(entry.id, self._merged(writes, entry, fields))
        else:
            writes.set_fields(entry, fields)

    def _merged(self, writes: Writes, entry: Entry, fields: Sequence[str]) -> bytes:
        """The whole document with the kept fields as they were, for one in which a field stands twice."""
        names = {name.encode() for name in fields}
        (whole,) = read_by_ids(self._walk.collection, [entry.id], None, writes.session)
        others = b"".join(each.raw for each in elements(whole) if each.name not in names)
        return document_of(others + b"".join(each.raw for each in elements(entry.before) if each.name in names))


class Writes:
    """The writes of one batch, sent as they are stored: nothing is decoded."""

    def __init__(self, walk: Walk, session: ClientSession | None) -> None:
        self._walk = walk
        self.session = session
        self._inserts: list[tuple[Element, bytes]] = []
        self._updates: list[tuple[Element, bytes]] = []

    @property
    def count(self) -> int:
        return len(self._inserts) + len({id.raw for id, _ in self._updates} - {id.raw for id, _ in self._inserts})

    def insert(self, entry: Entry) -> None:
        self._inserts.append((entry.id, entry.before))
        self._restore_empty_timestamps(entry.id, entry.before)

    def replace(self, id: Element, document: bytes) -> None:
        change = element(DOCUMENT, b"u", document)
        if b"$" in document and any(each.name.startswith(b"$") for each in elements(document)):
            # MongoDB takes a document with such a field from an insert or from a pipeline only.
            stage = subdocument(b"$replaceWith", element(DOCUMENT, b"$literal", document))
            change = element(ARRAY, b"u", document_of(subdocument(b"0", stage)))
        self._update(id, change)
        self._restore_empty_timestamps(id, document)

    def set_fields(self, entry: Entry, fields: Sequence[str]) -> None:
        present = fields_behind_id(entry.before, entry.id)
        if len(fields) == 1:  # then its name need not be looked for
            missing = [] if present else [fields[0].encode()]
        else:
            names = {each.name for each in elements(entry.before)}
            missing = [name for name in map(str.encode, fields) if name not in names]
        if not missing:
            self._updates.append((entry.id, set_statement(entry.id.raw, present)))
            return
        change = subdocument(b"$set", present) if present else b""
        change += subdocument(b"$unset", b"".join(element(BOOLEAN, name, b"\1") for name in missing))
        self._update(entry.id, subdocument(b"u", change))

    def _update(self, id: Element, change: bytes) -> None:
        self._updates.append((id, document_of(subdocument(b"q", id.raw) + change)))

    def _restore_empty_timestamps(self, id: Element, document: bytes) -> None:
        if EMPTY_TIMESTAMP not in document:
            return
        found = [
            each.raw
            for each in elements(document)
            if each.kind == TIMESTAMP and each.value == EMPTY_TIMESTAMP and each.name != b"_id"
        ]
        if found:
            self._update(id, subdocument(b"u", subdocument(b"$set", b"".join(found))))

    def send(self) -> None:
        """Raises ``BatchFailed`` that names the document which MongoDB refuses."""
        self._send("insert", "documents", self._inserts)
        self._send("update", "updates", self._updates)

    def _send(self, command: str, key: str, statements: Sequence[tuple[Element, bytes]]) -> None:
        collection = self._walk.collection
        for group in _groups(statements):
            listed = RawDocuments(b"".join(statement for _, statement in group))
            written = {command: collection.name, key: [listed]}
            reply = collection.database.command(written, session=self.session, codec_options=EXACTLY)
            failures = reply.get("writeErrors")
            if failures:
                id, _ = group[failures[0]["index"]]
                raise BatchFailed(self._refusal(id, failures[0]))

    def _refusal(self, id: Element, failure: Mapping[str, Any]) -> str:
        where = f"{self._walk.collection.name}, _id {id_text(id)}"
        so_far = "nothing of its batch is put back" if self.session else "its batch is only partly put back"
        values = failure.get("keyValue")
        if failure["code"] != DUPLICATE_KEY or not values:
            return f"{where} cannot be put back ({write_refusal(failure)}): {so_far}"
        wanted = {name: {"$eq": value} for name, value in values.items()}
        found = b"".join(self._walk.collection.find_raw_batches(wanted, {"_id": 1}, limit=MAX_EXAMPLES))
        others = ", ".join(id_text(id_of(document)) for document in split(found))
        same = ", ".join(f"{name}: {shorten(repr(value), MAX_VALUE_LENGTH)}" for name, value in values.items())
        return (
            f"{where} cannot be put back, because _id {others or 'unknown'} has the same value in a unique index"
            f" ({same}): {so_far}. Change or delete one of the two"
        )


def set_statement(id: bytes, fields: bytes) -> bytes:
    """The statement ``{q: {id}, u: {$set: {fields}}}``."""
    # As document_of() and subdocument() make it, in a third of the time: there is one for each document.
    set_length = len(fields) + 5
    u_length, q_length = set_length + 11, len(id) + 5
    head = _statement_head(q_length + u_length + 11, b"\3q\0", q_length)
    return head + id + _set_head(b"\0\3u\0", u_length, b"\3$set\0", set_length) + fields + b"\0\0\0"


def _groups(statements: Sequence[tuple[Element, bytes]]) -> Iterator[list[tuple[Element, bytes]]]:
    """The statements in groups that fit into one command."""
    group: list[tuple[Element, bytes]] = []
    size = 0
    for each in statements:
        if group and size + len(each[1]) > MAX_COMMAND_BYTES:
            yield group
            group, size = [], 0
        group.append(each)
        size += len(each[1])
    if group:
        yield group


def _have_twins(fields: Sequence[str], *documents: bytes) -> bool:
    """Whether one of the fields stands twice in one of the documents."""
    for field in fields:
        name = field.encode()
        for document in documents:
            # Counting bytes is quick, and nearly always enough.
            if document.count(name + b"\0") > 1 and [each.name for each in elements(document)].count(name) > 1:
                return True
    return False


def _sum(before: Mapping[str, Any], left: Mapping[str, int], examples: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """How many documents were left until now, by reason, with the first ``_id``s."""
    total = dict(before)
    for reason, count in left.items():
        known = total.get(reason, {"documents": 0, "ids": []})
        # The walk goes from the last document to the first.
        ids = [*examples[reason][::-1], *known["ids"]][:MAX_EXAMPLES]
        total[reason] = {"documents": known["documents"] + count, "ids": ids}
    return total


def restored_sentences(name: str, restored: int, left: Mapping[str, Any]) -> Iterator[str]:
    """How many documents are put back, and ``3 documents of users were changed since and are left as they are: ...``"""
    yield f"{plural(restored, 'document')} of {name} {'is' if restored == 1 else 'are'} put back"
    for reason, sentence in SENTENCES.items():
        if reason in left:
            number, ids = left[reason]["documents"], left[reason]["ids"]
            more = f" and {number - len(ids):,} more" if number > len(ids) else ""
            one = number == 1
            yield sentence.format(
                documents=plural(number, "document"),
                name=name,
                were="was" if one else "were",
                are="is" if one else "are",
                they_are="it is" if one else "they are",
                ids=", ".join(ids) + more,
            )
