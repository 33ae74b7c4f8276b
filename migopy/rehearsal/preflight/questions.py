"""The questions to the real database: reading only, each within a limit of time, and those not answered named."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple, Sequence

from bson.errors import InvalidBSON
from pymongo import ReadPreference
from pymongo.errors import AutoReconnect, ExecutionTimeout, OperationFailure, PyMongoError

from ...mongo.failures import UNAUTHORIZED, server_message
from ...terminal.options import positive_number
from ..scratch.raw import RAW

if TYPE_CHECKING:
    from pymongo.database import Database

QUESTION_SECONDS = 5
"""How long the server may take for one question."""

ALL_SECONDS = 60
"""How long all questions of a rehearsal may take, unless the option ``preflight`` says otherwise."""

ANYWHERE = ReadPreference.SECONDARY_PREFERRED

SAMPLE = 1_000
"""Random documents, for an estimate where counting takes too long."""

MAX_EXAMPLES = 5

CONVERSION_FAILURE = 241
"""The code of the server's error for a value that an expression cannot convert."""

MAX_DUPLICATES = 1_000
"""How many values that stand in more than one document are counted at most."""


class Count(NamedTuple):
    number: int
    is_estimate: bool = False

    def __str__(self) -> str:
        about = "about " if self.is_estimate else ""
        return f"{about}{self.number:,} document{'' if self.number == 1 else 's'}"


class Duplicate(NamedTuple):
    """A value of an index that several documents have; ``ids`` are two of these."""

    value: Any
    documents: int
    ids: Sequence[Any]


class HiddenValue:
    """In the place of a value of the real data, where a team masks the values of the copy."""

    def __repr__(self) -> str:
        return "a value that is not shown"


