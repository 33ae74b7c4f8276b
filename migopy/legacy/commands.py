"""Commands for which PyMongo 4 has no method."""

from __future__ import annotations

from typing import Any

from bson.son import SON
from pymongo.collection import Collection

from .calls import refuse_dropped
from .options import legacy_codec_options


def run(collection: Collection[Any], command: SON[str, Any], session: Any = None, read_preference: Any = None) -> Any:
    """The server's reply, decoded as the collection's documents are."""
    refuse_dropped(collection)
    options = legacy_codec_options(collection.codec_options)
    return collection.database.command(command, session=session, read_preference=read_preference, codec_options=options)


def run_write(collection: Collection[Any], command: SON[str, Any], *args: Any) -> Any:
    """As ``run``, with the write concern of the collection."""
    if not collection.write_concern.is_server_default:
        command.setdefault("writeConcern", collection.write_concern.document)
    return run(collection, command, *args)


def count(collection: Collection[Any], options: dict[str, Any], session: Any) -> int:
    """How many documents the command ``count`` finds with these options."""
    command = SON([("count", collection.name), *options.items()])
    # In a session the read concern is its transaction's.
    if collection.read_concern.level and session is None:
        command["readConcern"] = collection.read_concern.document
    return int(run(collection, command, session, collection.read_preference)["n"])
