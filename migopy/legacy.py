"""The calls of PyMongo 2 and 3 on today's PyMongo: what 2014's migrations find when ``up(db)`` gets its ``db``.

``database(db)`` makes a ``Database`` that is a real one, and whose collections and cursors are real ones too. They do
all that PyMongo's own do, and answer in addition what PyMongo 4 removed, with the arguments and the return values of
PyMongo 2.6 to 3.13. Each such call warns once per place of the call to write today (``warnings_shown``). Nothing here
depends on which PyMongo is installed: the old calls are made of today's, which PyMongo 3.13 has as well.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import sys
import warnings
from collections import OrderedDict, abc
from typing import Any, Callable, Iterator, NoReturn, cast
from uuid import UUID

import pymongo
import pymongo.collection
import pymongo.command_cursor
import pymongo.cursor
import pymongo.database
from bson import CodecOptions, ObjectId
from bson.binary import UuidRepresentation
from bson.code import Code
from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from pymongo import DeleteMany, DeleteOne, InsertOne, ReadPreference, ReplaceOne, UpdateMany, UpdateOne, common
from pymongo import errors as pymongo_errors
from pymongo.collation import validate_collation_or_none
from pymongo.cursor import CursorType
from pymongo.operations import IndexModel
from pymongo.results import DeleteResult, UpdateResult
from pymongo.write_concern import WriteConcern

from .errors import NoSuchCall

# What MongoDB no longer has: since which version, and what to write instead.
DROPPED = {
    "clone": ("4.2", "mongodump and mongorestore"),
    "cloneCollection": ("4.2", "mongoexport and mongoimport"),
    "copy_database": ("4.2", "mongodump and mongorestore"),
    "copydb": ("4.2", "mongodump and mongorestore"),
    "eval": ("4.2", "the same steps in Python, or aggregate with $function"),
    "geoNear": ("4.2", "aggregate with $geoNear"),
    "geoSearch": ("5.0", "aggregate with $geoNear"),
    "getLastError": ("5.1", "what the write itself returns or raises"),
    "getPrevError": ("5.1", "what the write itself returns or raises"),
    "group": ("4.2", "aggregate with $group"),
    "max_scan": ("4.2", "max_time_ms"),
    "parallelCollectionScan": ("4.2", "find"),
    "repairDatabase": ("4.2", "compact, or mongod --repair"),
    "resetError": ("5.1", "what the write itself returns or raises"),
    "touch": ("4.2", "nothing, WiredTiger needs no warming up"),
}

# What PyMongo no longer has and migopy does not translate: what to write instead.
UNTRANSLATED = {
    "add_son_manipulator": "a function of your own that changes the document before it is written",
    "authenticate": "MONGO_USER and MONGO_USER_PASSWORD in the fabfile",
    "current_op": "client.admin.command('currentOp')",
    "database_names": "db.client.list_database_names()",
    "drop_database": "db.client.drop_database(name)",
    "get_lasterror_options": "collection.write_concern",
    "logout": "MONGO_USER and MONGO_USER_PASSWORD in the fabfile",
    "profiling_info": "list(db['system.profile'].find())",
    "profiling_level": "db.command('profile', -1)['was']",
    "set_lasterror_options": "with_options(write_concern=WriteConcern(...))",
    "set_profiling_level": "db.command('profile', level)",
    "unset_lasterror_options": "with_options(write_concern=WriteConcern(...))",
}

# The parameters that follow the ones PyMongo 2 and 3 agree on. PyMongo 3 removed the first, ``safe``.
POSITIONAL = {
    "insert": (2, ("safe", "check_keys", "continue_on_error")),
    "save": (2, ("safe", "check_keys")),
    "update": (4, ("safe", "multi", "check_keys")),
    "remove": (1, ("safe", "multi")),
}

# Keywords of find that only have another name today, or no longer have a meaning.
FIND_RENAMED = {"spec": "filter", "spec_or_id": "filter", "fields": "projection", "partial": "allow_partial_results"}
FIND_IGNORED = {"manipulate", "network_timeout", "secondary_acceptable_latency_ms", "compile_re"}
FIND_TRANSLATED = {
    *("as_class", "read_preference", "slave_okay", "tag_sets"),
    *("await_data", "exhaust", "tailable", "timeout"),
    *("max_scan", "modifiers", "snapshot"),
}
FIND_OLD = {*FIND_RENAMED, *FIND_IGNORED, *FIND_TRANSLATED}
MODIFIERS = {
    "$comment": "comment",
    "$hint": "hint",
    "$max": "max",
    "$maxTimeMS": "max_time_ms",
    "$min": "min",
    "$orderby": "sort",
    "$returnKey": "return_key",
    "$showDiskLoc": "show_record_id",
}
NO_CURSOR_TIMEOUT = 16  # the flag of the wire protocol: with the keyword PyMongo warns that it wants a session
ILLEGAL_OPERATION, FAILED_TO_PARSE, COMMAND_NOT_FOUND, UNAUTHORIZED = 20, 9, 59, 13
DUPLICATE_KEYS = (11000, 11001, 12582)
PYMONGO_FOLDER = os.path.join(os.path.dirname(pymongo.__file__), "")


def database(db: pymongo.database.Database[Any]) -> Database:
    """The same database, with the same options, that also understands PyMongo 2 and 3."""
    return Database(db.client, db.name, **_options(db))


def _options(of: Any) -> dict[str, Any]:
    """The options that databases and collections share, under the names that their constructors take."""
    return {name: getattr(of, name) for name in ("codec_options", "read_preference", "write_concern", "read_concern")}


class LegacyCall(DeprecationWarning):
    """A call of PyMongo 2 or 3. The text names it and the one to write today."""


@contextlib.contextmanager
def warnings_shown(show: Callable[[str], None]) -> Iterator[None]:
    """Hand each ``LegacyCall`` to ``show`` as one line, once for each place: ``mongomigrations/1_a.py:3: insert: ...``.

    Python by itself hides a DeprecationWarning outside of ``__main__``.
    """
    with warnings.catch_warnings():
        show_others = warnings.showwarning

        def show_ours(message: Any, category: Any, filename: str, lineno: int, *rest: Any, **more: Any) -> None:
            if issubclass(category, LegacyCall):
                show(f"{_short(filename)}:{lineno}: {message}")
            else:
                show_others(message, category, filename, lineno, *rest, **more)

        warnings.showwarning = show_ours
        warnings.simplefilter("default", LegacyCall)
        yield


def _short(path: str) -> str:
    """The path as one would type it here."""
    here = os.path.join(os.getcwd(), "")
    return path[len(here) :] if path.startswith(here) else path


def _warn(old: str, today: str) -> None:
    """Warn at the line that made the call: the innermost one that is neither in this file nor in PyMongo."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith((__file__, PYMONGO_FOLDER)):
        frame = frame.f_back
    module = frame.f_globals
    warnings.warn_explicit(
        f"{old}: write {today} today",
        LegacyCall,
        frame.f_code.co_filename,
        frame.f_lineno,
        module.get("__name__", "<unknown>"),
        module.setdefault("__warningregistry__", {}),
    )


