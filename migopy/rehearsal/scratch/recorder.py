"""The recorder: what was sent to a database to look for documents or to change them, with how long it took."""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Hashable, Iterator, Mapping, NamedTuple

from .fields import shape

if TYPE_CHECKING:
    from pymongo import monitoring

MAX_DISTINCT = 5
"""How many commands that differ only in values are recorded, each with its own values."""

READS = ("find", "aggregate", "distinct")

FIND_ONE, WALK = "find one", "walk"
"""A find of one document, and the beginning of a walk in batches: they are recorded as if they were commands."""

FIND_AND_MODIFY = ("findAndModify", "findandmodify")
"""The server knows both."""


class Part(NamedTuple):
    """One change of a command: an ``update`` command may have many. ``name`` is the command.

    Updates and deletes have ``filter``, ``update`` and ``multi`` in ``body``, whatever command they come from. Those
    that read have ``text``: in it are the names of the fields that they look at, or it is empty for whole documents.
    A find and a walk have their ``filter``.
    """

    name: str
    body: Mapping[str, Any]
    collection: str


@dataclass(eq=False)
class Sent:
    """A change or a read, with how often it was sent, how many documents it has changed, and how long that took.

    ``walk`` is the filter of the walk in batches that it was a part of. If it ``varies``, its values are those of one
    of many.
    """

    name: str
    collection: str
    body: Mapping[str, Any]
    walk: Mapping[str, Any] | None = None
    varies: bool = False
    times: int = 0
    documents: float = 0
    seconds: float = 0.0

    @property
    def filter(self) -> Mapping[str, Any]:
        """That of the walk, if there is one."""
        found: Mapping[str, Any] = self.body["filter"] if self.walk is None else self.walk
        return found

    @property
    def verb(self) -> str:
        """The command, as people know it."""
        return "find" if self.name == FIND_ONE else self.name

    @property
    def is_by_id(self) -> bool:
        """Whether it names one document."""
        return self.walk is None and "_id" in self.filter and not _has_operators(self.filter["_id"])


