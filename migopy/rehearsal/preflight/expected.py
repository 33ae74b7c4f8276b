"""What the commands of a run will have made of the real collections when the next one comes."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Collection, Iterator, Mapping, NamedTuple

from ..scratch.recorder import READS, WALK

if TYPE_CHECKING:
    from ..scratch.recorder import Sent


UNKNOWN_NUMBER = 10**12
"""Of documents that a pipeline has written: it may be all."""


class _Look(NamedTuple):
    """A command that has looked at documents, by its text, and how many had been written to each collection then."""

    text: str
    written: Counter[str]
    is_walk: bool = False


@dataclass
class _Collection:
    """``name`` is the real collection with its documents; None if the run makes or replaces them."""

    name: str | None
    changed_fields: set[str] = field(default_factory=set)
    may_all_differ: bool = False
    """Whether documents were changed or deleted in a way that is not known for those that the copy lacks."""
    deleted: list[Mapping[str, Any]] = field(default_factory=list)
    indexes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    dropped_indexes: set[str] = field(default_factory=set)
    looks: list[_Look] = field(default_factory=list)


class Expected:
    """What is known of each collection after the commands that were noted so far.

    ``names`` are the real collections, or None if they are not known; ``sampled`` are those that the copy has in part.
    """

    def __init__(self, names: Collection[str] | None, sampled: Collection[str]) -> None:
        self._names = names
        self._sampled = sampled
        self._collections: dict[str, _Collection] = {}
        self._written: Counter[str] = Counter()
        """How many documents of the copy the run has written to each collection."""

    def _of(self, name: str) -> _Collection:
        is_real = self._names is None or name in self._names
        return self._collections.setdefault(name, _Collection(name if is_real else None))

    def real_name(self, name: str) -> str | None:
        """The real collection that holds these documents; None if the run has made them."""
        return self._of(name).name

    def not_deleted(self, name: str, filter: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The filter, without the documents that the run deletes before."""
        conditions: list[Mapping[str, Any]] = [filter] if filter else []
        conditions += [{"$nor": [deleted]} for deleted in self._of(name).deleted]
        return {"$and": conditions} if len(conditions) > 1 else dict(*conditions)

    def may_differ(self, name: str, fields: set[str] | None) -> bool:
        """Whether the run changes these fields before (None for any), so that the real values say nothing yet."""
        known = self._of(name)
        if known.may_all_differ:
            return True
        return bool(known.changed_fields if fields is None else known.changed_fields & fields)

    def done_before(self, name: str, fields: set[str] | None) -> str:
        """``changes`` or ``looks at`` if the run does that with these fields before; empty if it does neither.

        What looks at a sample may find nothing to change, and find it in the real data.
        """
        if self.may_differ(name, fields):
            return "changes"
        if name not in self._sampled:
            return ""
        looks = [look.text for look in self._of(name).looks if not look.is_walk]
        return "looks at" if any(map(_looks_at(fields), looks)) else ""

    def copied_to(self, name: str, fields: set[str] | None, documents: float) -> list[str]:
        """The other collections that may have what these fields had in so many documents of the copy.

        The run has looked at the fields, and then written at least as many documents to these collections.
        """
        for look in self._of(name).looks if documents else []:
            if _looks_at(fields)(look.text):
                written = {other: self._written[other] - look.written[other] for other in self._written}
                written.pop(name, None)
                if sum(written.values()) >= documents:
                    return sorted(other for other, number in written.items() if number)
        return []

    def new_indexes(self, name: str) -> Mapping[str, Mapping[str, Any]]:
        return self._of(name).indexes

    def drops_indexes(self, name: str) -> bool:
        return bool(self._of(name).dropped_indexes)

    def is_dropped(self, name: str, index: str) -> bool:
        """Whether the run drops an index of the real collection before."""
        dropped = self._of(name).dropped_indexes
        return index in dropped or ("*" in dropped and index != "_id_")

    def note(self, sent: Sent) -> None:
        """Remember what a command changes or looks at."""
        known = self._of(sent.collection)
        if sent.name in ("insert", "update"):
            self._written[sent.collection] += round(max(sent.documents, sent.times))
        if sent.name in (*READS, WALK):
            known.looks.append(_Look(sent.body["text"], self._written.copy(), sent.name == WALK))
        elif sent.name == "update":
            changed = changed_fields(sent.body["update"])
            known.may_all_differ = known.may_all_differ or changed is None
            known.changed_fields |= changed or set()
        elif sent.name == "delete":
            self._note_delete(sent, known)
        elif sent.name in ("$merge", "$out"):
            self._note_aggregation(sent, known)
        elif sent.name == "createIndexes":
            known.indexes[sent.body["name"]] = sent.body
            known.dropped_indexes.discard(sent.body["name"])
        elif sent.name == "dropIndexes":
            self._note_dropped_index(sent, known)
        else:
            self._note_whole_collection(sent, known)

    def _note_whole_collection(self, sent: Sent, known: _Collection) -> None:
        if sent.name == "drop":
            self._collections[sent.collection] = _Collection(None)
        elif sent.name == "renameCollection":
            self._collections[sent.body["to"]] = known
            self._collections[sent.collection] = _Collection(None)
        elif sent.name == "dropDatabase":
            for each in self._collections.values():
                each.name = None

    def _note_aggregation(self, sent: Sent, known: _Collection) -> None:
        self._of(sent.body["from"]).looks.append(_Look("", self._written.copy()))
        self._written[sent.collection] += UNKNOWN_NUMBER
        if sent.name == "$merge":
            known.may_all_differ = True
        else:
            self._collections[sent.collection] = _Collection(None)

    @staticmethod
    def _note_delete(sent: Sent, known: _Collection) -> None:
        # One of many is not known for documents that the copy lacks; nor is a filter on values that were changed.
        is_known = sent.body["multi"] and not sent.varies and not sent.is_by_id and sent.walk is None
        fields = fields_of_filter(sent.filter)
        if is_known and fields is not None and not fields & {"_id", *known.changed_fields}:
            known.deleted.append(sent.filter)
        else:
            known.may_all_differ = True

    @staticmethod
    def _note_dropped_index(sent: Sent, known: _Collection) -> None:
        which = sent.body.get("index")
        for name in [which] if isinstance(which, str) else which if isinstance(which, list) else []:
            known.dropped_indexes.add(name)
            known.indexes.pop(name, None)


