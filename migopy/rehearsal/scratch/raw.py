"""What is in a database, as the bytes that MongoDB sends: what is not decoded loses nothing and costs little."""

from __future__ import annotations

import contextlib
import re
import struct
from datetime import timezone
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from ...mongo.kind import hello

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)

AT_ONCE = 100_000
"""Documents of one reply, if they are not more than 16 MB, and the most that one command may insert."""

COLLECTION, VIEW, TIMESERIES = "collection", "view", "timeseries"
"""Kinds of collections, as ``listCollections`` calls them."""

STORED_FUNCTIONS = "system.js"
"""The one collection of MongoDB's own whose documents are data."""

_length = struct.Struct("<i").unpack_from


class Batch(RawBSONDocument):
    """The documents of a batch, which PyMongo sends as they are where it wants one; whoever looks sees the first."""

    def __init__(self, batch: bytes) -> None:
        super().__init__(batch[: _length(batch, 0)[0]])
        self._batch = batch

    @property
    def raw(self) -> bytes:
        return self._batch


def documents(batch: bytes) -> Iterator[bytes]:
    """The documents of which a batch is made; each begins with its own length."""
    position = 0
    while position < len(batch):
        end = position + _length(batch, position)[0]
        yield batch[position:end]
        position = end


def read(collection: Collection[Any]) -> Iterator[bytes]:
    """All documents of a collection."""
    for batch in collection.find_raw_batches({}, batch_size=AT_ONCE):
        yield from documents(batch)


def hashes(db: Database[Any]) -> Mapping[str, str]:
    """The server's own hash of each collection. It stops whoever writes to the database meanwhile.

    Empty where it is not to be had: a sharded cluster has none.
    """
    try:
        found: Mapping[str, str] = db.command("dbHash")["collections"]
    except OperationFailure:
        return {}
    return found


def collections(db: Database[Any], without: Iterable[str] = ()) -> list[Mapping[str, Any]]:
    """What ``listCollections`` says of the collections, views and time series with data of the database's owner.

    Stored functions are data; the buckets of a time series are what it is made of, and temporary collections are none.
    """
    left_out = set(without)
    return [
        info
        for info in listed(db, "listCollections", 1)
        if info["name"] not in left_out
        and (info["name"] == STORED_FUNCTIONS or not info["name"].startswith("system."))
        and not info["options"].get("temp")
    ]


def indexes(db: Database[Any], collection: str) -> list[Mapping[str, Any]]:
    """The indexes but for the one that MongoDB makes with the collection."""
    found = listed(db, "listIndexes", collection)
    return [index for index in found if index["name"] != "_id_" and not index.get("clustered")]


def listed(db: Database[Any], command: str, value: object) -> list[Mapping[str, Any]]:
    """What ``listCollections`` or ``listIndexes`` answers, undecoded: PyMongo's own methods decode it."""
    with db.client.start_session() as session:
        reply = db.command(command, value, cursor={"batchSize": AT_ONCE}, codec_options=RAW, session=session)["cursor"]
        found = list(reply["firstBatch"])
        namespace = reply["ns"].partition(".")[2]
        while reply["id"]:
            reply = db.command("getMore", reply["id"], collection=namespace, codec_options=RAW, session=session)
            reply = reply["cursor"]
            found += reply["nextBatch"]
    return found


def end_commands(db: Database[Any]) -> None:
    """End what the server still does in a database of our own. It would make a part of it again, after it was dropped.

    Nobody needs a right to see and to end commands of the own user; where it is refused they go on.
    """
    here = {"ns": {"$regex": rf"^{re.escape(db.name)}\."}}
    with contextlib.suppress(OperationFailure):
        for running in db.client.admin.aggregate([{"$currentOp": {}}, {"$match": here}]):
            db.client.admin.command("killOp", op=running["opid"])


def server_time(db: Database[Any]) -> float:
    """The clock of the server, in Unix time."""
    now = hello(db.client)["localTime"]
    return float((now if now.tzinfo else now.replace(tzinfo=timezone.utc)).timestamp())
