"""What is different between two looks at a database: documents, indexes, options, collections and views."""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Collection, Iterator, Mapping, NamedTuple, Sequence

from ...errors import MigopyException
from . import fields, raw
from .digest import Digest, Digester
from .fields import Field

if TYPE_CHECKING:
    from pymongo.database import Database

PARTS = 256
"""The hashes of a collection are kept in so many parts, of which only one at a time has to be spread out."""

KEPT = 32 * 2**20
"""Bytes of documents that are kept of one look, to show what they were; those beyond are only counted."""

EXAMPLES = 2
"""How many documents are shown of those that were added, of those that were removed, and of those that were changed."""

ADDED, REMOVED, CHANGED, SAME = "added", "removed", "changed", "same"

MADE, GONE = "made", "gone"

WITHOUT_EFFECT = ("ns", "v", "background", "key")
"""What an index says besides what it does, and its key, which is told first."""

INT_32 = 2**32 - 1

_record = struct.Struct("<qII")


class Documents:
    """The digests of the documents of a collection, 16 bytes each, and the first documents as they are."""

    def __init__(self, unread: bool = False) -> None:
        self._parts = [bytearray() for _ in range(PARTS)]
        self.kept: dict[int, bytes] = {}
        self.unread = unread
        """Whether nobody has looked at them so far."""

    def __len__(self) -> int:
        return sum(map(len, self._parts)) // _record.size

    def add(self, digest: Digest) -> None:
        key, exact, meaning = digest
        self._parts[key % PARTS] += _record.pack(key, exact & INT_32, meaning & INT_32)

    def compared(self, after: Documents) -> Iterator[tuple[list[Digest], list[Digest]]]:
        """What only the one has and what only the other has, part by part."""
        for ours, theirs in zip(self._parts, after._parts):
            if ours != theirs:
                mine, others = _counted(ours), _counted(theirs)
                yield list((mine - others).elements()), list((others - mine).elements())


def _counted(part: bytearray) -> Counter[Digest]:
    return Counter(map(Digest._make, _record.iter_unpack(part)))


class State(NamedTuple):
    """A collection, view or time series at one moment; of options and indexes what makes a difference."""

    kind: str
    options: Mapping[str, Any]
    indexes: Mapping[str, Any]
    documents: Documents

    @property
    def is_bare(self) -> bool:
        """Whether it is no more than what MongoDB makes by itself with the first document."""
        return self.kind == raw.COLLECTION and not self.options and not self.indexes


class Definition(NamedTuple):
    """A collection, view, index or option that was made, is gone or was changed.

    It is a trifle if MongoDB makes such a collection by itself with the first document.
    """

    event: str
    what: str
    text: str = ""
    is_trifle: bool = False


class Example(NamedTuple):
    """A document that was added, removed or changed, with what was changed in it where that is known."""

    event: str
    id: str
    fields: Sequence[Field] = ()


@dataclass
class Change:
    """What is different in one collection that had so many ``documents`` before.

    ``counts`` tells how many of them were added, removed and changed, and how many say the ``SAME`` in other bytes;
    ``unlike`` in what those differ: the order of fields, the type of numbers, fresh ids and times.
    """

    name: str
    documents: int
    definitions: Sequence[Definition]
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)
    unlike: set[str] = field(default_factory=set)

    @property
    def is_any(self) -> bool:
        return bool(self.definitions or +self.counts)

    @property
    def is_real(self) -> bool:
        """Not so if documents say the same, nor if an empty collection more or less is all there is."""
        documents = sum(self.counts.values()) - self.counts[SAME]
        return bool(documents or any(not definition.is_trifle for definition in self.definitions))


class Snapshot:
    """What is in a database at one moment, but for the collections ``without``.

    Collections of which the server says that they are the same as in one of the ``known`` looks are not read again.
    In the first look none is read of which the server can say that later: ``read()`` does it, and has to be called
    before a collection is changed.
    """

    def __init__(
        self,
        db: Database[Any],
        digester: Digester,
        without: Collection[str] = (),
        known: Sequence[Snapshot] = (),
    ) -> None:
        self._db = db
        self._digester = digester
        self._room = KEPT
        self._is_first = not known
        self._reading = threading.Lock()
        self.seconds = 0.0
        """What reading has taken since this look was taken."""
        self.hashes = raw.hashes(db)
        self.states: dict[str, State] = {}
        for info in raw.collections(db, without):
            self.states[info["name"]] = self._state(info, self._known(info["name"], known))

    def _known(self, name: str, known: Sequence[Snapshot]) -> Documents | None:
        for look in known:
            if name in self.hashes and look.hashes.get(name) == self.hashes[name]:
                return look.states[name].documents
        return None

    def _state(self, info: Mapping[str, Any], known: Documents | None) -> State:
        name, kind = info["name"], info.get("type", raw.COLLECTION)
        options = essential_options(info["options"])
        if kind == raw.VIEW:
            return State(kind, options, {}, Documents())
        indexes = {index["name"]: essential_index(index) for index in raw.indexes(self._db, name)}
        return State(kind, options, indexes, self._documents(name) if known is None else known)

    def _documents(self, name: str) -> Documents:
        if self._is_first and name in self.hashes:
            return Documents(unread=True)
        found = Documents()
        self._fill(found, name, self._digester.learn if self._is_first else self._digester.digest)
        return found

    def _fill(self, found: Documents, name: str, digest: Callable[[bytes], Digest]) -> None:
        for document in raw.read(self._db[name]):
            digested = digest(document)
            found.add(digested)
            if self._room > 0:
                found.kept[digested.key] = document
                self._room -= len(document)

    def read(self, name: str | None = None) -> None:
        """Read the documents of a collection that were not read yet; without a name those of all."""
        with self._reading:
            started = time.monotonic()
            for each, state in self.states.items():
                if state.documents.unread and name in (None, each):
                    state.documents.unread = False
                    self._fill(state.documents, each, self._digester.learn)
            self.seconds += time.monotonic() - started

    def find(self, name: str, keys: Collection[int]) -> dict[int, bytes]:
        """Documents of these keys; those that were not kept are looked for in the database as it is now."""
        kept = self.states[name].documents.kept
        found = {key: kept[key] for key in keys if key in kept}
        if len(found) < len(keys):
            for document in raw.read(self._db[name]):
                found[self._digester.digest(document).key] = document
        return found


