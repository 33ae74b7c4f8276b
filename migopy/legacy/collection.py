"""The collections that ``up`` and ``down`` get."""

from __future__ import annotations

from collections import OrderedDict, abc
from typing import Any, NoReturn, cast

import pymongo.collection
import pymongo.database
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from pymongo import InsertOne, ReadPreference, common
from pymongo import errors as pymongo_errors
from pymongo.collation import validate_collation_or_none
from pymongo.operations import IndexModel
from pymongo.results import DeleteResult, UpdateResult

from ..errors import NoSuchCall
from . import commands, files, indexes, operators
from .arguments import (
    FIND_OLD,
    NO_CURSOR_TIMEOUT,
    fields_document,
    find_options,
    has_uuid,
    order_document,
    refuse_dots_and_dollars,
    require_boolean,
)
from .bulk import Bulk
from .calls import CalledByName, Translated, is_dropped, item_property, refusal, warn
from .cursors import CommandCursor, Cursor
from .options import Adjustable, collection_for_write, legacy_codec_options, options_of, with_tags
from .replies import MapReduceReply, WriteReply, raise_write_error
from .state import database_state

ILLEGAL_OPERATION, FAILED_TO_PARSE = 20, 9


class Collection(CalledByName, Adjustable, pymongo.collection.Collection):  # type: ignore[type-arg]
    """A collection that understands PyMongo 2 and 3."""

    group = item_property("group")

    def _unknown_method(self) -> NoSuchCall:
        owner = type(self) if "." in self.name else type(self.database)
        return refusal(self.name.split(".")[-1], dir(owner))

    def __bool__(self) -> bool:  # type: ignore[override]
        # True in PyMongo 2 and 3, for `collection or db.default`. PyMongo 4 raises.
        warn("the truth value of a collection", "'is not None'")
        return True

    def __getitem__(self, name: str) -> Collection:
        return legacy_collection(self.database, super().__getitem__(name))

    def with_options(self, *args: Any, **kwargs: Any) -> Collection:
        return legacy_collection(self.database, super().with_options(*args, **kwargs))

    # Writes

    @Translated("insert_one or insert_many")
    def insert(
        self,
        doc_or_docs: Any,
        manipulate: bool = True,
        *,
        check_keys: bool = True,
        continue_on_error: bool = False,
        **concern: Any,
    ) -> Any:
        """Insert one document or many, and return its ``_id`` or the list of their ``_id``s.

        ``manipulate`` adds a missing ``_id`` to the given documents. The last error is raised, as a
        ``DuplicateKeyError`` for example, where ``insert_many`` raises a ``BulkWriteError``.
        """
        collection = collection_for_write(self, **concern)
        one = isinstance(doc_or_docs, abc.Mapping)
        ids, documents = [], []
        for document in [doc_or_docs] if one else doc_or_docs:
            if manipulate and not isinstance(document, RawBSONDocument) and "_id" not in document:
                document["_id"] = ObjectId()
            if check_keys:
                refuse_dots_and_dollars(document)
            ids.append(document.get("_id"))
            # Today's PyMongo always adds the _id: to a copy, if the caller does not want it in the document.
            documents.append(SON(document) if "_id" not in document else document)
        try:
            collection.bulk_write([InsertOne(document) for document in documents], ordered=not continue_on_error)
        except pymongo_errors.BulkWriteError as error:
            raise_write_error(error.details)
        database_state(self.database).last_reply = {} if collection.write_concern.acknowledged else None
        return ids[0] if one else ids

    def insert_one(self, document: Any, *args: Any, **kwargs: Any) -> Any:
        if files.lacks_md5(self, document):
            warn(
                "the file in GridFS gets an md5, as from PyMongo 2 (not with LEGACY_PYMONGO = False)",
                "metadata={'md5': ...}, and look for metadata.md5",
            )
            document["md5"] = files.md5(self, document, kwargs.get("session"))
        return super().insert_one(document, *args, **kwargs)

    @Translated("replace_one(..., upsert=True), or insert_one without an _id")
    def save(
        self, to_save: Any, manipulate: bool = True, *, check_keys: bool = True, collation: Any = None, **concern: Any
    ) -> Any:
        """Insert the document or replace the one with its ``_id``, and return the ``_id``."""
        common.validate_is_document_type("to_save", to_save)
        if isinstance(to_save, RawBSONDocument) or "_id" not in to_save:
            insert: Any = Collection.insert.method  # self.insert() would warn again
            return insert(self, to_save, manipulate, check_keys=check_keys, **concern)
        _id = to_save["_id"]
        # PyMongo 3.13 left the keys of a replacement to the server.
        collection = collection_for_write(self, **concern)
        self._keep_reply(collection.replace_one({"_id": _id}, to_save, upsert=True, collation=collation))
        return _id

    @Translated("update_one, update_many or replace_one")
    def update(
        self,
        spec: Any,
        document: Any,
        upsert: bool = False,
        manipulate: bool = False,
        *,
        multi: bool = False,
        check_keys: bool = True,
        collation: Any = None,
        **concern: Any,
    ) -> dict[str, Any] | None:
        """Change or replace documents, and return the server's reply; None for ``w=0``.

        The reply has ``n``, ``updatedExisting`` and, after an upsert, ``upserted``.
        """
        common.validate_is_mapping("spec", spec)
        common.validate_is_mapping("document", document)
        require_boolean("upsert", upsert)
        collection = collection_for_write(self, **concern)
        # As in PyMongo 2 the first key decides.
        changes = bool(document) and next(iter(document)).startswith("$")
        if multi and not changes:
            raise pymongo_errors.WriteError(
                "multi update is not supported for replacement-style update", FAILED_TO_PARSE
            )
        write: Any = collection.replace_one
        if changes:
            write = collection.update_many if multi else collection.update_one
        spec, document = operators.query(spec), operators.update(document)
        return self._keep_reply(write(spec, document, upsert=upsert, collation=collation))

    @Translated("delete_one or delete_many")
    def remove(
        self, spec_or_id: Any = None, *, multi: bool = True, collation: Any = None, **concern: Any
    ) -> dict[str, Any] | None:
        """Remove documents, all of them without a spec, and return the server's reply; None for ``w=0``."""
        spec = {} if spec_or_id is None else spec_or_id
        spec = spec if isinstance(spec, abc.Mapping) else {"_id": spec}
        collection = collection_for_write(self, **concern)
        delete = collection.delete_many if multi else collection.delete_one
        return self._keep_reply(delete(operators.query(spec), collation=collation))

    @Translated("find_one_and_update, find_one_and_replace or find_one_and_delete")
    def find_and_modify(
        self,
        query: Any = None,
        update: Any = None,
        upsert: bool = False,
        sort: Any = None,
        full_response: bool = False,
        manipulate: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Change or remove one document, and return it as it was, or with ``new=True`` as it is now."""
        if not update and not kwargs.get("remove"):
            raise ValueError("Must either update or remove")
        if update and kwargs.get("remove"):
            raise ValueError("Can't do both update and remove")
        _require_order(sort)
        fields = kwargs.pop("fields", None)
        collation = validate_collation_or_none(kwargs.pop("collation", None))
        query, update = operators.query(query), operators.update(update)
        given = dict(query=query, update=update, upsert=upsert, sort=order_document(sort), collation=collation)
        command = SON([("findAndModify", self.name), *((name, value) for name, value in given.items() if value)])
        command.update(kwargs)
        if fields is not None:
            command["fields"] = fields_document(fields)
        reply = commands.run_write(self, command)
        raise_write_error(reply)
        return reply if full_response else reply.get("value")

    @Translated("bulk_write(requests)")
    def initialize_ordered_bulk_op(self, bypass_document_validation: bool = False) -> Bulk:
        return Bulk(self, True, bypass_document_validation)

    @Translated("bulk_write(requests, ordered=False)")
    def initialize_unordered_bulk_op(self, bypass_document_validation: bool = False) -> Bulk:
        return Bulk(self, False, bypass_document_validation)

    def _adjust(self, **options: Any) -> None:
        # PyMongo's objects cannot be changed, but the same object can be made anew.
        super().__init__(self.database, self.name, **{**options_of(self), **options})

    def _keep_reply(self, result: UpdateResult | DeleteResult) -> dict[str, Any] | None:
        """The reply to a write. ``db.last_status()`` finds it too."""
        reply = WriteReply(result.raw_result, self._connection_id) if result.acknowledged else None
        database_state(self.database).last_reply = reply
        return reply

    def _connection_id(self) -> int:
        return int(self.database.command("isMaster")["connectionId"])

    # Reads

    def find(self, *args: Any, **kwargs: Any) -> Cursor:
        if not FIND_OLD.isdisjoint(kwargs):
            old = ", ".join(sorted(FIND_OLD.intersection(kwargs)))
            warn(f"find({old}=...)", "find(filter, projection, ...)")
            return self._legacy_find(*args, **kwargs)
        collection = self
        codec_options = legacy_codec_options(self.codec_options)
        # PyMongo 4 raises for a UUID if no option says how UUIDs are stored.
        if self.codec_options != codec_options and has_uuid([args, kwargs.get("filter")]):
            warn("find with a UUID", "MONGO_CLIENT_OPTIONS = {'uuidRepresentation': 'pythonLegacy'}")
            collection = self.with_options(codec_options=codec_options)
        return Cursor(collection, *args, **kwargs)

    def find_one(self, filter: Any = None, *args: Any, **kwargs: Any) -> Any:
        for old in ("spec_or_id", "spec"):
            if filter is None and old in kwargs:
                filter = kwargs.pop(old)
                warn(f"find_one({old}=...)", "find_one(filter)")
        return super().find_one(filter, *args, **kwargs)

    def _legacy_find(self, *args: Any, **kwargs: Any) -> Cursor:
        old = {name: kwargs.pop(name) for name in FIND_OLD.intersection(kwargs)}
        cursor = Cursor(self._collection_for_read(old), *args, **{**find_options(old), **kwargs})
        return cursor if old.get("timeout", True) else cast(Cursor, cursor.add_option(NO_CURSOR_TIMEOUT))

    def _collection_for_read(self, old: dict[str, Any]) -> Collection:
        """This collection with the options that were keywords of ``find`` in PyMongo 2."""
        codec_options = legacy_codec_options(self.codec_options)
        if old.get("as_class"):
            codec_options = codec_options.with_options(document_class=old["as_class"])
        preference = old.get("read_preference")
        if preference is None and old.get("slave_okay"):
            preference = ReadPreference.SECONDARY_PREFERRED
        if old.get("tag_sets"):
            preference = with_tags(preference or self.read_preference, old["tag_sets"])
        return self.with_options(codec_options=codec_options, read_preference=preference)

    def aggregate(self, pipeline: Any, *args: Any, **kwargs: Any) -> CommandCursor:
        if isinstance(pipeline, (abc.Mapping, tuple)):
            warn("aggregate of one stage", "aggregate([stage])")
            pipeline = [pipeline] if isinstance(pipeline, abc.Mapping) else list(pipeline)
        cursor = super().aggregate(pipeline, *args, **kwargs)
        cursor.__class__ = CommandCursor  # PyMongo chooses the class itself
        return cast(CommandCursor, cursor)

    @Translated("count_documents or estimated_document_count")
    def count(self, filter: Any = None, session: Any = None, **kwargs: Any) -> int:
        if filter is not None:
            if "query" in kwargs:
                raise pymongo_errors.ConfigurationError("can't pass both filter and query")
            kwargs["query"] = filter
        kwargs["query"] = operators.query(kwargs.get("query"))
        kwargs["hint"] = order_document(kwargs.get("hint"))
        kwargs["collation"] = validate_collation_or_none(kwargs.get("collation"))
        return commands.count(self, {name: value for name, value in kwargs.items() if value is not None}, session)

    def distinct(self, key: Any, filter: Any = None, *args: Any, **kwargs: Any) -> Any:
        return super().distinct(key, operators.query(filter), *args, **kwargs)

    @Translated("aggregate")
    def map_reduce(
        self, map: Any, reduce: Any, out: Any, full_response: bool = False, session: Any = None, **kwargs: Any
    ) -> Any:
        """The collection with the results, or the server's reply for ``full_response`` and for an inline ``out``."""
        if not isinstance(out, (str, abc.Mapping)):
            raise TypeError("'out' must be an instance of str or a mapping")
        reply = self._map_reduce(map, reduce, out, session, ReadPreference.PRIMARY, **kwargs)
        result = reply.get("result")
        if full_response or not result:
            return reply
        if isinstance(result, abc.Mapping):
            return self.database.client[result["db"]][result["collection"]]
        return self.database[result]

    @Translated("aggregate")
    def inline_map_reduce(
        self, map: Any, reduce: Any, full_response: bool = False, session: Any = None, **kwargs: Any
    ) -> Any:
        """The list of results, or the server's reply."""
        reply = self._map_reduce(map, reduce, {"inline": 1}, session, self.read_preference, **kwargs)
        return reply if full_response else reply.get("results")

    def _map_reduce(self, map: Any, reduce: Any, out: Any, session: Any, preference: Any, **kwargs: Any) -> Any:
        collation = validate_collation_or_none(kwargs.pop("collation", None))
        options = operators.map_reduce_options({"map": map, "reduce": reduce, "out": out, **kwargs})
        command = SON([("mapReduce", self.name), *((name, value) for name, value in options.items())])
        command.update({"collation": collation} if collation else {})
        run = commands.run if "inline" in out else commands.run_write
        return MapReduceReply(run(self, command, session, preference))

    @Translated("find")
    def parallel_scan(self, num_cursors: int, session: Any = None, **kwargs: Any) -> list[CommandCursor]:
        # num_cursors was an upper limit, so one is enough: MongoDB 4.2 dropped parallelCollectionScan.
        return [self.aggregate([], session=session, **kwargs)]

    # Indexes

    def create_index(self, keys: Any, session: Any = None, *args: Any, **options: Any) -> Any:
        """As today, and with PyMongo 2's options, such as ``drop_dups``."""
        old = {*indexes.DROPPED_OPTIONS, "bucket_size"}.intersection(options)
        if isinstance(session, (int, float)):
            old, session = old | {"cache_for"}, None  # PyMongo 2's second argument
        if not old:
            return super().create_index(keys, session, *args, **options)
        warn(f"create_index({', '.join(sorted(old))}=...)", "create_index without it")
        return self._legacy_create_index(keys, options, session)

    @Translated("create_index")
    def ensure_index(self, key_or_list: Any, cache_for: float = 300, **options: Any) -> str | None:
        """The name of the index, or None if ``ensure_index`` made it in the last ``cache_for`` seconds."""
        cache_for = options.get("ttl", cache_for)
        if not isinstance(cache_for, (int, float)):
            raise TypeError("cache_for must be an integer or float.")
        if isinstance(key_or_list, abc.Mapping):
            raise TypeError("passing a dict to ensure_index is not allowed - use a list of tuples instead.")
        name = str(options.get("name") or IndexModel(key_or_list).document["name"])
        ensured = database_state(self.database).client.ensured
        # The server is asked too: something else than PyMongo may have dropped the index.
        if ensured.has(self.full_name, name) and name in self.index_information():
            return None
        created = self._legacy_create_index(key_or_list, options)
        ensured.add(self.full_name, name, cache_for)
        return created

    def _legacy_create_index(self, keys: Any, options: dict[str, Any], session: Any = None) -> str:
        index = indexes.index_model(keys, options)
        if list(index.document["key"]) == ["_id"]:
            return str(index.document["name"])  # it always exists, and takes no options today
        try:
            self.create_indexes([index], session=session)
        except pymongo_errors.OperationFailure as error:
            indexes.raise_unless_present(error, index.document, options, self.index_information())
        return str(index.document["name"])

    @Translated("db.command('reIndex', name), which MongoDB hardly ever needs,")
    def reindex(self, session: Any = None, **kwargs: Any) -> Any:
        command = SON([("reIndex", self.name)])
        command.update(kwargs)
        try:
            return commands.run(self, command, session)
        except pymongo_errors.OperationFailure as error:
            if error.code != ILLEGAL_OPERATION:
                raise
            raise NoSuchCall(
                "reindex: MongoDB 5.0 dropped it for replica sets, write drop_index and create_index."
            ) from error


class DroppedCollection(Collection):
    """A collection such as ``system.indexes``. MongoDB keeps that elsewhere: it would be found empty."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise refusal(self.name)

    find = find_one = aggregate = distinct = count_documents = estimated_document_count = _refuse
    insert_one = insert_many = bulk_write = drop = drop_index = create_indexes = _refuse
    update_one = update_many = replace_one = delete_one = delete_many = _refuse
    find_one_and_update = find_one_and_replace = find_one_and_delete = _refuse


def legacy_collection(
    database: pymongo.database.Database[Any], collection: pymongo.collection.Collection[Any]
) -> Collection:
    """A collection with the name and the options of PyMongo's."""
    made_of = DroppedCollection if is_dropped(database.name, collection.name) else Collection
    return made_of(database, collection.name, **options_of(collection))


def _require_order(sort: Any) -> None:
    """Raise ``TypeError`` for a sort without an order, as PyMongo 2 did."""
    ordered = isinstance(sort, (list, SON, OrderedDict)) or (isinstance(sort, dict) and len(sort) == 1)
    if sort and not ordered:
        raise TypeError(
            "sort must be a list of (key, direction) pairs, a dict of len 1, or an instance of SON or OrderedDict"
        )
