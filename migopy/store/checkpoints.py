"""How far each walk of a migration is: the collection ``migrations_batches``."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Iterable, Mapping, NamedTuple, Sequence

import bson
from bson import ObjectId

from ..mongo.concerns import EXACT_IDS, EXACTLY, majority_collection
from ..mongo.failures import explains_server_errors
from ..terminal.wording import plural
from . import documents

if TYPE_CHECKING:
    from pymongo.database import Database

    from .documents import ForeignDocument
    from .names import Names


LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Identity(NamedTuple):
    """Which walk of a migration it is.

    ``call`` counts the walks through the same collection: while the file is the same, it identifies the walk.
    ``filter`` is a digest, and ``nth`` counts the walks with the same collection and filter: they identify the walk
    after the file has changed.
    """

    collection: str
    filter: str
    nth: int
    call: int = 0
    """0 in a checkpoint that an older migopy has written."""


class Checkpoint(NamedTuple):
    """How far a walk is, in whole batches: ``done`` documents in ``seconds``.

    ``update`` says what the walk does: a digest, or the name of a function. ``session`` is the server session of the
    run that is at work on it; no other run moves it.
    """

    migration: str
    direction: str
    identity: Identity
    total: int | None = None
    update: str = ""
    checksum: str = ""
    done: int = 0
    changed: int = 0
    seconds: float = 0.0
    finished: bool = False
    at: datetime | None = None
    session: Any = None
    last: tuple[Any, ...] = ()
    """The last ``_id``; empty before the first batch, because None can be an ``_id``."""
    end: tuple[Any, ...] = ()
    """The greatest ``_id`` when the walk began; empty if that is not known."""
    asked: bytes = b""
    """The filter that the walk began with, as BSON; empty if that is not known."""
    uuid: Any = None
    """MongoDB's id of the collection that the walk began with; None if that is not known."""
    id: Any = None
    """The ``_id`` of the document that this was read from."""
    kept: tuple[int, int] | None = None
    """Where what the walk replaces is kept: which execution of the migration, and which walk of it."""
    left: Mapping[str, Any] = {}
    """Of a restore: how many documents it has left alone, by reason."""
    cuts: tuple[Any, ...] = ()
    """The ``_id``s at which the walk is cut into parts; empty for a walk of one part."""
    sessions: tuple[Any, ...] = ()
    """Of a walk in parts: the server sessions of the workers."""
    rejected: int | None = None
    """How many documents are set aside now; None if none ever was."""
    left_out: int = 0
    """How many of those that were set aside a person has decided to leave as they are."""

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Checkpoint | None:
        """None for a document that is not a checkpoint."""
        get = document.get
        migration, direction = documents.name(get("migration")), documents.text(get("direction"))
        identity, done = _identity(document), documents.number(get("done"))
        if migration is None or direction is None or identity is None or done is None:
            return None
        in_parts = _mapping(get("parts"))
        asked = in_parts.get("asked", get("asked"))
        return cls(
            migration,
            direction,
            identity,
            documents.number(get("total")),
            documents.text(get("update")) or "",
            documents.text(get("checksum")) or "",
            done,
            documents.number(get("changed")) or 0,
            documents.seconds(get("seconds")) or 0.0,
            get("finished") is True,
            documents.moment(get("at")),
            get("session"),
            _one_or_none(document, "last"),
            _one_or_none(document, "end"),
            bytes(asked) if isinstance(asked, bytes) else b"",
            get("uuid"),
            get("_id"),
            _kept(get("kept")),
            _mapping(get("left")),
            tuple(in_parts.get("cuts", ())),
            tuple(in_parts.get("sessions", ())),
            documents.number(get("rejected")),
            documents.number(get("left_out")) or 0,
        )

    def parts(self, stored: Iterable[Mapping[str, Any]]) -> list[Checkpoint]:
        """The checkpoints of the parts of this walk, which these documents hold."""
        return [self._part(document["_id"]["part"], document) for document in stored]

    def _part(self, number: int, document: Mapping[str, Any]) -> Checkpoint:
        get = document.get
        begin = self.cuts[number - 1 : number] if number else ()
        return self._replace(
            done=documents.number(get("done")) or 0,
            changed=documents.number(get("changed")) or 0,
            seconds=documents.seconds(get("seconds")) or 0.0,
            finished=get("finished") is True,
            at=documents.moment(get("at")),
            last=_one_or_none(document, "last") or begin,
            end=self.cuts[number : number + 1] or self.end,
            id=document["_id"],
            rejected=documents.number(get("rejected")),
            left_out=documents.number(get("left_out")) or 0,
        )

    def with_parts(self, parts: Sequence[Checkpoint]) -> Checkpoint:
        """This walk, with what its parts have done."""
        moments = [part.at for part in (self, *parts) if part.at]
        rejected = [part.rejected for part in parts if part.rejected is not None]
        return self._replace(
            done=sum(part.done for part in parts),
            changed=sum(part.changed for part in parts),
            seconds=sum(part.seconds for part in parts),
            at=max(moments, default=None),
            rejected=sum(rejected) if rejected else None,
            left_out=sum(part.left_out for part in parts),
        )

    def part_ids(self) -> list[dict[str, Any]]:
        """The ``_id``s of the documents of the parts."""
        return [{"walk": self.id, "part": number} for number in range(len(self.cuts) + 1)]

    def filter(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The filter that the walk began with, or the one that the file gives now where that is not known."""
        if not self.asked:
            return given
        began_with: Mapping[str, Any] = bson.decode(self.asked, EXACTLY)[""]
        return began_with

    @property
    def progress(self) -> Progress:
        facts = self.done, self.total, self.seconds, self.at, self.rejected or 0
        return Progress(self.migration, self.identity.collection, *facts)


def is_part(document: Mapping[str, Any]) -> bool:
    """Whether the document is the checkpoint of one part of a walk."""
    id = document["_id"]
    return (
        isinstance(id, dict) and isinstance(id.get("walk"), ObjectId) and documents.number(id.get("part")) is not None
    )


def _identity(document: Mapping[str, Any]) -> Identity | None:
    collection, filter = documents.text(document.get("collection")), documents.text(document.get("filter"))
    nth, call = documents.number(document.get("nth")), documents.number(document.get("call"))
    return None if collection is None or filter is None or nth is None else Identity(collection, filter, nth, call or 0)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _one_or_none(document: Mapping[str, Any], key: str) -> tuple[Any, ...]:
    """The value as a tuple, which is empty if there is none: None can be a value."""
    return (document[key],) if key in document else ()


def _kept(value: Any) -> tuple[int, int] | None:
    numbers = [documents.number(number) for number in value] if isinstance(value, list) else []
    return None if len(numbers) != 2 or None in numbers else (value[0], value[1])


def encoded(value: Any) -> bytes:
    """A filter or an update as BSON."""
    return bson.encode({"": value}, codec_options=EXACTLY)


def digest(value: Any) -> str:
    """The same text for the same filter or update, in every run."""
    return hashlib.sha256(encoded(value)).hexdigest()


class Walked(NamedTuple):
    """What the walks of a migration did in one collection: how many documents they went through, and changed.

    ``left_out`` of them were set aside, and a person has decided to leave them as they are. ``deleted`` is None if no
    walk was to delete any. ``is_missing`` says that there was no such collection, or none that the user may see.
    ``empty`` of the ``walks`` found no document.
    """

    collection: str
    documents: int
    changed: int
    left_out: int = 0
    is_missing: bool = False
    deleted: int | None = None
    walks: int = 1
    empty: int = 0

    @classmethod
    def from_checkpoint(cls, walk: Checkpoint, *, deletes: bool) -> Walked:
        changed, deleted = (0, walk.changed) if deletes else (walk.changed, None)
        is_missing = walk.uuid is None and not walk.end
        collection = walk.identity.collection
        return cls(collection, walk.done, changed, walk.left_out, is_missing, deleted, empty=int(not walk.done))

    def plus(self, other: Walked) -> Walked:
        """Both together, for the same collection."""
        deleted = None if self.deleted is None and other.deleted is None else (self.deleted or 0) + (other.deleted or 0)
        return Walked(
            self.collection,
            self.documents + other.documents,
            self.changed + other.changed,
            self.left_out + other.left_out,
            self.is_missing and other.is_missing,
            deleted,
            self.walks + other.walks,
            self.empty + other.empty,
        )

    @classmethod
    def from_value(cls, value: object) -> Walked | None:
        """None for a value that is not what the history stores."""
        get = value.get if isinstance(value, dict) else {}.get
        collection = documents.text(get("collection"))
        numbers = documents.number(get("documents")), documents.number(get("changed"))
        if collection is None or numbers[0] is None or numbers[1] is None:
            return None
        left_out, deleted = documents.number(get("left_out")) or 0, documents.number(get("deleted"))
        return cls(collection, numbers[0], numbers[1], left_out, deleted=deleted)

    def facts(self) -> dict[str, Any]:
        """What the history stores."""
        facts = {"collection": self.collection, "documents": self.documents, "changed": self.changed}
        if self.left_out:
            facts["left_out"] = self.left_out
        return facts if self.deleted is None else {**facts, "deleted": self.deleted}

    def __str__(self) -> str:
        """``events: 220,000 documents changed, 12 documents deleted``"""
        name = self.collection.partition(".")[2]  # without the name of the database
        if self.is_missing:
            return f"there is no collection {name}, so nothing in it was changed"
        parts = [f"{plural(self.deleted, 'document')} deleted"] if self.deleted is not None else []
        to_change = self.documents - (self.deleted or 0)
        if to_change or not parts:
            number = f"{self.changed:,} of " if self.changed < to_change else ""
            parts.insert(0, f"{number}{plural(to_change, 'document')} changed")
        if self.left_out:
            parts.append(f"{self.left_out:,} left out")
        some_empty = f"; {self.empty} of {self.walks} walks found no document" if 0 < self.empty < self.walks else ""
        return f"{name}: {', '.join(parts)}{some_empty}"


class Checkpoints:
    """The collection of all checkpoints."""

    def __init__(self, db: Database[dict[str, Any]], names: Names, *, address: str, by: str) -> None:
        self.address = address
        self.foreign: set[ForeignDocument] = set()
        self.collection = majority_collection(db, names.batches, codec_options=EXACT_IDS)
        self.by = by

    @explains_server_errors
    def find(self, wanted: Mapping[str, Any]) -> list[Checkpoint]:
        """The checkpoints that match, the newest last. Walks in parts have the sums of their parts."""
        found = []
        parts: dict[Any, list[Mapping[str, Any]]] = {}
        for document in documents.read_all(self.collection, wanted, self.foreign, sort=[("at", 1), ("_id", 1)]):
            checkpoint = Checkpoint.from_document(document)
            if is_part(document):
                parts.setdefault(document["_id"]["walk"], []).append(document)
            elif checkpoint is not None:
                found.append(checkpoint)
            else:
                why = "it is not a checkpoint of a migration"
                self.foreign.add(documents.ForeignDocument.from_document(self.collection.name, document, why))
        found = [walk.with_parts(walk.parts(parts.get(walk.id, ()))) if walk.cuts else walk for walk in found]
        return sorted(found, key=lambda walk: walk.at or LONG_AGO)

    @explains_server_errors
    def progress(self, directions: Mapping[str, str]) -> dict[str, Progress]:
        """How far the newest walk of each of these migrations is, in the direction given for it."""
        newest = self.find({"migration": {"$in": list(directions)}})
        return {each.migration: each.progress for each in newest if directions[each.migration] == each.direction}

    @explains_server_errors
    def leave_out(self, migration: str) -> int:
        """Have a migration leave what it has set aside as it is; how many documents that are."""
        wanted = {"migration": migration, "rejected": {"$gt": 0}}
        left_out: int = sum(found["rejected"] for found in self.collection.find(wanted, {"rejected": 1}))
        more = {"$add": [{"$ifNull": ["$left_out", 0]}, "$rejected"]}
        self.collection.update_many(wanted, [{"$set": {"left_out": more, "rejected": 0}}])
        return left_out

    @explains_server_errors
    def forget(self, migrations: Iterable[str]) -> None:
        names = list(migrations)
        if names:
            self.collection.delete_many({"migration": {"$in": names}})


class Progress(NamedTuple):
    """``done`` documents of about ``total``, None if that is not known, in ``seconds``; measured ``at`` that time.

    ``rejected`` of them are set aside.
    """

    migration: str
    collection: str
    done: int
    total: int | None
    seconds: float
    at: datetime | None = None
    rejected: int = 0

    @property
    def documents(self) -> str:
        """``412,000 of 1,000,000 documents of users (3 set aside)``"""
        return f"{self._count} of {self.collection.partition('.')[2]}{self._set_aside}"  # without the database

    @property
    def _count(self) -> str:
        of_all = f" of {max(self.total, self.done):,}" if self.total is not None else ""
        return f"{self.done:,}{of_all} documents"

    @property
    def _set_aside(self) -> str:
        return f" ({self.rejected:,} set aside)" if self.rejected else ""

    @property
    def rate(self) -> float | None:
        """Documents a second; None before the first batch."""
        return self.done / self.seconds if self.done and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate

    def while_waiting(self, waiting_for: str) -> str:
        """``012_tags.py: 412,000 of 1,000,000 documents; waiting for ...``: how long it takes is not known then."""
        return f"{self.migration}: {self._count}{self._set_aside}; {waiting_for}"

    def __str__(self) -> str:
        """``012_tags.py: 412,000 of 1,000,000 documents, 9,800 a second, 1 min left``"""
        speed = f", {_round(self.rate):,} a second" if self.rate else ""
        left = f", {_rough_duration(self.seconds_left)} left" if self.seconds_left is not None else ""
        return f"{self.migration}: {self._count}{self._set_aside}{speed}{left}"


def _round(rate: float) -> int:
    """To two digits: 9,800."""
    unit: int = 10 ** max(0, len(str(int(rate))) - 2)
    return max(1, round(rate / unit) * unit)


def _rough_duration(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 59.5:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