def compare(before: Snapshot, now: Snapshot) -> list[Change]:
    """The collections in which something is different, by name."""
    changes = [_change(name, before.states.get(name), now) for name in sorted({*before.states, *now.states})]
    return [change for change in changes if change.is_any]


def _change(name: str, before: State | None, now: Snapshot) -> Change:
    after = now.states.get(name)
    ours = before.documents if before else Documents()
    theirs = after.documents if after else Documents()
    if ours.unread and ours is not theirs:
        raise MigopyException(
            f"{name} was changed in the copy by somebody else than the migration: what that has done cannot be told."
        )
    change = Change(name, len(ours), definitions(before, after))
    keys: dict[str, list[int]] = {event: [] for event in (ADDED, REMOVED, CHANGED, SAME)}
    for event, key in _events(ours, theirs):
        change.counts[event] += 1
        if len(keys[event]) < EXAMPLES:
            keys[event].append(key)
    found = now.find(name, [*keys[ADDED], *keys[CHANGED], *keys[SAME]]) if after else {}
    change.unlike = set().union(*(_unlike(ours.kept.get(key), found.get(key)) for key in keys[SAME]))
    for event in (ADDED, REMOVED, CHANGED):
        change.examples += [_example(event, ours.kept.get(key), found.get(key)) for key in keys[event]]
    return change


def _events(before: Documents, after: Documents) -> Iterator[tuple[str, int]]:
    """What has become of each document that is not the same byte for byte, with its key."""
    if before is after:
        return
    for gone, new in before.compared(after):
        meanings = {digest.key: digest.meaning for digest in gone}
        for key, _, meaning in new:
            event = SAME if meanings.get(key) == meaning else CHANGED if key in meanings else ADDED
            yield event, key
        still_there = {digest.key for digest in new}
        yield from ((REMOVED, digest.key) for digest in gone if digest.key not in still_there)


def _unlike(before: bytes | None, after: bytes | None) -> set[str]:
    ours, theirs = before and fields.read(before), after and fields.read(after)
    return fields.unlike(ours, theirs) if ours and theirs else set()


def _example(event: str, before: bytes | None, after: bytes | None) -> Example:
    ours, theirs = before and fields.read(before), after and fields.read(after)
    one = theirs or ours or {}
    changed = fields.different(ours, theirs) if ours and theirs and event == CHANGED else ()
    return Example(event, fields.shown(one["_id"]) if "_id" in one else "", changed)


def definitions(before: State | None, after: State | None) -> list[Definition]:
    """What is different of a collection besides its documents."""
    if before is None or after is None:
        event, state = (MADE, after) if before is None else (GONE, before)
        assert state is not None  # one of the two is there
        indexes = [Definition(event, f"index {name}", fields.shown(index)) for name, index in state.indexes.items()]
        return [Definition(event, state.kind, is_trifle=state.is_bare), *indexes]
    if before.kind != after.kind:
        return [Definition(GONE, before.kind), Definition(MADE, after.kind)]
    return [
        *_different("option ", before.options, after.options),
        *_different("index ", before.indexes, after.indexes),
    ]


def _different(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Definition]:
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            yield Definition(GONE, prefix + name)
        elif name not in before:
            yield Definition(MADE, prefix + name, fields.shown(after[name]))
        elif before[name] != after[name]:
            yield Definition(CHANGED, prefix + name, f"{fields.shown(before[name])} -> {fields.shown(after[name])}")


def essential_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options without those that say what is so anyway: an empty validator, say, that ``collMod`` has left."""
    essential = {name: plain(value) for name, value in options.items()}
    for name in ("validationLevel", "validationAction"):
        if not essential.get("validator") or essential.get(name) in ("strict", "error"):
            essential.pop(name, None)
    return {name: value for name, value in essential.items() if value not in (False, {}, {"enabled": False})}


def essential_index(index: Mapping[str, Any]) -> dict[str, Any]:
    """An index without what has no effect; of its key the order counts."""
    others = {name: plain(value) for name, value in index.items() if name not in WITHOUT_EFFECT}
    others.pop("name")
    effective = {name: value for name, value in others.items() if value not in (False, {})}
    return {"key": [(name, plain(value)) for name, value in index["key"].items()], **effective}


def plain(value: Any) -> Any:
    """Undecoded documents as dicts, and whole numbers as integers whatever their type is."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
