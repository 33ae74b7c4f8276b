"""What was executed, and what else happened to migrations: the collections ``migrations`` and ``migrations_log``."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Iterable, Literal, Mapping, NamedTuple, Protocol, Sequence, cast

from bson import ObjectId
from pymongo.errors import AutoReconnect, DuplicateKeyError
from pymongo.read_concern import ReadConcern

from ..errors import RegisteredMeanwhile
from ..mongo.client import RETRY_PAUSE_SECONDS
from ..mongo.clock import literals
from ..mongo.concerns import MAJORITY_TIMEOUT_MS, majority_collection
from ..mongo.failures import explains_server_errors
from . import documents
from .checkpoints import Walked
from .documents import ForeignDocument

if TYPE_CHECKING:
    from bson.raw_bson import RawBSONDocument
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from .names import Names

State = Literal["executed", "ignored"]


class Checksums(Protocol):
    """What a file is recognized by."""

    @property
    def checksum(self) -> str: ...

    @property
    def code_checksum(self) -> str | None: ...


EventKind = Literal[
    "failed",
    "stopped",
    "interrupted",
    "rolled back",
    "rollback failed",
    "rollback stopped",
    "forgotten",
    "accepted",
    "unlocked",
    "restore begun",
    "restore failed",
    "restored",
    "pause requested",
    "resume requested",
    "stop requested",
    "pace requested",
    "documents left out",
]

BESIDES: tuple[EventKind, ...] = (
    "pause requested",
    "resume requested",
    "stop requested",
    "pace requested",
    "documents left out",
)
"""What other terminals have asked of a run or decided about it; it says nothing about how a migration ended."""

IN_ORDER = [("at", 1), ("_id", 1)]
"""The order of time in the log."""

UNFINISHED_RESTORE = "half restored"
"""The ``_id`` of a document among the registrations that says: a restore has begun and has not finished."""


class Record(NamedTuple):
    """A registered migration. Only name and time are known of one that migopy 1.0 registered.

    ``at`` is the server's time, ``seconds`` how long ``up()`` took, ``by`` is ``user@host``. ``dump`` is the path of
    the dump taken before, with the number of documents in it and its size on disk. ``kept_documents`` is how many
    documents ``up()`` has kept, and ``kept_run`` the number under which they are kept; ``kept_name`` is the name, if
    the file was renamed since. ``walks`` is what it did in batches, by collection, as ``Walked.facts()``.
    ``rejected_documents``, of one that was ignored, is how many documents it had set aside before that.
    """

    name: str
    at: datetime | None = None
    state: State = "executed"
    seconds: float | None = None
    by: str | None = None
    checksum: str | None = None
    code_checksum: str | None = None
    dump: str | None = None
    dump_documents: int | None = None
    dump_bytes: int | None = None
    kept_run: int | None = None
    kept_documents: int | None = None
    kept_name: str | None = None
    rejected_documents: int | None = None
    walks: Sequence[Mapping[str, Any]] | None = None

    @property
    def to_restore(self) -> tuple[str, int | None]:
        """The name and the number under which a rollback finds what is kept.

        The number is 0 if this execution has kept nothing, and None for the last one that has.
        """
        return self.kept_name or self.name, None if self.state == "ignored" else self.kept_run or 0

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Record | None:
        """None for a document without the name of a migration, which is not a registration."""
        get = document.get
        name, at = documents.name(get("name")), documents.moment(get("at"))
        if name is None:
            return None
        if at is None and isinstance(get("_id"), ObjectId):  # migopy 1.0 stored no other time
            at = document["_id"].generation_time
        text_keys = ("by", "checksum", "code_checksum", "dump", "kept_name")
        texts: dict[str, Any] = {key: documents.text(get(key)) for key in text_keys}
        state: State = "ignored" if get("state") == "ignored" else "executed"
        counts = ("dump_documents", "dump_bytes", "kept_run", "kept_documents", "rejected_documents")
        numbers: dict[str, Any] = {key: documents.number(get(key)) for key in counts}
        return cls(name, at, state, documents.seconds(get("seconds")), **texts, **numbers, walks=_walks(get("walks")))

    @property
    def facts_of_removal(self) -> dict[str, Any]:
        """What the log keeps of the registration when it is removed."""
        return {
            "executed_at": self.at,
            "executed_by": self.by,
            "executed_seconds": self.seconds,
            "state": self.state,
        }

    def of_file(self, name: str, fingerprint: Checksums) -> Record:
        """The same registration for this file."""
        kept_name = self.to_restore[0] if name != self.name and self.to_restore[1] != 0 else self.kept_name
        return self._replace(
            name=name, kept_name=kept_name, checksum=fingerprint.checksum, code_checksum=fingerprint.code_checksum
        )

    def fits(self, fingerprint: Checksums) -> bool:
        """Whether the file has the code that was registered. An older migopy has stored no ``code_checksum``."""
        return fingerprint.checksum == self.checksum or (
            self.code_checksum is not None and fingerprint.code_checksum == self.code_checksum
        )

    def is_older(self, other: Record) -> bool:
        return other.at is not None and (self.at is None or self.at < other.at)


def _walks(value: object) -> list[dict[str, Any]] | None:
    found = [Walked.from_value(each) for each in value] if isinstance(value, list) else []
    return [walked.facts() for walked in found if walked] or None


class UnfinishedRestore(NamedTuple):
    """A restore of the dump ``dump`` that has begun and not finished: it is still running, or died, or failed."""

    dump: str
    at: datetime | None
    by: str

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> UnfinishedRestore:
        get = document.get
        return cls(documents.text(get("dump")) or "?", documents.moment(get("at")), documents.text(get("by")) or "?")


class Event(NamedTuple):
    """One entry of the log. ``name`` is None if it is not about a single migration.

    ``by`` wrote the entry; ``run`` describes the run that was interrupted or unlocked. ``logged_until``, of a restore,
    is the time of the last event in the dump. ``transaction`` says that a failure left nothing behind, because its
    transaction was undone. ``executed_at``, ``executed_by``, ``executed_seconds`` and ``state`` are those of the
    registration that a rollback or forget has removed. ``was`` is the name under which an accepted file was executed.
    ``because`` is why a person asked for something. ``phase`` is where it failed, if not in ``up()`` or
    ``down()``: ``before_each`` or ``verify``.
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
    transaction: bool = False
    executed_by: str | None = None
    executed_seconds: float | None = None
    state: str | None = None
    was: str | None = None
    because: str | None = None
    phase: str | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Event | None:
        """None for a document without event or time, or with a name that is not a migration's."""
        get = document.get
        kind, at, name = documents.text(get("event")), documents.moment(get("at")), documents.name(get("name"))
        if kind is None or at is None or (name is None and get("name") is not None):
            return None
        texts: dict[str, Any] = {
            key: documents.text(get(key))
            for key in ("by", "error", "dump", "run", "executed_by", "state", "was", "because", "phase")
        }
        moments: dict[str, Any] = {key: documents.moment(get(key)) for key in ("executed_at", "logged_until")}
        spans: dict[str, Any] = {key: documents.seconds(get(key)) for key in ("seconds", "executed_seconds")}
        is_undone = get("transaction") is True
        return cls(cast("EventKind", kind), name, at, transaction=is_undone, **spans, **moments, **texts)