def _looks_at(fields: set[str] | None) -> Callable[[str], bool]:
    """Whether the text of a read names one of the fields; without a text it has read whole documents."""
    names = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in fields or {""}))
    return lambda text: not text or bool(names.search(text))


def changed_fields(update: Any) -> set[str] | None:
    """The top-level fields that an update changes; None for a replacement or a stage that may change any."""
    if isinstance(update, (list, tuple)):
        found: set[str] = set()
        for stage in update:
            fields = _fields_of_stage(stage)
            if fields is None:
                return None
            found |= fields
        return found
    if not is_operators(update):
        return None
    paths = [path for fields in update.values() for path in fields]
    return {top(path) for path in [*paths, *update.get("$rename", {}).values()]}


def is_operators(update: Any) -> bool:
    return isinstance(update, dict) and all(str(key).startswith("$") for key in update)


def _fields_of_stage(stage: Mapping[str, Any]) -> set[str] | None:
    (name, value), *_ = stage.items()
    if name in ("$set", "$addFields"):
        return {top(path) for path in value}
    return {top(path) for path in unset_by_stage(stage)} or None


def unset_by_stage(stage: Mapping[str, Any]) -> list[str]:
    """The fields that a stage of an update removes by name."""
    (name, value), *_ = stage.items()
    if name == "$unset":
        return [value] if isinstance(value, str) else list(value)
    if name == "$project" and not any(value.values()):
        return list(value)
    return []


def fields_of_filter(filter: Any) -> set[str] | None:
    """The top-level fields that a filter looks at; None if that may be any."""
    found: set[str] = set()
    for name in _names(filter):
        if name.startswith("$"):
            return None
        found.add(top(name))
    return found


def _names(filter: Mapping[str, Any]) -> Iterator[str]:
    for name, value in filter.items():
        if name in ("$and", "$or", "$nor"):
            for condition in value:
                yield from _names(condition)
        elif name == "$jsonSchema":
            yield from value.get("properties", {})
            yield from value.get("required", [])
        elif name != "$comment":
            yield name


def top(path: str) -> str:
    return path.partition(".")[0]
