"""The comparing: what differs between two snapshots of a database. Usable by itself."""

from __future__ import annotations

import math
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Collection, Hashable, Iterable, Iterator, Mapping, NamedTuple, Sequence

from ...errors import MigopyException
from . import fields, raw
from .digest import Digest, Digester
from .fields import Field

if TYPE_CHECKING:
    from pymongo.database import Database

PARTS = 256
"""The digests of a collection are kept packed, in so many parts; comparing unpacks one at a time."""

MAX_KEPT_BYTES = 32 * 2**20
"""Bytes of documents that one snapshot keeps to show them; the others are only counted."""

MAX_EXAMPLES = 2
"""Documents that are shown of those added, of those removed, and of those changed."""

ADDED, REMOVED, CHANGED, SAME = "added", "removed", "changed", "same"

MADE, GONE = "made", "gone"

WITHOUT_EFFECT = ("ns", "v", "background", "key")
"""Options of an index that change nothing, and its key, which comes first."""

MAX_UINT32 = 2**32 - 1

_record = struct.Struct("<qII")


class Documents:
    """The digests of the documents of a collection, 16 bytes each, and some of the documents themselves."""

    def __init__(self, unread: bool = False) -> None:
        self._parts = [bytearray() for _ in range(PARTS)]
        self.kept: dict[int, bytes] = {}
        self.unread = unread
        """Whether they still have to be read from the database."""

    def __len__(self) -> int:
        return sum(map(len, self._parts)) // _record.size

    def add(self, digest: Digest) -> None:
        key, exact, meaning = digest
        self._parts[key % PARTS] += _record.pack(key, exact & MAX_UINT32, meaning & MAX_UINT32)

    def differences(self, after: Documents) -> Iterator[tuple[list[Digest], list[Digest]]]:
        """The digests that only these documents have and those that only ``after`` has, part by part."""
        for ours, theirs in zip(self._parts, after._parts):
            if ours != theirs:
                before_counts, after_counts = _count_digests(ours), _count_digests(theirs)
                yield (
                    list((before_counts - after_counts).elements()),
                    list((after_counts - before_counts).elements()),
                )


def _count_digests(part: bytearray) -> Counter[Digest]:
    return Counter(map(Digest._make, _record.iter_unpack(part)))


class State(NamedTuple):
    """A collection, view or time series in one snapshot, with the essential options and indexes."""

    kind: str
    options: Mapping[str, Any]
    indexes: Mapping[str, Any]
    documents: Documents

    @property
    def is_bare(self) -> bool:
        """Whether MongoDB makes such a collection by itself with the first document."""
        return self.kind == raw.COLLECTION and not self.options and not self.indexes


ABSENT = State("", {}, {}, Documents())
"""In the place of a collection that is not there."""


class Definition(NamedTuple):
    """A collection, view, index or option that was made, is gone or was changed.

    It is a trifle if MongoDB makes such a collection by itself with the first document.
    """

    event: str
    what: str
    text: str = ""
    is_trifle: bool = False


class Example(NamedTuple):
    """A document that was added, removed or changed; ``fields`` are the changed ones, or its first ones."""

    event: str
    id: str
    fields: Sequence[Field] = ()

    @property
    def lost_fields(self) -> list[Field]:
        """The fields of a changed document that are no longer there, except those inside of others."""
        return [
            each
            for each in self.fields
            if self.event == CHANGED and each.after == fields.ABSENT and "." not in each.path
        ]


@dataclass
class Change:
    """What differs in one collection, which had ``documents`` documents before.

    ``counts`` has the numbers of documents that were added, removed and changed, and of those whose bytes differ but
    mean the ``SAME``; ``minor_differences`` says how these differ.
    """

    name: str
    documents: int
    definitions: Sequence[Definition]
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)
    minor_differences: set[str] = field(default_factory=set)

    @property
    def is_any(self) -> bool:
        return bool(self.definitions or +self.counts)

    @property
    def is_gone(self) -> bool:
        """Whether the collection itself is no longer there."""
        kinds = (raw.COLLECTION, raw.TIMESERIES)
        return any(each.event == GONE and each.what in kinds for each in self.definitions)

    @property
    def is_real(self) -> bool:
        """Whether something differs that matters: not just bytes, nor one empty collection more or less."""
        documents = sum(self.counts.values()) - self.counts[SAME]
        return bool(documents or any(not definition.is_trifle for definition in self.definitions))