class History:
    """The registered migrations. A document with a ``name`` means: this file is never executed again.

    Nothing is cached: each question reads one collection. ``foreign`` collects the documents found there that migopy
    did not write; ``by`` is the user who writes now.
    """

    def __init__(self, db: Database[dict[str, Any]], names: Names, *, address: str, by: str, version: str) -> None:
        self.address = address
        self._collection = majority_collection(db, names.migrations)
        self._log = majority_collection(db, names.log)
        self.by = by
        self._version = version
        self.foreign: set[ForeignDocument] = set()

    def records(self) -> dict[str, Record]:
        """The registered migrations by name."""
        return self.records_and_restore()[0]

    @explains_server_errors
    def records_and_restore(
        self, found: Iterable[Mapping[str, Any]] | None = None
    ) -> tuple[dict[str, Record], UnfinishedRestore | None]:
        """The registered migrations by name, and the restore that has not finished, if any.

        One read, or none if the documents of the collection are given.
        """
        records: dict[str, Record] = {}
        unfinished_restore = None
        for document in documents.read_all(self._collection, {}, self.foreign) if found is None else found:
            record = Record.from_document(document)
            if document["_id"] == UNFINISHED_RESTORE:
                unfinished_restore = UnfinishedRestore.from_document(document)
            elif record is None and "name" in document:
                why = "its name is not the name of a migration"
                self.foreign.add(ForeignDocument.from_document(self._collection.name, document, why))
            # migopy 1.0 could register a name twice: the older record counts
            elif record and record.is_older(records.setdefault(record.name, record)):
                records[record.name] = record
        return records, unfinished_restore

    @explains_server_errors
    def register(self, record: Record, confirm: Callable[[], None], session: ClientSession | None = None) -> None:
        """Register a migration.

        Outside of a transaction, a write that finds no server is retried as long as ``confirm()`` raises nothing.
        Raises ``RegisteredMeanwhile`` if another run has registered the migration, and ``ServerFailed`` if another
        document, or an index, is in the way.
        """
        document = self._document(record)
        may_have_arrived = False
        while True:
            try:
                self._collection.insert_one(document, session=session)
                return
            except AutoReconnect:
                if session:
                    raise
                may_have_arrived = True
                time.sleep(RETRY_PAUSE_SECONDS)
                confirm()
            except DuplicateKeyError:
                # What is in the way may not have reached a majority yet.
                here = self._collection.with_options(read_concern=ReadConcern("local"))
                found = here.find_one({"_id": record.name}, max_time_ms=MAJORITY_TIMEOUT_MS)
                if may_have_arrived and found == document:
                    return
                if found is None or (found["_id"], found.get("name")) != (record.name, record.name):
                    raise
                raise RegisteredMeanwhile(
                    f"Another run has registered {record.name} in the meantime.", migration=record.name
                ) from None

    @explains_server_errors
    def register_again(self, records: Iterable[Record]) -> None:
        """Write back registrations that were lost, unchanged."""
        self._collection.insert_many([self._document(record) for record in records])

    @explains_server_errors
    def set_seconds(self, name: str, seconds: float, session: ClientSession) -> None:
        """Add how long a migration took, in the transaction that registered it before it ran."""
        self._collection.update_one({"_id": name}, {"$set": {"seconds": seconds}}, session=session)

    @explains_server_errors
    def ignore(self, fingerprints: Mapping[str, Checksums], rejected: Mapping[str, int], at: datetime) -> None:
        """Register migrations that were not executed, in one write.

        ``fingerprints`` are by name, and so are the numbers of documents that were set aside.
        """
        ignored = Record("", at=at, state="ignored", by=self.by)
        records = [
            ignored.of_file(name, fingerprint)._replace(rejected_documents=rejected.get(name))
            for name, fingerprint in fingerprints.items()
        ]
        self._collection.insert_many([self._document(record) for record in records])

    @explains_server_errors
    def accept(self, record: Record, name: str, fingerprint: Checksums) -> None:
        """Take this file as the one that was executed; ``record`` has another name if the file was renamed."""
        accepted = record.of_file(name, fingerprint)
        if record.name == name:
            checksums = {key: getattr(accepted, key) or "$$REMOVE" for key in ("checksum", "code_checksum")}
            self._collection.update_many({"name": name}, [{"$set": checksums}])
        else:  # the new one first: in between the migration is registered twice, and never unregistered
            self._collection.insert_one(self._document(accepted))
            self.unregister(record.name)

    def _document(self, record: Record) -> dict[str, Any]:
        known = {key: value for key, value in record._asdict().items() if value is not None}
        return {"_id": record.name, **documents.storable_facts(known), "migopy": self._version}

    @explains_server_errors
    def unregister(self, name: str, session: ClientSession | None = None) -> None:
        # migopy 1.0 could register a name twice.
        self._collection.delete_many({"name": name}, session=session)

    @explains_server_errors
    def log(self, event: EventKind, name: str | None, session: ClientSession | None = None, **facts: Any) -> None:
        """Append an event to the log."""
        given = {"event": event, "name": name, "by": self.by, **documents.storable_facts(facts)}
        # An upsert with a new _id is an insert.
        self._log.update_one({"_id": ObjectId()}, _update_with_server_time(given), upsert=True, session=session)

    @explains_server_errors
    def make_collections(self) -> None:
        """Make the collections that transactions write to, where they do not exist yet."""
        db = self._collection.database
        # authorizedCollections: every user who may write to them may ask this.
        existing = db.list_collection_names(authorizedCollections=True)
        for name in (self._collection.name, self._log.name):
            if name not in existing:
                db.command("create", name, writeConcern=self._collection.write_concern.document)

    @explains_server_errors
    def begin_restore(self, dump: str) -> None:
        """Mark the database as half restored."""
        self.log("restore begun", None, dump=dump)
        facts = documents.storable_facts({"dump": dump, "by": self.by})
        self._collection.update_one({"_id": UNFINISHED_RESTORE}, _update_with_server_time(facts), upsert=True)

    @explains_server_errors
    def end_restore(self, dump: str, registrations: Sequence[RawBSONDocument], logged_until: datetime | None) -> None:
        """Replace the registrations with those from the dump, and remove the mark."""
        self._collection.delete_many({"_id": {"$ne": UNFINISHED_RESTORE}})
        registered = [document for document in registrations if document["_id"] != UNFINISHED_RESTORE]
        if registered:
            self._collection.insert_many(registered)
        self.log("restored", None, dump=dump, logged_until=logged_until)
        self._collection.delete_one({"_id": UNFINISHED_RESTORE})  # last: until here the restore can be interrupted

    @explains_server_errors
    def events(self, name: str | None = None, found: Iterable[Mapping[str, Any]] | None = None) -> list[Event]:
        """The log in the order of time, whole or for one migration. One read, or none if it is given."""
        wanted = {} if name is None else {"name": name}
        events = []
        for document in documents.read_all(self._log, wanted, self.foreign, sort=IN_ORDER) if found is None else found:
            event = Event.from_document(document)
            if event is None:
                why = "it has no event or no time"
                self.foreign.add(ForeignDocument.from_document(self._log.name, document, why))
            else:
                events.append(event)
        return events

    def events_of_file(self, name: str) -> list[Event]:
        """The log of one migration in the order of time, with that of the names that its file had before."""
        events, names = self.events(name), {name}
        for accepted in events:  # it grows
            if accepted.was and accepted.was not in names:
                names.add(accepted.was)
                # Another file may have had that name since.
                events += [event for event in self.events(accepted.was) if event.at < accepted.at]
        return sorted(events, key=lambda event: event.at)

    @explains_server_errors
    def was_unlocked_since(self, moment: datetime) -> bool:
        """Whether the subtask unlock has taken the lock away at that moment or later."""
        wanted = {"event": "unlocked", "at": {"$gte": moment}}  # by the server's clock, as `at` is
        return self._log.count_documents(wanted, limit=1, maxTimeMS=MAJORITY_TIMEOUT_MS) > 0

    def last_events(self, found: Iterable[Mapping[str, Any]] | None = None) -> dict[str, Event]:
        """The last event of each migration, without the events that a restore has undone.

        One read, or none if the documents of the log are given.
        """
        valid: list[Event] = []
        for event in self.events(found=found):
            if event.event == "restored":
                until = event.logged_until
                valid = [earlier for earlier in valid if until and earlier.at <= until]
            valid.append(event)
        last: dict[str, Event] = {}
        for event in valid:
            if event.event == "accepted":  # what is unfinished stays unfinished, and an old name is gone
                last.pop(event.was or "", None)
            elif event.name and event.event not in BESIDES:
                last[event.name] = event
        return last


def _update_with_server_time(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An update that writes the facts, and as ``at`` the server's time."""
    # An insert cannot ask for the server's time.
    known = {key: value for key, value in facts.items() if value is not None or key == "name"}
    return [{"$set": {**literals(known), "at": "$$NOW"}}]