class Questions:
    """Asks the real database, for at most so many ``seconds`` in all.

    With ``hides_values`` no answer has a value of the real data, except for those of ``_id``.
    """

    def __init__(
        self,
        db: Database[Any],
        seconds: float = ALL_SECONDS,
        *,
        until: float | None = None,
        hides_values: bool = False,
    ) -> None:
        codec_options = db.codec_options.with_options(unicode_decode_error_handler="replace", document_class=dict)
        self._db = db.with_options(codec_options, read_preference=ANYWHERE)
        self._until = time.monotonic() + seconds if until is None else until
        self.seconds = seconds
        self._hides_values = hides_values
        self._known: dict[tuple[str, str], Any] = {}
        self.unanswered: dict[tuple[str, str], str] = {}
        """Why a question could not be asked, by collection and what it was about."""

    def beside(self, db: Database[Any]) -> Questions:
        """Questions to another database, which have to be answered in the same time."""
        return Questions(db, self.seconds, until=self._until, hides_values=self._hides_values)

    @property
    def has_time(self) -> bool:
        return time.monotonic() < self._until

    @contextlib.contextmanager
    def _ask(self) -> Iterator[int]:
        """Around one question: the milliseconds that it may take. What prevents it is noted."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise NotAnswered(f"no time was left of {self.seconds:g} s")
        try:
            yield max(1, int(1000 * min(QUESTION_SECONDS, left)))
        except ExecutionTimeout as error:
            raise NotAnswered(f"it took longer than {min(QUESTION_SECONDS, left):.1f} s") from error
        except AutoReconnect as error:
            self._until = 0
            raise NotAnswered("no server answers") from error
        except OperationFailure as error:
            why = "the user may not" if error.code == UNAUTHORIZED else server_message(error)
            raise NotAnswered(why) from error
        except (PyMongoError, InvalidBSON, OverflowError) as error:
            raise NotAnswered(str(error)) from error

    @contextlib.contextmanager
    def noted(self, collection: str, about: str) -> Iterator[None]:
        """Around questions with one purpose: if one is not answered, the block ends, and that is noted."""
        try:
            yield
        except NotAnswered as error:
            self.unanswered.setdefault((collection, about), str(error))

    def names(self) -> set[str] | None:
        """The names of the collections; None if that question was not answered."""
        if ("names", "") not in self._known:
            self._known["names", ""] = None
            with contextlib.suppress(NotAnswered), self._ask():
                self._known["names", ""] = set(self._db.list_collection_names())
        found: set[str] | None = self._known["names", ""]
        return found

    def documents(self, name: str) -> Count:
        """How many documents a collection has, as far as MongoDB knows without counting."""
        if ("documents", name) not in self._known:
            # What estimated_document_count() of PyMongo 3.13 sends needs one more right.
            with self._ask() as milliseconds:
                reply = self._db.command({"count": name, "maxTimeMS": milliseconds}, read_preference=ANYWHERE)
            self._known["documents", name] = Count(reply["n"], is_estimate=True)
        found: Count = self._known["documents", name]
        return found

    def average_bytes(self, name: str) -> float:
        if ("bytes", name) not in self._known:
            with self._ask() as milliseconds:
                stages: list[dict[str, Any]] = [{"$collStats": {"storageStats": {}}}]
                stats = [each["storageStats"] for each in self._db[name].aggregate(stages, maxTimeMS=milliseconds)]
            number = sum(each.get("count", 0) for each in stats)
            self._known["bytes", name] = sum(each["size"] for each in stats) / number if number else 0
        return float(self._known["bytes", name])

    def count(self, name: str, filter: Mapping[str, Any], collation: Any = None) -> Count:
        """How many documents match, estimated from a sample if counting takes too long."""
        if not filter:
            return self.documents(name)
        asked = name, f"{filter} {collation}"
        if asked not in self._known:
            self._known[asked] = self._count(name, filter, {"collation": collation} if collation else {})
        found: Count = self._known[asked]
        return found

    def _count(self, name: str, filter: Mapping[str, Any], options: Mapping[str, Any]) -> Count:
        try:
            with self._ask() as milliseconds:
                return Count(self._db[name].count_documents(filter, maxTimeMS=milliseconds, **options))
        except NotAnswered as error:
            if not isinstance(error.__cause__, ExecutionTimeout):
                raise
        stages: list[dict[str, Any]] = [{"$sample": {"size": SAMPLE}}, {"$match": filter}, {"$count": "n"}]
        with self._ask() as milliseconds:
            found = next(iter(self._db[name].aggregate(stages, maxTimeMS=milliseconds, **options)), {"n": 0})
        return Count(round(self.documents(name).number * found["n"] / SAMPLE), is_estimate=True)

    def reads_all(self, name: str, filter: Mapping[str, Any], collation: Any = None) -> bool:
        """Whether no index fits the filter, so that MongoDB reads the whole collection."""
        find = {"find": name, "filter": filter, **({"collation": collation} if collation else {})}
        with self._ask() as milliseconds:
            explain = {"explain": find, "verbosity": "queryPlanner", "maxTimeMS": milliseconds}
            plan = self._db.command(explain, read_preference=ANYWHERE)
        return has_collscan({**plan, "command": None})  # a value in the command may look like a stage

    def conversion_error(self, name: str, filter: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]) -> str | None:
        """Why the server cannot compute the stages for one of the documents; None if it can."""
        # MongoDB would leave out what the last stage does not need.
        needs_all = {"$group": {"_id": None, "last": {"$max": "$$ROOT"}}}
        with self._ask() as milliseconds:
            try:
                list(self._db[name].aggregate([{"$match": filter}, *stages, needs_all], maxTimeMS=milliseconds))
            except OperationFailure as error:
                if error.code != CONVERSION_FAILURE:
                    raise
                return (
                    repr(HiddenValue())
                    if self._hides_values
                    else server_message(error).rpartition(" :: caused by :: ")[2]
                )
        return None

    def indexes(self, name: str) -> list[Mapping[str, Any]]:
        if ("indexes", name) not in self._known:
            with self._ask():
                self._known["indexes", name] = list(self._db[name].list_indexes())
        found: list[Mapping[str, Any]] = self._known["indexes", name]
        return found

    def options(self, name: str) -> Mapping[str, Any]:
        """The options of a collection, or an empty dictionary."""
        with self._ask():
            found = list(self._db.list_collections(filter={"name": name}))
        return found[0].get("options", {}) if found else {}

    def ids(self, name: str, filter: Mapping[str, Any]) -> list[Any]:
        """The ``_id``s of some documents that match."""
        with self._ask() as milliseconds:
            found = self._db[name].find(filter, {"_id": 1}, limit=MAX_EXAMPLES, max_time_ms=milliseconds)
            return [document.get("_id") for document in found]

    def bytes_in_index(self, name: str, index: Mapping[str, Any]) -> float:
        """About how much a document has in an index, from a sample and before MongoDB compresses it."""
        keys = {f"k{number}": f"${field}" for number, field in enumerate(index["key"])}
        stages: list[dict[str, Any]] = [{"$sample": {"size": SAMPLE}}, {"$project": {"_id": 0, **keys}}]
        with self._ask() as milliseconds:
            sample = self._db[name].with_options(RAW).aggregate(stages, maxTimeMS=milliseconds, batchSize=SAMPLE)
            sizes = [len(document.raw) for document in sample]
        return sum(sizes) / len(sizes) if sizes else 0

    def duplicates(
        self, name: str, index: Mapping[str, Any], filter: Mapping[str, Any]
    ) -> tuple[list[Duplicate], bool]:
        """The values that stand in more than one document, as a unique index counts them, and whether that is all.

        If all values take too long, only some are looked at.
        """
        try:
            return self._duplicates(name, index, filter), True
        except NotAnswered as error:
            if not isinstance(error.__cause__, ExecutionTimeout):
                raise
            found = self._duplicates(name, index, {"$and": [filter, self._some_values(name, index)]})
            if not found:
                raise
            return found, False

    def _duplicates(self, name: str, index: Mapping[str, Any], filter: Mapping[str, Any]) -> list[Duplicate]:
        collation = {"collation": index["collation"]} if index.get("collation") else {}
        with self._ask() as milliseconds:
            options = {"maxTimeMS": milliseconds, "allowDiskUse": True, "batchSize": MAX_DUPLICATES, **collation}
            found = self._db[name].aggregate(duplicates_pipeline(index, filter), **options)
            return [Duplicate(self._value(each["_id"]), each["n"], [each["one"], each["other"]]) for each in found]

    def _value(self, key: Mapping[str, Any]) -> Any:
        values = list(key.values())
        if self._hides_values:
            return HiddenValue()
        return values[0] if len(values) == 1 else values

    def _some_values(self, name: str, index: Mapping[str, Any]) -> dict[str, Any]:
        """A filter for about a twentieth of the documents: all that have certain values in the first field."""
        field = next(iter(index["key"]))
        stages: list[dict[str, Any]] = [
            {"$sample": {"size": SAMPLE}},
            {"$project": {"_id": 0, "value": f"${field}"}},
            {"$match": {"value": {"$ne": None, "$not": {"$type": "array"}}}},
            {"$sort": {"value": 1}},
        ]
        with self._ask() as milliseconds:
            sample = self._db[name].aggregate(stages, maxTimeMS=milliseconds, batchSize=SAMPLE)
            values = [each["value"] for each in sample]
        middle = values[len(values) // 2 :][: 1 + len(values) // 20]
        return {field: {"$gte": middle[0], "$lte": middle[-1]}} if middle else {field: None}


def preflight_seconds(preflight: str | None) -> float | None:
    """How long all questions may take, by the option ``preflight``; None for no question."""
    if preflight == "no":
        return None
    return ALL_SECONDS if preflight is None else positive_number("preflight", preflight)


class NotAnswered(Exception):  # noqa: N818 - it never leaves this room
    """The question could not be asked, or has no answer."""


def documents_of_index(index: Mapping[str, Any]) -> dict[str, Any]:
    """A filter for the documents that an index has: a sparse one has those with any of its fields."""
    if index.get("sparse"):
        return {"$or": [{field: {"$exists": True}} for field in index["key"]]}
    return dict(index.get("partialFilterExpression") or {})


def duplicates_pipeline(index: Mapping[str, Any], filter: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Stages that find the values of a unique index that stand in more than one document."""
    fields = list(index["key"])
    conditions = [filter, documents_of_index(index)]
    keys = {f"k{number}": f"${field}" for number, field in enumerate(fields)}
    # The index has one entry for each value of an array. A value that one document has twice is no duplicate.
    entries = {
        key: {"$cond": [{"$isArray": path}, {"$setUnion": [{"$cond": [{"$isArray": path}, path, []]}, []]}, path]}
        for key, path in keys.items()
    }
    return [
        {"$match": {"$and": [condition for condition in conditions if condition] or [{}]}},
        {"$project": entries},
        *({"$unwind": {"path": f"${key}", "preserveNullAndEmptyArrays": True}} for key in keys),
        # For the index a missing value is null.
        {
            "$group": {
                "_id": {key: {"$ifNull": [f"${key}", None]} for key in keys},
                "n": {"$sum": 1},
                "one": {"$min": "$_id"},
                "other": {"$max": "$_id"},
            }
        },
        {"$match": {"n": {"$gt": 1}}},
        {"$limit": MAX_DUPLICATES},
    ]


def has_collscan(plan: Any) -> bool:
    """Whether MongoDB reads a whole collection, or one of its shards, by the plan that ``explain`` shows."""
    if isinstance(plan, Mapping):
        return plan.get("stage") == "COLLSCAN" or any(
            has_collscan(inner) for name, inner in plan.items() if name != "rejectedPlans"
        )
    return isinstance(plan, list) and any(map(has_collscan, plan))
