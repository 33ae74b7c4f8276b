"""Documents as the bytes that MongoDB sends: what is not decoded loses nothing and costs little."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Iterator, Mapping

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

if TYPE_CHECKING:
    from pymongo.database import Database

RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)

AT_ONCE = 100_000
"""Documents of one reply, if they are not more than 16 MB, and the most that one command may insert."""

_length = struct.Struct("<i").unpack_from


class Batch(RawBSONDocument):
    """The documents of a batch, which PyMongo sends as they are where it wants one; whoever looks sees the first.

    PyMongo asks each one for its time and its bytes: that made three quarters of the time that a copy took.
    """

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


def listed(db: Database[dict[str, Any]], command: str, value: object) -> list[Mapping[str, Any]]:
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