class Snapshot:
    """The contents of a database at one moment, except for the collections in ``without``.

    A collection is not read again if the server says that it is the same as in one of the ``known`` snapshots. The
    first snapshot (without ``known``) reads nothing that the server can compare later: call ``read_documents()``
    before a collection is changed. ``reads`` is called with the name of each collection that is read.
    """

    def __init__(
        self,
        db: Database[Any],
        digester: Digester,
        without: Collection[str] = (),
        known: Sequence[Snapshot] = (),
        reads: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._db = db
        self._reads = reads
        self._digester = digester
        self._bytes_left_to_keep = MAX_KEPT_BYTES
        self._is_first = not known
        self._reading = threading.Lock()
        self.seconds = 0.0
        """How long ``read_documents()`` has taken so far."""
        self.hashes = raw.collection_hashes(db)
        self.states: dict[str, State] = {}
        for info in raw.list_collections(db, without):
            self.states[info["name"]] = self._state(info, self._known_documents(info["name"], known))

    def _known_documents(self, name: str, known: Sequence[Snapshot]) -> Documents | None:
        for snapshot in known:
            if name in self.hashes and snapshot.hashes.get(name) == self.hashes[name]:
                return snapshot.states[name].documents
        return None

    def _state(self, info: Mapping[str, Any], known: Documents | None) -> State:
        name, kind = info["name"], info.get("type", raw.COLLECTION)
        options = essential_options(info["options"])
        if kind == raw.VIEW:
            return State(kind, options, {}, Documents())
        indexes = {index["name"]: essential_index(index) for index in raw.list_indexes(self._db, name)}
        return State(kind, options, indexes, self._documents(name) if known is None else known)

    def _documents(self, name: str) -> Documents:
        if self._is_first and name in self.hashes:
            return Documents(unread=True)
        documents = Documents()
        self._reads(name)
        self._add_all(documents, name, self._digester.learn if self._is_first else self._digester.digest)
        return documents

    def _add_all(self, documents: Documents, name: str, make_digest: Callable[[bytes], Digest]) -> None:
        for document in raw.read_documents(self._db[name]):
            digest = make_digest(document)
            documents.add(digest)
            if self._bytes_left_to_keep > 0:
                documents.kept[digest.key] = document
                self._bytes_left_to_keep -= len(document)

    def read_documents(self, name: str | None = None) -> None:
        """Read the documents of a collection, or of all without a name, if they are still unread."""
        with self._reading:
            started = time.monotonic()
            for each, state in self.states.items():
                if state.documents.unread and name in (None, each):
                    state.documents.unread = False
                    self._add_all(state.documents, each, self._digester.learn)
            self.seconds += time.monotonic() - started

    def find(self, name: str, keys: Collection[int]) -> dict[int, bytes]:
        """The documents with these keys; those that were not kept are read from the database as it is now."""
        kept = self.states.get(name, ABSENT).documents.kept
        found = {key: kept[key] for key in keys if key in kept}
        missing = {*keys} - {*found}
        for document in raw.read_documents(self._db[name]) if missing else ():
            key = self._digester.digest(document).key
            if key in missing:
                found[key] = document
        return found

    def meaning(self, document: bytes) -> int:
        return self._digester.digest(document).meaning


def compare(before: Snapshot, now: Snapshot) -> list[Change]:
    """What differs, by the name of the collection. ``now`` has to be the newest snapshot."""
    names = sorted({*before.states, *now.states})
    changes = [_change(name, before.states.get(name, ABSENT), now.states.get(name, ABSENT), now) for name in names]
    return [change for change in changes if change.is_any]


def _change(name: str, before: State, after: State, now: Snapshot) -> Change:
    ours, theirs = before.documents, after.documents
    if ours.unread and ours is not theirs:
        raise MigopyException(
            f"{name} was changed in the copy by something other than the migration, so what the migration itself"
            " changed there is not known."
        )
    change = Change(name, len(ours), definition_changes(before, after))
    keys: dict[str, list[int]] = {event: [] for event in (ADDED, REMOVED, CHANGED, SAME)}
    for event, key in _events(ours, theirs):
        change.counts[event] += 1
        if len(keys[event]) < MAX_EXAMPLES and key not in keys[event]:  # fresh documents may have one key
            keys[event].append(key)
    found = now.find(name, [*keys[ADDED], *keys[CHANGED], *keys[SAME]])
    change.minor_differences = set().union(
        *(_minor_differences(ours.kept.get(key), found.get(key), now) for key in keys[SAME])
    )
    for event in (ADDED, REMOVED, CHANGED):
        change.examples += [_example(event, ours.kept.get(key), found.get(key), now) for key in keys[event]]
    return change


def only_values_differ(before: Snapshot, now: Snapshot, changes: Sequence[Change]) -> bool:
    """Whether the documents that ``compare`` has found have the same fields and types in both snapshots.

    False too if that is not known, because there are more documents than a snapshot keeps.
    """
    found = [change for change in changes if change.is_real]
    return bool(found) and all(not change.definitions and _have_same_shapes(before, now, change) for change in found)


def _have_same_shapes(before: Snapshot, now: Snapshot, change: Change) -> bool:
    ours, theirs = before.states[change.name].documents, now.states[change.name].documents
    events = [(event, key) for event, key in _events(ours, theirs) if event != SAME]
    found = now.find(change.name, [key for event, key in events if event != REMOVED])
    shapes_before = _count_shapes(ours.kept.get(key) for event, key in events if event != ADDED)
    return shapes_before is not None and shapes_before == _count_shapes(
        found.get(key) for event, key in events if event != REMOVED
    )


def _count_shapes(documents: Iterable[bytes | None]) -> Counter[Hashable] | None:
    """None if a document is not known."""
    decoded = [document and fields.decode_if_possible(document) for document in documents]
    return Counter(map(fields.shape, decoded)) if all(decoded) else None


def _events(before: Documents, after: Documents) -> Iterator[tuple[str, int]]:
    """What happened to each document whose bytes differ, with its key."""
    if before is after:
        return
    for gone, new in before.differences(after):
        # Of documents that are in both, only those with other bytes come here.
        meanings = {digest.key: digest.meaning for digest in gone}
        for key, _, meaning in new:
            event = SAME if meanings.get(key) == meaning else CHANGED if key in meanings else ADDED
            yield event, key
        still_there = {digest.key for digest in new}
        yield from ((REMOVED, digest.key) for digest in gone if digest.key not in still_there)


def _minor_differences(before: bytes | None, after: bytes | None, now: Snapshot) -> set[str]:
    ours, theirs = before and fields.decode_if_possible(before), after and fields.decode_if_possible(after)
    return fields.minor_differences(ours, theirs, now.meaning) if ours and theirs else set()


def _example(event: str, before: bytes | None, after: bytes | None, now: Snapshot) -> Example:
    ours = fields.decode_if_possible(before) if before and event != ADDED else None
    theirs = fields.decode_if_possible(after) if after and event != REMOVED else None
    document = theirs or ours or {}
    if event != CHANGED:
        shown: Sequence[Field] = fields.fields_of(ours, theirs)
    else:
        shown = fields.changed_fields(ours, theirs, now.meaning) if ours and theirs else ()
    return Example(event, fields.short_repr(document["_id"]) if "_id" in document else "", shown)


def definition_changes(before: State, after: State) -> list[Definition]:
    """What differs in a collection besides its documents."""
    if before.kind != after.kind:  # such as a view in place of a collection of the same name
        return [*_definitions(GONE, before), *_definitions(MADE, after)]
    return [
        *_value_changes("option ", before.options, after.options),
        *_value_changes("index ", before.indexes, after.indexes),
    ]


def _definitions(event: str, state: State) -> Iterator[Definition]:
    """A collection and its indexes, all of which were made or are gone."""
    if state is not ABSENT:
        yield Definition(event, state.kind, is_trifle=state.is_bare)
    for name, index in state.indexes.items():
        yield Definition(event, f"index {name}", fields.short_repr(index))


def _value_changes(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Definition]:
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            yield Definition(GONE, prefix + name)
        elif name not in before:
            yield Definition(MADE, prefix + name, fields.short_repr(after[name]))
        elif [before[name]] != [after[name]]:  # in a list NaN is equal to itself
            text = f"{fields.short_repr(before[name])} -> {fields.short_repr(after[name])}"
            yield Definition(CHANGED, prefix + name, text)


def essential_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from the default, without an empty validator that ``collMod`` has left."""
    essential = {name: normalize(value) for name, value in options.items()}
    # Without a validator these two have no effect, and "strict" and "error" are the defaults.
    for name in ("validationLevel", "validationAction"):
        if not essential.get("validator") or essential.get(name) in ("strict", "error"):
            essential.pop(name, None)
    return {name: value for name, value in essential.items() if value not in (False, {}, {"enabled": False})}


def essential_index(index: Mapping[str, Any]) -> dict[str, Any]:
    """The key of an index, whose order counts, and the options that have an effect."""
    others = {name: normalize(value) for name, value in index.items() if name not in WITHOUT_EFFECT}
    others.pop("name")
    effective = {name: value for name, value in others.items() if value not in (False, {})}
    return {"key": [(name, normalize(value)) for name, value in index["key"].items()], **effective}


def normalize(value: Any) -> Any:
    """Undecoded documents as dicts, whole numbers of any type as integers, and every NaN as one object."""
    if isinstance(value, Mapping):
        return {name: normalize(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [normalize(inner) for inner in value]
    if isinstance(value, float) and math.isnan(value):
        return math.nan
    return int(value) if isinstance(value, float) and value.is_integer() else value
