"""What was executed, and what else happened to migrations: the collections ``migrations`` and ``migrations_log``."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Iterable, Literal, Mapping, NamedTuple, Sequence, cast

from bson import ObjectId
from pymongo.errors import AutoReconnect, DuplicateKeyError

from ..errors import RegisteredMeanwhile
from ..mongo.client import RETRY_PAUSE
from ..mongo.clock import literally
from ..mongo.concerns import MAJORITY_TIMEOUT, durable
from ..mongo.failures import explains_server_errors
from . import documents
from .documents import ForeignDocument

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from .names import Names

State = Literal["executed", "ignored"]

EventKind = Literal[
    "failed",
    "interrupted",
    "rolled back",
    "rollback failed",
    "forgotten",
    "unlocked",
    "restore begun",
    "restore failed",
    "restored",
]

HALF_RESTORED = "half restored"
"""The ``_id`` of the one document among the registrations that is none: a restore has begun and not ended."""


class Record(NamedTuple):
    """A registered migration. Of those that 1.0 registered only the name and the time are known.

    ``at`` is the server's time, ``seconds`` how long ``up()`` took, ``by`` is ``user@host``, ``dump`` the path of the
    dump taken before, with the number of documents in it and its size on disk.
    """

    name: str
    at: datetime | None = None
    state: State = "executed"
    seconds: float | None = None
    by: str | None = None
    checksum: str | None = None
    dump: str | None = None
    dump_documents: int | None = None
    dump_bytes: int | None = None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Record | None:
        """None if it is no registration: that has a name. Of a document that 1.0 wrote the time is its ``_id``'s."""
        get = document.get
        name, at = documents.name(get("name")), documents.moment(get("at"))
        if name is None:
            return None
        if at is None and isinstance(get("_id"), ObjectId):
            at = document["_id"].generation_time
        texts: dict[str, Any] = {key: documents.text(get(key)) for key in ("by", "checksum", "dump")}
        state: State = "ignored" if get("state") == "ignored" else "executed"
        numbers: dict[str, Any] = {key: documents.number(get(key)) for key in ("dump_documents", "dump_bytes")}
        return cls(name, at, state, documents.seconds(get("seconds")), **texts, **numbers)

    def is_older(self, other: Record) -> bool:
        return other.at is not None and (self.at is None or self.at < other.at)


class HalfRestored(NamedTuple):
    """A restore of the dump ``dump`` that has begun and not ended: its run goes on, or died, or failed."""

    dump: str
    at: datetime | None
    by: str

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> HalfRestored:
        get = document.get
        return cls(documents.text(get("dump")) or "?", documents.moment(get("at")), documents.text(get("by")) or "?")


class Event(NamedTuple):
    """One line of the log. ``name`` is None where the event was about no single migration.

    ``by`` is who has written it, ``run`` describes the run that was interrupted or unlocked. ``logged_until`` is, of a
    restore, the time of the last event that the dump knew of, if there is one.
    """

    event: EventKind
    name: str | None
    at: datetime
    by: str | None = None
    seconds: float | None = None
    error: str | None = None
    executed_at: datetime | None = None
    dump: str | None = None
    run: str | None = None
    logged_until: datetime | None = None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Event | None:
        """None if it is none of ours: an event has a kind and a time, and a name or none."""
        get = document.get
        kind, at, name = documents.text(get("event")), documents.moment(get("at")), documents.name(get("name"))
        if kind is None or at is None or (name is None and get("name") is not None):
            return None
        texts: dict[str, Any] = {key: documents.text(get(key)) for key in ("by", "error", "dump", "run")}
        moments: dict[str, Any] = {key: documents.moment(get(key)) for key in ("executed_at", "logged_until")}
        return cls(cast("EventKind", kind), name, at, seconds=documents.seconds(get("seconds")), **moments, **texts)