def _refusal(name: str, known: list[str]) -> NoSuchCall:
    """The error for a method that neither PyMongo nor migopy has: what to write instead."""
    if name in DROPPED:
        since, today = DROPPED[name]
        return NoSuchCall(f"{name}: MongoDB {since} dropped it, write {today}.")
    if name in UNTRANSLATED:
        return NoSuchCall(f"{name}: PyMongo 4 removed it, write {UNTRANSLATED[name]}.")
    similar = difflib.get_close_matches(name, [method for method in known if not method.startswith("_")])
    return NoSuchCall(f"PyMongo has no method {name!r}" + (f", but {' and '.join(similar)}." if similar else "."))


class Translated:
    """A method of PyMongo 2 or 3 that today's has not. Calling it warns and names ``today``'s.

    In PyMongo 4 the attribute ``db.notes.insert`` is the collection ``notes.insert``, and so it is here: it only can be
    called in addition.
    """

    def __init__(self, today: str) -> None:
        self.today = today

    def __call__(self, method: Callable[..., Any]) -> Translated:
        self.method = method
        return self

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        collection = instance[self.name]
        collection._as_method = functools.partial(self.translate, instance)
        return collection

    def translate(self, instance: Any, *args: Any, **kwargs: Any) -> Any:
        _warn(self.name, self.today)
        shared, names = POSITIONAL.get(self.name, (len(args), ()))
        if not len(args) - shared <= len(names):
            return self.method(instance, *args, **kwargs)  # too many: a TypeError
        return self.method(instance, *args[:shared], **self.meaning(names, args[shared:]), **kwargs)

    def meaning(self, names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
        """The arguments after those that PyMongo 2 and 3 agree on, by name, as far as they are not the defaults.

        ``update(spec, document, True, False, True)`` said ``safe`` in PyMongo 2 and ``multi`` in PyMongo 3: refused,
        where the two differ in what is written. (An unnamed ``safe=False`` may well be acknowledged.)
        """
        defaults = {**(self.method.__kwdefaults__ or {}), "safe": None}

        def changes(names: tuple[str, ...]) -> dict[str, Any]:
            given = dict(zip(names, values))
            given.pop("safe", None)
            return {name: value for name, value in given.items() if value != defaults[name]}

        if len(values) < len(names) and changes(names) != changes(names[1:]):
            raise NoSuchCall(
                f"{self.name}: PyMongo 2 takes argument {POSITIONAL[self.name][0] + 1} for {names[0]}, PyMongo 3 for"
                f" {names[1]}: write its name, as in {names[1]}={values[0]!r}."
            )
        return changes(names)


def _by_name(name: str) -> Any:
    """An attribute that is the collection of that name, as in PyMongo 4, where PyMongo 3 has a method."""
    return property(lambda self: self[name])


def _check_keys(value: Any) -> None:
    """Refuse keys with a dot or a leading dollar, at any depth, as PyMongo 2 and 3 did."""
    if isinstance(value, (list, tuple)):
        for member in value:
            _check_keys(member)
    elif isinstance(value, abc.Mapping) and not isinstance(value, RawBSONDocument):
        for key, member in value.items():
            if str(key).startswith("$"):
                raise InvalidDocument(f"key {key!r} must not start with '$'")
            if "." in str(key):
                raise InvalidDocument(f"key {key!r} must not contain '.'")
            _check_keys(member)


def _has_uuid(value: Any) -> bool:
    """Whether there is a UUID at any depth: PyMongo 4 refuses it if it was not told how to store one."""
    if isinstance(value, abc.Mapping):
        value = list(value.values())
    return isinstance(value, UUID) or (isinstance(value, (list, tuple)) and any(map(_has_uuid, value)))


def _boolean(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False")


def _pairs(order: Any) -> Any:
    """The order of a sort or an index as the document that commands take."""
    return SON(order) if isinstance(order, (list, tuple)) else order


def _projection(fields: Any) -> Any:
    """``fields`` of PyMongo 2: names or a document; none at all leaves the ``_id``."""
    if isinstance(fields, abc.Mapping):
        return fields
    if isinstance(fields, (abc.Sequence, abc.Set)):
        if not all(isinstance(field, str) for field in fields):
            raise TypeError("fields must be a list of key names, each an instance of str")
        return dict.fromkeys(fields, 1)
    raise TypeError("fields must be a mapping or list of key names")


def _raise_write_error(reply: Any) -> None:
    """Raise for the last error in the reply to a write, as PyMongo 2 and 3 did (``helpers._raise_last_error``)."""
    if reply.get("writeErrors"):
        error = reply["writeErrors"][-1]
        duplicate = error.get("code") in DUPLICATE_KEYS
        kind = pymongo_errors.DuplicateKeyError if duplicate else pymongo_errors.WriteError
        raise kind(error.get("errmsg"), error.get("code"), error)
    concern_errors = reply.get("writeConcernErrors") or [reply.get("writeConcernError")]
    if concern_errors[-1]:
        error = concern_errors[-1]
        timed_out = error.get("errInfo", {}).get("wtimeout")
        failure = pymongo_errors.WTimeoutError if timed_out else pymongo_errors.WriteConcernError
        raise failure(error.get("errmsg"), error.get("code"), error)


class CommandCursor(pymongo.command_cursor.CommandCursor):  # type: ignore[type-arg]
    """What aggregate returns: a cursor since PyMongo 3, and before it the document ``{'result': [...], 'ok': 1.0}``."""

    def __getitem__(self, key: str) -> Any:
        if key not in ("result", "ok"):
            raise KeyError(key)
        _warn(f"aggregate(...)[{key!r}]", "list(aggregate(...))")
        return 1.0 if key == "ok" else list(self)


class Cursor(pymongo.cursor.Cursor):  # type: ignore[type-arg]
    """What find returns."""

    def count(self, with_limit_and_skip: bool = False) -> int:
        """How many documents the query finds, without regard to limit and skip if not asked for."""
        _warn("count", "count_documents")
        _boolean("with_limit_and_skip", with_limit_and_skip)
        options = {"maxTimeMS": "max_time_ms", "comment": "comment", "hint": "hint", "collation": "collation"}
        if with_limit_and_skip:
            options.update(limit="limit", skip="skip")
        told = {option: self._told(name) for option, name in options.items()}
        command = SON([("count", self.collection.name), ("query", self._told("spec"))])
        command.update({option: value for option, value in told.items() if value})
        return cast(Collection, self.collection)._count(command, self.session)

    def _told(self, name: str) -> Any:
        """What the cursor was told. Before PyMongo 4.9 its attributes are private to ``Cursor``."""
        return vars(self).get(f"_{name}", vars(self).get(f"_Cursor__{name}"))


class Collection(pymongo.collection.Collection):  # type: ignore[type-arg]
    """A collection that understands PyMongo 2 and 3."""

    _as_method: Callable[..., Any] | None = None
    group = _by_name("group")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """``db.notes.insert(...)``: the collection ``notes.insert``, called."""
        if self._as_method:
            return self._as_method(*args, **kwargs)
        owner = Collection if "." in self.name else Database
        raise _refusal(self.name.split(".")[-1], dir(owner))

    def __bool__(self) -> bool:  # type: ignore[override]
        """True in PyMongo 2 and 3, which ``collection or db.default`` relies on; refused by PyMongo 4."""
        _warn("the truth value of a collection", "'is not None'")
        return True

    def __getitem__(self, name: str) -> Collection:
        return self.database._legacy(super().__getitem__(name))

    @property
    def database(self) -> Database:
        return cast(Database, super().database)

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
                _check_keys(document)
            ids.append(document.get("_id"))
            # Today's PyMongo adds the _id in any case: to a copy, if it is not wanted in the document.
            documents.append(SON(document) if "_id" not in document else document)
        try:
            collection.bulk_write([InsertOne(document) for document in documents], ordered=not continue_on_error)
        except pymongo_errors.BulkWriteError as error:
            _raise_write_error(error.details)
        self.database._status = {} if collection.write_concern.acknowledged else None
        return ids[0] if one else ids

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
        _boolean("upsert", upsert)
        collection = self._writing(**concern)
        changes = bool(document) and next(iter(document)).startswith("$")
        if multi and not changes:
            raise pymongo_errors.WriteError(
                "multi update is not supported for replacement-style update", FAILED_TO_PARSE
            )
        write: Any = collection.replace_one
        if changes:
            write = collection.update_many if multi else collection.update_one
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
        return self._reply(delete(spec, collation=collation))

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
        ordered = isinstance(sort, (list, SON, OrderedDict)) or (isinstance(sort, dict) and len(sort) == 1)
        if sort and not ordered:
            raise TypeError(
                "sort must be a list of (key, direction) pairs, a dict of len 1, or an instance of SON or OrderedDict"
            )
        fields = kwargs.pop("fields", None)
        collation = validate_collation_or_none(kwargs.pop("collation", None))
        given = dict(query=query, update=update, upsert=upsert, sort=_pairs(sort), collation=collation)
        command = SON([("findAndModify", self.name), *((name, value) for name, value in given.items() if value)])
        command.update(kwargs)
        if fields is not None:
            command["fields"] = _projection(fields)
        reply = self._run(self._with_write_concern(command))
        _raise_write_error(reply)
        return reply if full_response else reply.get("value")

    @Translated("bulk_write(requests)")
    def initialize_ordered_bulk_op(self, bypass_document_validation: bool = False) -> Bulk:
        return Bulk(self, True, bypass_document_validation)

    @Translated("bulk_write(requests, ordered=False)")
    def initialize_unordered_bulk_op(self, bypass_document_validation: bool = False) -> Bulk:
        return Bulk(self, False, bypass_document_validation)

    def _writing(self, safe: bool | None = None, **concern: Any) -> Collection:
        """This collection with the write concern of the call, which takes the place of its own: PyMongo 2.6's rule.

        UUIDs are stored as PyMongo 2 and 3 did, unless the client has a representation of its own.
        """
        if safe is not None:
            _boolean("safe", safe)
        if concern:
            write_concern = WriteConcern(**concern)
        elif safe is None or (safe and self.write_concern.acknowledged):
            write_concern = self.write_concern
        else:
            write_concern = WriteConcern() if safe else WriteConcern(w=0)
        return self.with_options(codec_options=self._codec_options_of_2014(), write_concern=write_concern)

    def _codec_options_of_2014(self) -> CodecOptions[Any]:
        options = self.codec_options
        if options.uuid_representation == getattr(UuidRepresentation, "UNSPECIFIED", 0):
            return options.with_options(uuid_representation=UuidRepresentation.PYTHON_LEGACY)
        return options

    def _reply(self, result: UpdateResult | DeleteResult) -> dict[str, Any] | None:
        reply = result.raw_result if result.acknowledged else None
        self.database._status = cast("dict[str, Any] | None", reply)
        return self.database._status

    # Reads

    def find(self, *args: Any, **kwargs: Any) -> Cursor:
        if not FIND_OLD.isdisjoint(kwargs):
            old = ", ".join(sorted(FIND_OLD.intersection(kwargs)))
            _warn(f"find({old}=...)", "find(filter, projection, ...)")
            return self._find_2014(*args, **kwargs)
        collection = self
        if self.codec_options != self._codec_options_of_2014() and _has_uuid([args, kwargs.get("filter")]):
            _warn("find with a UUID", "MONGO_CLIENT_OPTIONS = {'uuidRepresentation': 'pythonLegacy'}")
            collection = self.with_options(codec_options=self._codec_options_of_2014())
        return Cursor(collection, *args, **kwargs)

    def find_one(self, filter: Any = None, *args: Any, **kwargs: Any) -> Any:
        for old in ("spec_or_id", "spec"):
            if filter is None and old in kwargs:
                filter = kwargs.pop(old)
                _warn(f"find_one({old}=...)", "find_one(filter)")
        return super().find_one(filter, *args, **kwargs)

    def _find_2014(self, *args: Any, **kwargs: Any) -> Cursor:
        """find with keywords of PyMongo 2.6 to 3.13, each as today's."""
        old = {name: kwargs.pop(name) for name in FIND_OLD.intersection(kwargs)}
        kwargs.update({today: old[name] for name, today in FIND_RENAMED.items() if old.get(name) is not None})
        if "projection" in kwargs and not kwargs["projection"]:
            kwargs["projection"] = {"_id": 1}
        if old.get("max_scan"):
            raise _refusal("max_scan", [])
        for modifier, value in (old.get("modifiers") or {}).items():
            if modifier in MODIFIERS:
                kwargs[MODIFIERS[modifier]] = list(value.items()) if isinstance(value, abc.Mapping) else value
        if old.get("snapshot"):
            kwargs.setdefault("hint", [("_id", 1)])  # as the manual says since MongoDB 4.0 dropped snapshot
        if old.get("tailable"):
            kwargs["cursor_type"] = CursorType.TAILABLE_AWAIT if old.get("await_data") else CursorType.TAILABLE
        if old.get("exhaust"):
            kwargs["cursor_type"] = CursorType.EXHAUST
        cursor = Cursor(self._reading(old), *args, **kwargs)
        return cursor if old.get("timeout", True) else cast(Cursor, cursor.add_option(NO_CURSOR_TIMEOUT))

    def _reading(self, old: dict[str, Any]) -> Collection:
        """This collection with the options that were keywords of find in PyMongo 2."""
        codec_options = self._codec_options_of_2014()
        if old.get("as_class"):
            codec_options = codec_options.with_options(document_class=old["as_class"])
        preference = old.get("read_preference")
        if preference is None and old.get("slave_okay"):
            preference = ReadPreference.SECONDARY_PREFERRED
        if old.get("tag_sets") and old["tag_sets"] != [{}]:
            preference = cast(Any, type(preference or self.read_preference))(tag_sets=old["tag_sets"])
        return self.with_options(codec_options=codec_options, read_preference=preference)

    def aggregate(self, pipeline: Any, *args: Any, **kwargs: Any) -> CommandCursor:
        if isinstance(pipeline, (abc.Mapping, tuple)):
            _warn("aggregate of one stage", "aggregate([stage])")
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
        kwargs["hint"] = _pairs(kwargs.get("hint"))
        kwargs["collation"] = validate_collation_or_none(kwargs.get("collation"))
        command = SON([("count", self.name)])
        command.update({name: value for name, value in kwargs.items() if value is not None})
        return self._count(command, session)

    def _count(self, command: SON[str, Any], session: Any) -> int:
        if self.read_concern.level and session is None:
            command["readConcern"] = self.read_concern.document
        return int(self._run(command, session, self.read_preference)["n"])

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
            return database(self.database.client[result["db"]])[result["collection"]]
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
        command = SON([("mapReduce", self.name), ("map", map), ("reduce", reduce), ("out", out)])
        command.update({**kwargs, **({"collation": collation} if collation else {})})
        inline = "inline" in out
        return self._run(command if inline else self._with_write_concern(command), session, preference)

    @Translated("find")
    def parallel_scan(self, num_cursors: int, session: Any = None, **kwargs: Any) -> list[CommandCursor]:
        """At most so many cursors that return all documents between them: one, since MongoDB 4.2 has no others."""
        return [self.aggregate([], session=session, **kwargs)]

    # Indexes

    def create_index(self, keys: Any, session: Any = None, *args: Any, **options: Any) -> Any:
        """As today, and with ``cache_for`` (PyMongo 2's second argument), ``ttl``, ``drop_dups`` and ``bucket_size``.

        MongoDB 3.0 dropped ``dropDups``; a unique index is built as long as there is nothing to drop.
        """
        old = {"cache_for", "ttl", "drop_dups", "dropDups", "bucket_size"}.intersection(options)
        if isinstance(session, (int, float)):
            old, session = old | {"cache_for"}, None
        if not old:
            return super().create_index(keys, session, *args, **options)
        _warn(f"create_index({', '.join(sorted(old))}=...)", "create_index without it")
        return self._create_index_2014(keys, options, session)

    @Translated("create_index")
    def ensure_index(self, key_or_list: Any, cache_for: float = 300, **options: Any) -> str | None:
        """The name of the index, or None if it is there already: asked from the server, never from a cache."""
        if not isinstance(options.get("ttl", cache_for), (int, float)):
            raise TypeError("cache_for must be an integer or float.")
        if isinstance(key_or_list, abc.Mapping):
            raise TypeError("passing a dict to ensure_index is not allowed - use a list of tuples instead.")
        name = options.get("name") or IndexModel(key_or_list).document["name"]
        if name in self.index_information():
            return None
        return self._create_index_2014(key_or_list, options)

    def _create_index_2014(self, keys: Any, options: dict[str, Any], session: Any = None) -> str:
        kept = {name: value for name, value in options.items() if name not in ("cache_for", "ttl")}
        drop_dups = [kept.pop(name, False) for name in ("drop_dups", "dropDups")]
        if "bucket_size" in kept:
            kept["bucketSize"] = kept.pop("bucket_size")
        try:
            return super().create_index(keys, session, **kept)
        except pymongo_errors.DuplicateKeyError as error:
            if not any(drop_dups):
                raise
            found = str(error).partition(", full error:")[0]
            raise NoSuchCall(
                f"drop_dups: MongoDB 3.0 dropped it, remove the duplicates before create_index ({found})."
            ) from error

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


class Bulk:
    """PyMongo 2.7's ``BulkOperationBuilder``: collects requests until ``execute()``."""

    def __init__(self, collection: Collection, ordered: bool, bypass_document_validation: bool) -> None:
        self.collection = collection
        self.options: dict[str, Any] = {"ordered": ordered, "bypass_document_validation": bypass_document_validation}
        self.requests: list[Any] = []
        self.executed = False

    def find(self, selector: Any, collation: Any = None) -> BulkSelection:
        common.validate_is_mapping("selector", selector)
        return BulkSelection(self.requests, selector, collation)

    def insert(self, document: Any) -> None:
        common.validate_is_document_type("document", document)
        if not isinstance(document, RawBSONDocument) and "_id" not in document:
            document["_id"] = ObjectId()
        self.requests.append(InsertOne(document))

    def execute(self, write_concern: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """What was done (``nInserted``, ``nMatched``, ...); None for ``w=0``."""
        if self.executed and self.requests:
            raise pymongo_errors.InvalidOperation("Bulk operations can only be executed once.")
        self.executed = bool(self.requests)
        collection = self.collection._writing(**(write_concern or {}))
        result = collection.bulk_write(self.requests, **self.options)
        return result.bulk_api_result if result.acknowledged else None


class BulkSelection:
    """What follows ``bulk.find(selector)``: PyMongo 2.7's ``BulkWriteOperation`` and ``BulkUpsertOperation``."""

    def __init__(self, requests: list[Any], selector: Any, collation: Any, upsert: bool = False) -> None:
        self.requests, self.selector, self.collation, self.upserts = requests, selector, collation, upsert

    def upsert(self) -> BulkSelection:
        return BulkSelection(self.requests, self.selector, self.collation, upsert=True)

    def update_one(self, update: Any) -> None:
        common.validate_ok_for_update(update)
        self.requests.append(UpdateOne(self.selector, update, upsert=self.upserts, collation=self.collation))

    def update(self, update: Any) -> None:
        common.validate_ok_for_update(update)
        self.requests.append(UpdateMany(self.selector, update, upsert=self.upserts, collation=self.collation))

    def replace_one(self, replacement: Any) -> None:
        common.validate_ok_for_replace(replacement)
        self.requests.append(ReplaceOne(self.selector, replacement, upsert=self.upserts, collation=self.collation))

    def remove_one(self) -> None:
        self.requests.append(DeleteOne(self.selector, collation=self.collation))

    def remove(self) -> None:
        self.requests.append(DeleteMany(self.selector, collation=self.collation))


class SystemJS:
    """``db.system_js``: the stored functions, which MongoDB still has, though it can no longer call one by itself."""

    def __init__(self, db: Database) -> None:
        vars(self)["_functions"] = db["system.js"]

    def __setattr__(self, name: str, code: str) -> None:
        _warn("system_js", "db['system.js'].replace_one")
        self._functions.replace_one({"_id": name}, {"_id": name, "value": Code(code)}, upsert=True)

    def __delattr__(self, name: str) -> None:
        _warn("system_js", "db['system.js'].delete_one")
        self._functions.delete_one({"_id": name})

    def __getattr__(self, name: str) -> NoReturn:
        raise _refusal("eval", [])

    __setitem__, __delitem__, __getitem__ = __setattr__, __delattr__, __getattr__

    def list(self) -> Any:
        _warn("system_js", "db['system.js'].distinct('_id')")
        return self._functions.distinct("_id")


class Database(pymongo.database.Database):  # type: ignore[type-arg]
    """A database whose collections understand PyMongo 2 and 3."""

    eval, authenticate, logout = _by_name("eval"), _by_name("authenticate"), _by_name("logout")
    add_son_manipulator, current_op = _by_name("add_son_manipulator"), _by_name("current_op")
    profiling_level, set_profiling_level = _by_name("profiling_level"), _by_name("set_profiling_level")
    profiling_info = _by_name("profiling_info")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._status: dict[str, Any] | None = {}  # the reply to the last write; None: it was not acknowledged

    def __bool__(self) -> bool:  # type: ignore[override]
        _warn("the truth value of a database", "'is not None'")
        return True

    def __getitem__(self, name: str) -> Collection:
        return self._legacy(super().__getitem__(name))

    def get_collection(self, *args: Any, **kwargs: Any) -> Collection:
        return self._legacy(super().get_collection(*args, **kwargs))

    def create_collection(self, *args: Any, **kwargs: Any) -> Collection:
        return self._legacy(super().create_collection(*args, **kwargs))

    def with_options(self, *args: Any, **kwargs: Any) -> Database:
        return database(super().with_options(*args, **kwargs))

    def _legacy(self, collection: pymongo.collection.Collection[Any]) -> Collection:
        return Collection(self, collection.name, **_options(collection))

    @property
    def system_js(self) -> SystemJS:
        return SystemJS(self)

    def command(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        """As today, without the options of PyMongo 2, and with a sentence for a command that MongoDB dropped."""
        old = {"as_class", "compile_re", "secondary_acceptable_latency_ms", "slave_okay", "tag_sets", "uuid_subtype"}
        for name in old.intersection(kwargs):
            _warn(f"command({name}=...)", "command without it")
            value = kwargs.pop(name)
            if name == "as_class":
                kwargs["codec_options"] = self.codec_options.with_options(document_class=value)
        try:
            return super().command(command, *args, **kwargs)
        except pymongo_errors.OperationFailure as error:
            name = str(command if isinstance(command, str) else next(iter(command))).lstrip("$").lower()
            dropped = [known for known in DROPPED if known.lower() == name]
            if dropped and (error.code == COMMAND_NOT_FOUND or "not supported" in str(error)):
                raise _refusal(dropped[0], []) from error
            raise

    @Translated("list_collection_names")
    def collection_names(self, include_system_collections: bool = True, session: Any = None) -> list[str]:
        names = self.list_collection_names(session=session)
        return [name for name in names if include_system_collections or not name.startswith("system.")]

    @Translated("what the write itself returns or raises")
    def last_status(self) -> dict[str, Any]:
        """What getLastError said of the last write of this ``db``, whose errors are raised by the write itself."""
        if self._status is None:
            raise _refusal("getLastError", [])
        return {"n": 0, "err": None, "ok": 1.0, **self._status}

    @Translated("what the write itself returns or raises")
    def error(self) -> None:
        if self._status is None:
            raise _refusal("getLastError", [])

    @Translated("what the write itself returns or raises")
    def previous_error(self) -> None:
        if self._status is None:
            raise _refusal("getPrevError", [])

    @Translated("nothing")
    def reset_error_history(self) -> None:
        self._status = {}

    @Translated("command('createUser', ...) or command('updateUser', ...)")
    def add_user(
        self, name: str, password: str | None = None, read_only: bool | None = None, session: Any = None, **kwargs: Any
    ) -> None:
        """Create the user, as owner of this database if no roles are given, or change the one there is."""
        for argument, value in (("name", name), ("password", password)):
            if not isinstance(value, str) and not (argument == "password" and value is None):
                raise TypeError(f"{argument} must be an instance of str")
        if password == "":
            raise ValueError("password can't be empty")
        if read_only is not None:
            _boolean("read_only", read_only)
            if "roles" in kwargs:
                raise pymongo_errors.ConfigurationError("Can not use read_only and roles together")
        if "digestPassword" in kwargs:
            raise pymongo_errors.ConfigurationError("The digestPassword option is not supported via add_user")
        create = self._lacks_user(name, session)
        if read_only or (create and "roles" not in kwargs):
            owner, reader = ("root", "readAnyDatabase") if self.name == "admin" else ("dbOwner", "read")
            kwargs["roles"] = [reader if read_only else owner]
        if password is not None:
            kwargs["pwd"] = password
        self.command("createUser" if create else "updateUser", name, session=session, **kwargs)

    def _lacks_user(self, name: str, session: Any) -> bool:
        try:
            return not self.command("usersInfo", name, session=session)["users"]
        except pymongo_errors.OperationFailure as error:
            if error.code == UNAUTHORIZED:  # the first user is made before anybody can ask for users
                return True
            raise

    @Translated("command('dropUser', name)")
    def remove_user(self, name: str, session: Any = None) -> None:
        self.command("dropUser", name, session=session)
