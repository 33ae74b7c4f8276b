"""How far each walk of a migration is: the collection ``migrations_batches``."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, Iterable, Mapping, NamedTuple

import bson

from ..mongo.concerns import EXACTLY, durable
from ..mongo.failures import explains_server_errors
from . import documents

if TYPE_CHECKING:
    from pymongo.database import Database

    from .documents import ForeignDocument
    from .names import Names


class Identity(NamedTuple):
    """Which walk of a migration it is. Another version of the file goes on with it where this is the same.

    ``filter`` is a digest; ``nth`` counts the walks of the same collection and filter.
    """

    collection: str
    filter: str
    nth: int


class Checkpoint(NamedTuple):
    """How far a walk is, in whole batches: ``done`` documents in ``seconds``, and ``last`` is the last ``_id``.

    ``update`` says what the walk does: a digest, or the name of a function. ``session`` is that of the run that goes on
    with it now: no other run moves it.
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
    """Empty before the first batch: None is an ``_id`` like others."""

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Checkpoint | None:
        """None if it is none of ours."""
        get = document.get
        migration, nth = documents.name(get("migration")), documents.number(get("nth"))
        direction, collection, filter = (documents.text(get(key)) for key in ("direction", "collection", "filter"))
        done = documents.number(get("done"))
        if migration is None or direction is None or collection is None or filter is None or None in (nth, done):
            return None
        return cls(
            migration,
            direction,
            Identity(collection, filter, nth or 0),
            documents.number(get("total")),
            documents.text(get("update")) or "",
            documents.text(get("checksum")) or "",
            done or 0,
            documents.number(get("changed")) or 0,
            documents.seconds(get("seconds")) or 0.0,
            get("finished") is True,
            documents.moment(get("at")),
            get("session"),
            (document["last"],) if "last" in document else (),
        )

    @property
    def progress(self) -> Progress:
        return Progress(self.migration, self.identity.collection, self.done, self.total, self.seconds, self.at)


def digest(value: Any) -> str:
    """The same for the same filter or update, whichever run asks."""
    return hashlib.sha256(bson.encode({"": value}, codec_options=EXACTLY)).hexdigest()


class Checkpoints:
    """All there are."""

    def __init__(self, db: Database[dict[str, Any]], names: Names, *, address: str, by: str) -> None:
        self.address = address
        self.foreign: set[ForeignDocument] = set()
        stored = durable(db[names.batches])
        dates = {"tz_aware": True, "unicode_decode_error_handler": "backslashreplace"}
        self.collection = stored.with_options(codec_options=EXACTLY.with_options(**dates))
        self.by = by

    @explains_server_errors
    def read(self, wanted: Mapping[str, Any]) -> list[Checkpoint]:
        """The newest ones last."""
        found = []
        for document in documents.all_of(self.collection, wanted, self.foreign, sort=[("at", 1), ("_id", 1)]):
            checkpoint = Checkpoint.read(document)
            if checkpoint is None:
                why = "it is no checkpoint of a migration"
                self.foreign.add(documents.ForeignDocument.met(self.collection.name, document, why))
            else:
                found.append(checkpoint)
        return found

    @explains_server_errors
    def progresses(self, directions: Mapping[str, str]) -> dict[str, Progress]:
        """How far the newest walk of each of these migrations is; those of the migration's direction count."""
        newest = self.read({"migration": {"$in": list(directions)}})
        return {each.migration: each.progress for each in newest if directions[each.migration] == each.direction}

    @explains_server_errors
    def forget(self, migrations: Iterable[str]) -> None:
        names = list(migrations)
        if names:
            self.collection.delete_many({"migration": {"$in": names}})


class Progress(NamedTuple):
    """``done`` documents of about ``total``, if that is known, in ``seconds``; as it was ``at`` that time."""

    migration: str
    collection: str
    done: int
    total: int | None
    seconds: float
    at: datetime | None = None

    @property
    def documents(self) -> str:
        """``412,000 of 1,000,000 documents``"""
        of_all = f" of {max(self.total, self.done):,}" if self.total is not None else ""
        return f"{self.done:,}{of_all} documents"

    @property
    def far(self) -> str:
        """``412,000 of 1,000,000 documents of users``; the collection comes with the name of its database."""
        return f"{self.documents} of {self.collection.partition('.')[2]}"

    @property
    def rate(self) -> float | None:
        """Documents a second; None before there is one to speak of."""
        return self.done / self.seconds if self.done and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.done) / self.rate

    def __str__(self) -> str:
        """``012_tags.py: 412,000 of 1,000,000 documents, 9,800 a second, 1 min left``"""
        speed = f", {_rounded(self.rate):,} a second" if self.rate else ""
        left = f", {_about(self.seconds_left)} left" if self.seconds_left is not None else ""
        return f"{self.migration}: {self.documents}{speed}{left}"


def _rounded(rate: float) -> int:
    """Two digits say enough: 9,800."""
    unit: int = 10 ** max(0, len(str(int(rate))) - 2)
    return max(1, round(rate / unit) * unit)


def _about(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 59.5:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