class History:
    """The registered migrations. A document with a ``name`` means: this file is never executed again.

    Nothing that was read is kept: each question is one read of one collection. ``foreign`` are the documents met
    there that are not ours; ``by`` is who writes here now.
    """

    def __init__(self, db: Database[dict[str, Any]], names: Names, *, address: str, by: str, version: str) -> None:
        self.address = address
        self._collection = durable(db[names.migrations])
        self._log = durable(db[names.log])
        self.by = by
        self._version = version
        self.foreign: set[ForeignDocument] = set()

    def registered(self) -> dict[str, Record]:
        """The registered migrations by name."""
        return self.read()[0]

    @explains_server_errors
    def read(self) -> tuple[dict[str, Record], HalfRestored | None]:
        """The registered migrations by name, of one that 1.0 registered twice the first; and a restore without end."""
        records: dict[str, Record] = {}
        half_restored = None
        for document in documents.all_of(self._collection, {}, self.foreign):
            record = Record.read(document)
            if document["_id"] == HALF_RESTORED:
                half_restored = HalfRestored.read(document)
            elif record is None and "name" in document:
                self.foreign.add(
                    ForeignDocument.met(self._collection.name, document, "its name is none of a migration")
                )
            elif record and record.is_older(records.setdefault(record.name, record)):
                records[record.name] = record
        return records, half_restored

    @explains_server_errors
    def register(self, record: Record, confirm: Callable[[], None], session: ClientSession | None = None) -> None:
        """Register a migration.

        Outside a transaction a write that finds no server is tried again as long as ``confirm()`` raises nothing. It
        may have arrived all the same: then the document that is there is this one. Raises ``RegisteredMeanwhile`` if it
        is another run's, and ``ServerFailed`` for any other document, or index, that is in the way.
        """
        document = self._document(record)
        lost_touch = False
        while True:
            try:
                self._collection.insert_one(document, session=session)
                return
            except AutoReconnect:
                if session:
                    raise
                lost_touch = True
                time.sleep(RETRY_PAUSE)
                confirm()
            except DuplicateKeyError:
                found = self._collection.find_one({"_id": record.name}, max_time_ms=MAJORITY_TIMEOUT)
                if lost_touch and found == document:
                    return
                if found is None or (found["_id"], found.get("name")) != (record.name, record.name):
                    raise
                raise RegisteredMeanwhile(
                    f"Another run has registered {record.name} meanwhile.", migration=record.name
                ) from None

    @explains_server_errors
    def register_again(self, records: Iterable[Record]) -> None:
        """Register those that are no longer registered, as they were."""
        self._collection.insert_many([self._document(record) for record in records])

    @explains_server_errors
    def took(self, name: str, seconds: float, session: ClientSession) -> None:
        """Add how long a migration took that was registered before it ran, in its transaction."""
        self._collection.update_one({"_id": name}, {"$set": {"seconds": seconds}}, session=session)

    @explains_server_errors
    def ignore(self, checksums: Mapping[str, str], at: datetime) -> None:
        """Register migrations that were not executed, by name, all in one write."""
        ignored = Record("", at=at, state="ignored", by=self.by)
        records = [ignored._replace(name=name, checksum=checksum) for name, checksum in checksums.items()]
        self._collection.insert_many([self._document(record) for record in records])

    def _document(self, record: Record) -> dict[str, Any]:
        return {"_id": record.name, **_known(record), "migopy": self._version}

    @explains_server_errors
    def unregister(self, name: str, session: ClientSession | None = None) -> None:
        """Take the registration back; 1.0 could register a name twice, so all of them."""
        self._collection.delete_many({"name": name}, session=session)

    @explains_server_errors
    def log(self, event: EventKind, name: str | None, session: ClientSession | None = None, **facts: Any) -> None:
        """Append an event to the log."""
        given = {"event": event, "name": name, "by": self.by, **documents.storable(facts)}
        self._log.update_one({"_id": ObjectId()}, _at_server_time(given), upsert=True, session=session)

    @explains_server_errors
    def make_collections(self) -> None:
        """Make the collections that transactions write to, where they do not exist yet."""
        db = self._collection.database
        there = db.list_collection_names(authorizedCollections=True)  # whoever may write to them may ask that
        for name in (self._collection.name, self._log.name):
            if name not in there:
                db.command("create", name, writeConcern=self._collection.write_concern.document)

    @explains_server_errors
    def begin_restore(self, dump: str) -> None:
        """From now on the database counts as half restored."""
        self.log("restore begun", None, dump=dump)
        facts = documents.storable({"dump": dump, "by": self.by})
        self._collection.update_one({"_id": HALF_RESTORED}, _at_server_time(facts), upsert=True)

    @explains_server_errors
    def end_restore(self, dump: str, registrations: Sequence[RawBSONDocument], logged_until: datetime | None) -> None:
        """The registrations that are in the dump take the place of those that are here."""
        self._collection.delete_many({"_id": {"$ne": HALF_RESTORED}})
        registered = [document for document in registrations if document["_id"] != HALF_RESTORED]
        if registered:
            self._collection.insert_many(registered)
        self.log("restored", None, dump=dump, logged_until=logged_until)
        self._collection.delete_one({"_id": HALF_RESTORED})

    @explains_server_errors
    def events(self, name: str | None = None) -> list[Event]:
        """The log in the order of time, whole or for one migration."""
        wanted = {} if name is None else {"name": name}
        events = []
        for document in documents.all_of(self._log, wanted, self.foreign, sort=[("at", 1), ("_id", 1)]):
            event = Event.read(document)
            if event is None:
                self.foreign.add(ForeignDocument.met(self._log.name, document, "it has no event, or no time"))
            else:
                events.append(event)
        return events

    @explains_server_errors
    def unlocked_since(self, moment: datetime) -> bool:
        """Whether the subtask unlock has taken a lock away from that moment on."""
        wanted = {"event": "unlocked", "at": {"$gte": moment}}
        return self._log.count_documents(wanted, limit=1, maxTimeMS=MAJORITY_TIMEOUT) > 0

    def last_events(self) -> dict[str, Event]:
        """The last event of each migration that has one, of those that no restore has undone."""
        standing: list[Event] = []
        for event in self.events():
            if event.event == "restored":
                until = event.logged_until
                standing = [earlier for earlier in standing if until and earlier.at <= until]
            standing.append(event)
        return {event.name: event for event in standing if event.name}


def _known(record: Record) -> dict[str, Any]:
    return documents.storable({key: value for key, value in record._asdict().items() if value is not None})


def _at_server_time(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The update that writes these facts and ``at``: an insert cannot ask for the server's time, an update can."""
    known = {key: value for key, value in facts.items() if value is not None or key == "name"}
    return [{"$set": {**literally(known), "at": "$$NOW"}}]
