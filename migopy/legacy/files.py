"""The ``md5`` of a file in GridFS: PyMongo 4 does not write it, and ``fs.exists(md5=...)`` looks for it."""

from __future__ import annotations

import hashlib
from collections import abc
from typing import Any

from pymongo import ReadPreference
from pymongo.collection import Collection

WRITTEN_BY_GRIDFS = {"_id", "chunkSize", "length", "uploadDate"}


def lacks_md5(collection: Collection[Any], document: Any) -> bool:
    return (
        collection.name.endswith(".files")
        and isinstance(document, abc.MutableMapping)
        and WRITTEN_BY_GRIDFS.issubset(document)
        and "md5" not in document
    )


def md5(collection: Collection[Any], document: Any, session: Any) -> str:
    # GridFS writes the chunks before the document of the file, so they can be read here.
    name = collection.name[: -len("files")] + "chunks"
    chunks = collection.database.get_collection(name, read_preference=ReadPreference.PRIMARY)
    digest = hashlib.md5()
    for chunk in chunks.find({"files_id": document["_id"]}, session=session).sort("n", 1):
        digest.update(chunk["data"])
    return digest.hexdigest()
