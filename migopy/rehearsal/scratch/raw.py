"""The contents of a database as the bytes that MongoDB sends: not decoding them loses nothing and costs little."""

from __future__ import annotations

import contextlib
import re
from datetime import timezone
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from ...mongo.kind import hello
from ...mongo.raw import split

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)

MAX_DOCUMENTS = 100_000
"""Documents of one reply, which also has a limit of 16 MB; MongoDB takes no more in one insert."""

COLLECTION, VIEW, TIMESERIES = "collection", "view", "timeseries"
"""The kinds in ``listCollections``."""

STORED_FUNCTIONS = "system.js"
"""The only system collection whose documents are data."""


def read_documents(collection: Collection[Any]) -> Iterator[bytes]:
    for batch in collection.find_raw_batches({}, batch_size=MAX_DOCUMENTS):
        yield from split(batch)


def collection_hashes(db: Database[Any]) -> Mapping[str, str]:
    """The server's own hash of each collection; empty on a sharded cluster.

    While the server computes them, nobody can write to the database.
    """
    try:
        found: Mapping[str, str] = db.command("dbHash")["collections"]
    except OperationFailure:
        return {}
    return found


def list_collections(db: Database[Any], without: Iterable[str] = ()) -> list[Mapping[str, Any]]:
    """The entries of ``listCollections`` for collections, views and time series that hold data."""
    # Not the buckets of a time series, which are a part of it, and no temporary collection.
    left_out = set(without)
    return [
        info
        for info in run_list_command(db, "listCollections", 1)
        if info["name"] not in left_out
        and (info["name"] == STORED_FUNCTIONS or not info["name"].startswith("system."))
        and not info["options"].get("temp")
    ]


def list_indexes(db: Database[Any], collection: str) -> list[Mapping[str, Any]]:
    """The indexes that MongoDB does not make by itself with the collection."""
    found = run_list_command(db, "listIndexes", collection)
    return [index for index in found if index["name"] != "_id_" and not index.get("clustered")]


def run_list_command(db: Database[Any], command: str, value: object) -> list[Mapping[str, Any]]:
    """All that ``listCollections`` or ``listIndexes`` answers, undecoded."""
    # PyMongo's own methods for these commands decode the answers.
    with db.client.start_session() as session:
        reply = db.command(command, value, cursor={"batchSize": MAX_DOCUMENTS}, codec_options=RAW, session=session)[
            "cursor"
        ]
        found = list(reply["firstBatch"])
        namespace = reply["ns"].partition(".")[2]
        while reply["id"]:
            reply = db.command("getMore", reply["id"], collection=namespace, codec_options=RAW, session=session)
            reply = reply["cursor"]
            found += reply["nextBatch"]
    return found


def kill_commands(db: Database[Any]) -> None:
    """Kill the commands that the server still runs in a scratch database."""
    # They would make a part of it again after it was dropped. The user's own commands can be killed without a special
    # right; where the server refuses, they go on.
    here = {"ns": {"$regex": rf"^{re.escape(db.name)}\."}}
    with contextlib.suppress(OperationFailure):
        for running in db.client.admin.aggregate([{"$currentOp": {}}, {"$match": here}]):
            db.client.admin.command("killOp", op=running["opid"])


def server_time(db: Database[Any]) -> float:
    """The server's clock, in Unix time."""
    now = hello(db.client)["localTime"]
    return float((now if now.tzinfo else now.replace(tzinfo=timezone.utc)).timestamp())