@dataclass
class Recorder:
    """Records commands that change or read documents, in the order in which they were first sent."""

    _sent: list[Sent] = field(default_factory=list)
    _walks: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _writing_walks: set[str] = field(default_factory=set)
    _groups: dict[Hashable, dict[str, Sent]] = field(default_factory=dict)
    _under_way: dict[int, tuple[list[Sent], float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def sent(self) -> list[Sent]:
        return [*self._sent]

    def begin_walk(self, collection: str, filter: Mapping[str, Any]) -> None:
        """From here on, the changes of that collection belong to one walk in batches."""
        self._record(Part(WALK, {"text": "", "filter": filter}, collection))
        self._walks[collection] = filter
        self._writing_walks.discard(collection)

    def end_walk(self, collection: str) -> None:
        self._walks.pop(collection, None)
        if collection not in self._writing_walks:  # it has looked at documents, and changed none of these
            self._record(Part("find", {"text": "", "filter": {}}, collection))

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        # The server will refuse a command that has not the form of its kind; PyMongo would print what is raised here.
        with contextlib.suppress(LookupError, TypeError, AttributeError, ValueError):
            parts = [*_parts(event.command_name, event.command)]
            recorded = [self._record(part) for part in parts if not self._is_read_of_walk(part)]
            if recorded:
                self._under_way[event.request_id] = recorded, time.monotonic()

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        # The duration of the event includes what other listeners did before the command was sent.
        recorded, since = self._under_way.pop(event.request_id, ([], 0))
        seconds = time.monotonic() - since
        reply = event.reply
        documents = reply.get("n", 0) or int(bool(reply.get("value")))
        for each in recorded:
            each.documents += documents / len(recorded)
            each.seconds += seconds / len(recorded)

    def _is_read_of_walk(self, part: Part) -> bool:
        return part.name in (*READS, FIND_ONE) and part.collection in self._walks

    def _record(self, part: Part) -> Sent:
        walk = self._walks.get(part.collection)
        with self._lock:
            self._writing_walks.add(part.collection)
            alike: Hashable = (part.name, part.collection, repr(walk), shape(part.body))
            group = self._groups.setdefault(alike, {})
            if len(group) == 1 and next(iter(group.values())).varies:
                (found,) = group.values()
            else:
                found = self._find(part, walk, group)
            found.times += 1
            return found

    def _find(self, part: Part, walk: Mapping[str, Any] | None, group: dict[str, Sent]) -> Sent:
        """The same change as it was sent before, a new one, or from now on one for all that are alike."""
        values = "" if walk is not None else repr(part.body)
        if values in group:
            return group[values]
        # The code may change its values before they are looked at.
        new = Sent(part.name, part.collection, copy.deepcopy(part.body), walk)
        if len(group) < (1 if "filter" in part.body and new.is_by_id else MAX_DISTINCT):
            group[values] = new
            self._sent.append(group[values])
            return group[values]
        first, *others = group.values()
        for other in others:
            first.times, first.documents = first.times + other.times, first.documents + other.documents
            first.seconds += other.seconds
            self._sent.remove(other)
        first.varies = True
        group.clear()
        group[""] = first
        return first


def _parts(name: str, command: Mapping[str, Any]) -> Iterator[Part]:
    place = next(iter(command.values()), None)
    collection = str(place)
    if name in ("update", "delete", *FIND_AND_MODIFY):
        yield from (Part(*kind_and_body, collection) for kind_and_body in _writes(name, command))
    elif name == "bulkWrite":
        yield from map(_part_of_bulk_write, command["ops"], [command["nsInfo"]] * len(command["ops"]))
    elif name == "insert":
        yield Part(name, {}, collection)
    elif name == "createIndexes":
        yield from (Part(name, index, collection) for index in command["indexes"])
    elif name == "renameCollection":
        new = _collection_of(command["to"])
        body = {"to": new, "dropTarget": command.get("dropTarget", False)}
        yield Part(name, body, _collection_of(collection))
    elif name in ("collMod", "create", "convertToCapped", "drop", "dropIndexes", "dropDatabase"):
        yield Part(name, _options(command), collection)
    elif name in READS and isinstance(place, str):  # otherwise it looks at the server, as our watcher does
        written = list(_written_by(collection, command.get("pipeline", ())))
        yield from written or _read(name, command, collection)


def _writes(name: str, command: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if name in FIND_AND_MODIFY:
        kind = "delete" if command.get("remove") else "update"
        yield kind, _write(command, command.get("query", {}), command.get("update"))
    for each in command.get("updates", ()):
        yield "update", _write(each, each["q"], each["u"])
    for each in command.get("deletes", ()):
        yield "delete", _write(each, each["q"], None, multi=not each.get("limit"))


def _write(each: Mapping[str, Any], filter: Any, update: Any, multi: bool | None = None) -> dict[str, Any]:
    body = {"filter": filter, "update": update, "multi": each.get("multi", False) if multi is None else multi}
    return {**body, **({"collation": each["collation"]} if each.get("collation") else {})}


def _part_of_bulk_write(operation: Mapping[str, Any], namespaces: Any) -> Part:
    name, place = next(iter(operation.items()))
    body = {} if name == "insert" else _write(operation, operation["filter"], operation.get("updateMods"))
    return Part(name, body, _collection_of(namespaces[place]["ns"]))


def _written_by(source: str, pipeline: Any) -> Iterator[Part]:
    for stage in pipeline:
        for name in ("$out", "$merge"):
            if name in stage:
                target = stage[name]
                while isinstance(target, Mapping):
                    target = target.get("coll") or target.get("into")
                yield Part(name, {"from": source}, str(target))


def _read(name: str, command: Mapping[str, Any], collection: str) -> Iterator[Part]:
    """What looks at documents, to decide what becomes of them. One that is read by its ``_id`` was found before."""
    if name != "find":
        yield Part(name, {"text": repr(command)}, collection)
        return
    filter, projection = command.get("filter", {}), command.get("projection")
    asked = {"filter": filter, **({"collation": command["collation"]} if command.get("collation") else {})}
    if "_id" in filter and not _has_operators(filter["_id"]):
        return
    if command.get("limit") == 1:
        yield Part(FIND_ONE, asked, collection)
    else:
        yield Part(name, {**asked, "text": repr([filter, projection]) if projection else ""}, collection)


def _options(command: Mapping[str, Any]) -> dict[str, Any]:
    of_the_driver = ("lsid", "writeConcern", "readConcern")
    return {
        name: value
        for number, (name, value) in enumerate(command.items())
        if number and name not in of_the_driver and not name.startswith("$")
    }


def _collection_of(namespace: str) -> str:
    return namespace.partition(".")[2]


def _has_operators(value: object) -> bool:
    return isinstance(value, Mapping) and any(str(key).startswith("$") for key in value)
