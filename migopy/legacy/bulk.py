"""Bulk operations of PyMongo 2.7, as requests of today's ``bulk_write``."""

from __future__ import annotations

from typing import Any

from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, UpdateMany, UpdateOne, common
from pymongo import errors as pymongo_errors
from pymongo.collection import Collection

from . import operators
from .options import collection_for_write


class Bulk:
    """PyMongo 2.7's ``BulkOperationBuilder``: collects requests until ``execute()``."""

    def __init__(self, collection: Collection[Any], ordered: bool, bypass_document_validation: bool) -> None:
        self.collection = collection
        self.options: dict[str, Any] = {"ordered": ordered, "bypass_document_validation": bypass_document_validation}
        self.requests: list[Any] = []
        self.executed = False

    def find(self, selector: Any, collation: Any = None) -> BulkSelection:
        common.validate_is_mapping("selector", selector)
        return BulkSelection(self.requests, operators.query(selector), collation)

    def insert(self, document: Any) -> None:
        common.validate_is_document_type("document", document)
        if not isinstance(document, RawBSONDocument) and "_id" not in document:
            document["_id"] = ObjectId()
        self.requests.append(InsertOne(document))

    def execute(self, write_concern: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The numbers ``nInserted``, ``nMatched`` and so on; None for ``w=0``."""
        if self.executed and self.requests:
            raise pymongo_errors.InvalidOperation("Bulk operations can only be executed once.")
        # An empty one may be executed again: bulk_write refuses it each time.
        self.executed = bool(self.requests)
        collection = collection_for_write(self.collection, **(write_concern or {}))
        result = collection.bulk_write(self.requests, **self.options)
        return result.bulk_api_result if result.acknowledged else None


class BulkSelection:
    """What ``bulk.find(selector)`` returns: PyMongo 2.7's ``BulkWriteOperation`` and ``BulkUpsertOperation``."""

    def __init__(self, requests: list[Any], selector: Any, collation: Any, upsert: bool = False) -> None:
        self.requests, self.selector, self.collation, self.upserts = requests, selector, collation, upsert

    def upsert(self) -> BulkSelection:
        return BulkSelection(self.requests, self.selector, self.collation, upsert=True)

    def update_one(self, update: Any) -> None:
        common.validate_ok_for_update(update)
        self.requests.append(
            UpdateOne(self.selector, operators.update(update), upsert=self.upserts, collation=self.collation)
        )

    def update(self, update: Any) -> None:
        common.validate_ok_for_update(update)
        self.requests.append(
            UpdateMany(self.selector, operators.update(update), upsert=self.upserts, collation=self.collation)
        )

    def replace_one(self, replacement: Any) -> None:
        common.validate_ok_for_replace(replacement)
        self.requests.append(ReplaceOne(self.selector, replacement, upsert=self.upserts, collation=self.collation))

    def remove_one(self) -> None:
        self.requests.append(DeleteOne(self.selector, collation=self.collation))

    def remove(self) -> None:
        self.requests.append(DeleteMany(self.selector, collation=self.collation))
