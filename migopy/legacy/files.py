"""The ``md5`` of a file in GridFS, which PyMongo 4 writes no more and ``fs.exists(md5=...)`` asks for."""

from __future__ import annotations

import hashlib
from collections import abc
from typing import TYPE_CHECKING, Any

from pymongo import ReadPreference

if TYPE_CHECKING:
    from .collection import Collection

FIELDS = {"_id", "chunkSize", "length", "uploadDate"}
"""What GridFS writes of each file, after its chunks."""


def lacks_md5(collection: Collection, document: Any) -> bool:
    return (
        collection.name.endswith(".files")
        and isinstance(document, abc.MutableMapping)
        and FIELDS.issubset(document)
        and "md5" not in document
    )


def md5(collection: Collection, document: Any, session: Any) -> str:
    """Of the chunks that are stored: they are read once more."""
    name = collection.name[: -len("files")] + "chunks"
    chunks = collection.database.get_collection(name, read_preference=ReadPreference.PRIMARY)
    digest = hashlib.md5()
    for chunk in chunks.find({"files_id": document["_id"]}, session=session).sort("n", 1):
        digest.update(chunk["data"])
    return digest.hexdigest()
