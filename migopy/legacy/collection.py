"""The collections of that database."""

from __future__ import annotations

from collections import OrderedDict, abc
from typing import TYPE_CHECKING, Any, Callable, NoReturn, cast

import pymongo.collection
from bson import CodecOptions, ObjectId
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from pymongo import InsertOne, ReadPreference, common
from pymongo import errors as pymongo_errors
from pymongo.collation import validate_collation_or_none
from pymongo.operations import IndexModel
from pymongo.results import DeleteResult, UpdateResult
from pymongo.write_concern import WriteConcern

from ..errors import NoSuchCall
from . import files, indexes, operators
from .arguments import (
    FIND_OLD,
    NO_CURSOR_TIMEOUT,
    boolean,
    find_options,
    has_uuid,
    pairs,
    projection,
    refuse_dots_and_dollars,
)
from .bulk import Bulk
from .calls import Translated, by_name, refusal, warn
from .cursors import CommandCursor, Cursor
from .options import Adjustable, codec_options_of_2014, options_of, with_tags
from .replies import MapReduceReply, WriteReply, raise_write_error

if TYPE_CHECKING:
    from .database import Database

ILLEGAL_OPERATION, FAILED_TO_PARSE = 20, 9


class Collection(Adjustable, pymongo.collection.Collection):  # type: ignore[type-arg]
    """A collection that understands PyMongo 2 and 3."""

    _as_method: Callable[..., Any] | None = None
    group = by_name("group")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """``db.notes.insert(...)``: the collection ``notes.insert``, called."""
        if self._as_method:
            return self._as_method(*args, **kwargs)
        owner = type(self) if "." in self.name else type(self.database)
        raise refusal(self.name.split(".")[-1], dir(owner))

    def __bool__(self) -> bool:  # type: ignore[override]
        """True in PyMongo 2 and 3, which ``collection or db.default`` relies on; refused by PyMongo 4."""
        warn("the truth value of a collection", "'is not None'")
        return True

    def __getitem__(self, name: str) -> Collection:
        return self.database._legacy(super().__getitem__(name))

    @property
    def database(self) -> Database:
        return cast("Database", super().database)

    def with_options(self, *args: Any, **kwargs: Any) -> Collection:
        return self.database._legacy(super().with_options(*args, **kwargs))

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
        """The ``_id`` of the one document, or the list of those of the many. ``manipulate`` adds it to the given ones.

        Unlike insert_many this raises the last error as what it is, a ``DuplicateKeyError`` for example.
        """
        collection = self._writing(**concern)
        one = isinstance(doc_or_docs, abc.Mapping)
        ids, documents = [], []
        for document in [doc_or_docs] if one else doc_or_docs:
            if manipulate and not isinstance(document, RawBSONDocument) and "_id" not in document:
                document["_id"] = ObjectId()
            if check_keys:
                refuse_dots_and_dollars(document)
            ids.append(document.get("_id"))
            # Today's PyMongo adds the _id in any case: to a copy, if it is not wanted in the document.
            documents.append(SON(document) if "_id" not in document else document)
        try:
            collection.bulk_write([InsertOne(document) for document in documents], ordered=not continue_on_error)
        except pymongo_errors.BulkWriteError as error:
            raise_write_error(error.details)
        self.database._status = {} if collection.write_concern.acknowledged else None
        return ids[0] if one else ids

    def insert_one(self, document: Any, *args: Any, **kwargs: Any) -> Any:
        if files.lacks_md5(self, document):
            document["md5"] = files.md5(self, document, kwargs.get("session"))
        return super().insert_one(document, *args, **kwargs)

    @Translated("replace_one(..., upsert=True), or insert_one without an _id")
    def save(
        self, to_save: Any, manipulate: bool = True, *, check_keys: bool = True, collation: Any = None, **concern: Any
    ) -> Any:
        """Insert the document, or replace the one with its ``_id``; returns the ``_id``.

        Only the insertion checks the keys: PyMongo 3.13 left replacements to the server.
        """
        common.validate_is_document_type("to_save", to_save)
        if isinstance(to_save, RawBSONDocument) or "_id" not in to_save:
            method = Collection.__dict__["insert"].method
            return method(self, to_save, manipulate, check_keys=check_keys, **concern)
        _id = to_save["_id"]
        self._reply(self._writing(**concern).replace_one({"_id": _id}, to_save, upsert=True, collation=collation))
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
        """The server's reply with ``n``, ``updatedExisting`` and, after an upsert, ``upserted``; None for ``w=0``.

        A document whose first key starts with a dollar changes the one that is found, any other replaces it.
        """
        common.validate_is_mapping("spec", spec)
        common.validate_is_mapping("document", document)
        boolean("upsert", upsert)
        collection = self._writing(**concern)
        changes = bool(document) and next(iter(document)).startswith("$")
        if multi and not changes:
            raise pymongo_errors.WriteError(
                "multi update is not supported for replacement-style update", FAILED_TO_PARSE
            )
        write: Any = collection.replace_one
        if changes:
            write = collection.update_many if multi else collection.update_one
        spec, document = operators.query(spec), operators.update(document)
        return self._reply(write(spec, document, upsert=upsert, collation=collation))

    @Translated("delete_one or delete_many")
    def remove(
        self, spec_or_id: Any = None, *, multi: bool = True, collation: Any = None, **concern: Any
    ) -> dict[str, Any] | None:
        """The server's reply with ``n`` and ``ok``; None for ``w=0``. Without a spec everything is removed."""
        spec = {} if spec_or_id is None else spec_or_id
        spec = spec if isinstance(spec, abc.Mapping) else {"_id": spec}
        collection = self._writing(**concern)
        delete = collection.delete_many if multi else collection.delete_one
        return self._reply(delete(operators.query(spec), collation=collation))

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
        """The document as it was, or with ``new`` as it is; None without one. ``full_response``: the server's reply."""
        if not update and not kwargs.get("remove"):
            raise ValueError("Must either update or remove")
        if update and kwargs.get("remove"):
            raise ValueError("Can't do both update and remove")
        _require_order(sort)
        fields = kwargs.pop("fields", None)
        collation = validate_collation_or_none(kwargs.pop("collation", None))
        query, update = operators.query(query), operators.update(update)
        given = dict(query=query, update=update, upsert=upsert, sort=pairs(sort), collation=collation)
        command = SON([("findAndModify", self.name), *((name, value) for name, value in given.items() if value)])
        command.update(kwargs)
        if fields is not None:
            command["fields"] = projection(fields)
        reply = self._run(self._with_write_concern(command))
        raise_write_error(reply)
        return reply if full_response else reply.get("value")

    @Translated("bulk_write(requests)")
    def initialize_ordered_bulk_op(self, bypass_document_validation: bool = False) -> Bulk:
        return Bulk(self, True, bypass_document_validation)

    @Translated("bulk_write(requests, ordered=False)")
    def initialize_unordered_bulk_op(self, bypass_document_validation: bool = False) -> Bulk:
        return Bulk(self, False, bypass_document_validation)

    def _writing(self, safe: bool | None = None, **concern: Any) -> Collection:
        """This collection with the write concern of the call, which takes the place of its own: PyMongo 2.6's rule."""
        if safe is not None:
            boolean("safe", safe)
        concern = {**(concern.pop("writeConcern", None) or {}), **concern}
        if concern:
            write_concern = WriteConcern(**concern)
        elif safe is None or (safe and self.write_concern.acknowledged):
            write_concern = self.write_concern
        else:
            write_concern = WriteConcern() if safe else WriteConcern(w=0)
        return self.with_options(codec_options=self._codec_options_of_2014(), write_concern=write_concern)

    def _codec_options_of_2014(self) -> CodecOptions[Any]:
        return codec_options_of_2014(self.codec_options)

    def _adjust(self, **options: Any) -> None:
        super().__init__(self.database, self.name, **{**options_of(self), **options})

    def _reply(self, result: UpdateResult | DeleteResult) -> dict[str, Any] | None:
        reply = WriteReply(result.raw_result, self.database._connection_id) if result.acknowledged else None
        self.database._status = reply
        return reply

    # Reads

    def find(self, *args: Any, **kwargs: Any) -> Cursor:
        if not FIND_OLD.isdisjoint(kwargs):
            old = ", ".join(sorted(FIND_OLD.intersection(kwargs)))
            warn(f"find({old}=...)", "find(filter, projection, ...)")
            return self._find_2014(*args, **kwargs)
        collection = self
        if self.codec_options != self._codec_options_of_2014() and has_uuid([args, kwargs.get("filter")]):
            warn("find with a UUID", "MONGO_CLIENT_OPTIONS = {'uuidRepresentation': 'pythonLegacy'}")
            collection = self.with_options(codec_options=self._codec_options_of_2014())
        return Cursor(collection, *args, **kwargs)

    def find_one(self, filter: Any = None, *args: Any, **kwargs: Any) -> Any:
        for old in ("spec_or_id", "spec"):
            if filter is None and old in kwargs:
                filter = kwargs.pop(old)
                warn(f"find_one({old}=...)", "find_one(filter)")
        return super().find_one(filter, *args, **kwargs)

    def _find_2014(self, *args: Any, **kwargs: Any) -> Cursor:
        """find with keywords of PyMongo 2.6 to 3.13, each as today's."""
        old = {name: kwargs.pop(name) for name in FIND_OLD.intersection(kwargs)}
        cursor = Cursor(self._reading(old), *args, **{**find_options(old), **kwargs})
        return cursor if old.get("timeout", True) else cast(Cursor, cursor.add_option(NO_CURSOR_TIMEOUT))

    def _reading(self, old: dict[str, Any]) -> Collection:
        """This collection with the options that were keywords of find in PyMongo 2."""
        codec_options = self._codec_options_of_2014()
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
        cursor.__class__ = CommandCursor
        return cast(CommandCursor, cursor)

    @Translated("count_documents or estimated_document_count")
    def count(self, filter: Any = None, session: Any = None, **kwargs: Any) -> int:
        if filter is not None:
            if "query" in kwargs:
                raise pymongo_errors.ConfigurationError("can't pass both filter and query")
            kwargs["query"] = filter
        kwargs["query"] = operators.query(kwargs.get("query"))
        kwargs["hint"] = pairs(kwargs.get("hint"))
        kwargs["collation"] = validate_collation_or_none(kwargs.get("collation"))
        command = SON([("count", self.name)])
        command.update({name: value for name, value in kwargs.items() if value is not None})
        return self._count(command, session)

    def _count(self, command: SON[str, Any], session: Any) -> int:
        if self.read_concern.level and session is None:
            command["readConcern"] = self.read_concern.document
        return int(self._run(command, session, self.read_preference)["n"])

    def distinct(self, key: Any, filter: Any = None, *args: Any, **kwargs: Any) -> Any:
        return super().distinct(key, operators.query(filter), *args, **kwargs)

    @Translated("aggregate")
    def map_reduce(
        self, map: Any, reduce: Any, out: Any, full_response: bool = False, session: Any = None, **kwargs: Any
    ) -> Any:
        """The collection with the results; the server's reply if that is asked for, or if ``out`` is inline."""
        if not isinstance(out, (str, abc.Mapping)):
            raise TypeError("'out' must be an instance of str or a mapping")
        reply = self._map_reduce(map, reduce, out, session, ReadPreference.PRIMARY, **kwargs)
        result = reply.get("result")
        if full_response or not result:
            return reply
        if isinstance(result, abc.Mapping):
            return self.database._beside(result["db"])[result["collection"]]
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
        inline = "inline" in out
        return MapReduceReply(self._run(command if inline else self._with_write_concern(command), session, preference))

    @Translated("find")
    def parallel_scan(self, num_cursors: int, session: Any = None, **kwargs: Any) -> list[CommandCursor]:
        """At most so many cursors that return all documents between them: one, since MongoDB 4.2 has no others."""
        return [self.aggregate([], session=session, **kwargs)]

    # Indexes

    def create_index(self, keys: Any, session: Any = None, *args: Any, **options: Any) -> Any:
        """As today, and with PyMongo 2's second argument, ``cache_for``, and with ``drop_dups`` and the like."""
        old = {*indexes.DROPPED_OPTIONS, "bucket_size"}.intersection(options)
        if isinstance(session, (int, float)):
            old, session = old | {"cache_for"}, None
        if not old:
            return super().create_index(keys, session, *args, **options)
        warn(f"create_index({', '.join(sorted(old))}=...)", "create_index without it")
        return self._create_index_2014(keys, options, session)

    @Translated("create_index")
    def ensure_index(self, key_or_list: Any, cache_for: float = 300, **options: Any) -> str | None:
        """The name of the index; None if a call of this name made it in the last ``cache_for`` seconds."""
        cache_for = options.get("ttl", cache_for)
        if not isinstance(cache_for, (int, float)):
            raise TypeError("cache_for must be an integer or float.")
        if isinstance(key_or_list, abc.Mapping):
            raise TypeError("passing a dict to ensure_index is not allowed - use a list of tuples instead.")
        name = str(options.get("name") or IndexModel(key_or_list).document["name"])
        ensured = self.database._client_of_2014._ensured
        if ensured.lately(self, name) and name in self.index_information():
            return None
        created = self._create_index_2014(key_or_list, options)
        ensured.note(self, name, cache_for)
        return created

    def _create_index_2014(self, keys: Any, options: dict[str, Any], session: Any = None) -> str:
        index = indexes.as_today(keys, options)
        if list(index.document["key"]) == ["_id"]:
            return str(index.document["name"])  # it is always there, and takes no options today
        try:
            self.create_indexes([index], session=session)
        except pymongo_errors.OperationFailure as error:
            indexes.explain(error, index.document, options, self.index_information())
        return str(index.document["name"])

    @Translated("db.command('reIndex', name), which MongoDB hardly ever needs,")
    def reindex(self, session: Any = None, **kwargs: Any) -> Any:
        command = SON([("reIndex", self.name)])
        command.update(kwargs)
        try:
            return self._run(command, session)
        except pymongo_errors.OperationFailure as error:
            if error.code != ILLEGAL_OPERATION:
                raise
            raise NoSuchCall(
                "reindex: MongoDB 5.0 dropped it for replica sets, write drop_index and create_index."
            ) from error

    # Commands

    def _with_write_concern(self, command: SON[str, Any]) -> SON[str, Any]:
        if not self.write_concern.is_server_default:
            command.setdefault("writeConcern", self.write_concern.document)
        return command

    def _run(self, command: SON[str, Any], session: Any = None, read_preference: Any = None) -> Any:
        """The server's reply to a command on this collection, decoded as its documents are."""
        options = self._codec_options_of_2014()
        return self.database.command(command, session=session, read_preference=read_preference, codec_options=options)


class DroppedCollection(Collection):
    """A collection such as ``system.indexes``: MongoDB keeps that elsewhere, and it would be found empty."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise refusal(self.name, [])

    find = find_one = aggregate = distinct = count_documents = estimated_document_count = _refuse
    insert_one = insert_many = bulk_write = drop = drop_index = create_indexes = _refuse
    update_one = update_many = replace_one = delete_one = delete_many = _refuse
    find_one_and_update = find_one_and_replace = find_one_and_delete = _refuse
    _run = _writing = _refuse


def _require_order(sort: Any) -> None:
    """Raises ``TypeError`` for what says no order, as PyMongo 2 did."""
    ordered = isinstance(sort, (list, SON, OrderedDict)) or (isinstance(sort, dict) and len(sort) == 1)
    if sort and not ordered:
        raise TypeError(
            "sort must be a list of (key, direction) pairs, a dict of len 1, or an instance of SON or OrderedDict"
        )
