"""New indexes: duplicates in unique ones, documents that expire at once, and those that are too many."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Iterator, Mapping, Sequence

from ...files.allowances import DUPLICATES, EXPIRING_DOCUMENTS, TOO_MANY_INDEXES
from ...terminal.wording import byte_size, plural
from ..scratch.expiry import expiring
from ..scratch.fields import short_repr
from .expected import top
from .findings import NEW_INDEX, NOT_KNOWN, SUPERFLUOUS_INDEX, Finding
from .questions import MAX_DUPLICATES, MAX_EXAMPLES, Duplicate, documents_of_index

if TYPE_CHECKING:
    from ..scratch.recorder import Sent
    from .expected import Expected
    from .questions import Questions

MAX_INDEXES = 64  # https://www.mongodb.com/docs/manual/reference/limits/

PLAIN_OPTIONS = {"key", "name", "v", "ns", "background"}
"""What an index has that only speeds up queries."""


def findings(sent: Sent, expected: Expected, questions: Questions, *, is_whole: bool) -> Iterator[Finding]:
    """For ``createIndexes`` and ``collMod``; ``is_whole`` says that the copy had all documents of the collection."""
    name = expected.real_name(sent.collection)
    if name is None:
        return
    index = _index_of(sent, expected, questions, name)
    if index and (index.get("unique") or index.get("prepareUnique")):
        yield from _duplicates(sent, name, index, expected, questions, is_whole=is_whole)
    yield from _expiring(sent, name, index, expected, questions)
    if sent.name == "createIndexes":
        yield from _size(sent, name, expected, questions)
        yield from _too_many(sent, name, expected, questions)


def _index_of(sent: Sent, expected: Expected, questions: Questions, name: str) -> Mapping[str, Any] | None:
    """The index that is made or changed, as it will be; None if the command is about something else."""
    if sent.name == "createIndexes":
        return sent.body
    change = sent.body.get("index")
    if not change:
        return None
    known = [*questions.indexes(name), *expected.new_indexes(sent.collection).values()]
    named = change.get("name"), dict(change.get("keyPattern") or {})
    index = next((each for each in known if each["name"] == named[0] or dict(each["key"]) == named[1]), None)
    wanted = {key: change[key] for key in ("unique", "prepareUnique", "expireAfterSeconds") if key in change}
    return {**{key: index[key] for key in ("name", "key")}, **_kept(index), **wanted} if index and wanted else None


def _kept(index: Mapping[str, Any]) -> dict[str, Any]:
    return {key: index[key] for key in ("sparse", "partialFilterExpression", "collation") if key in index}


def _duplicates(
    sent: Sent, name: str, index: Mapping[str, Any], expected: Expected, questions: Questions, *, is_whole: bool
) -> Iterator[Finding]:
    fields = {top(path) for path in index["key"]} | {top(path) for path in index.get("partialFilterExpression") or {}}
    before = expected.done_before(sent.collection, fields)
    if before and is_whole:
        return  # the copy has shown it
    found, is_all = questions.duplicates(name, index, expected.not_deleted(sent.collection))
    if not found:
        return
    now = " now" if before else ""
    examples = tuple(_example(each) for each in found[:MAX_EXAMPLES])
    part = "" if is_all else " in the twentieth of the values that could be looked at in time"
    text = f"unique index {index['name']}: {_number_of_values(found)} in more than one document{part}{now}: "
    kind = NOT_KNOWN if before else DUPLICATES
    documents = sum(each.documents for each in found)
    yield Finding(kind, sent.collection, text + ", ".join(examples) + _doubt(before), documents, examples=examples)


def _doubt(before: str) -> str:
    return f". The run {before} documents before: whether none of these is left is not known" if before else ""


def _number_of_values(found: Sequence[Duplicate]) -> str:
    if len(found) == 1:
        return "1 value stands"
    return f"{len(found):,}{' or more' if len(found) == MAX_DUPLICATES else ''} values stand"


def _example(duplicate: Duplicate) -> str:
    ids = " and ".join(map(short_repr, duplicate.ids))
    return f"{short_repr(duplicate.value)} ({plural(duplicate.documents, 'document')}, such as _id {ids})"


def _expiring(
    sent: Sent, name: str, index: Mapping[str, Any] | None, expected: Expected, questions: Questions
) -> Iterator[Finding]:
    filters = expiring(_expiry_options(sent, name, questions), [index] if index else [], time.time(), hours=0)
    if not filters:
        return
    count = questions.count(name, expected.not_deleted(sent.collection, {"$or": filters}))
    if not count.number:
        return
    fields = {top(path) for filter in filters for path in filter if not path.startswith("$")}
    differs = expected.may_differ(sent.collection, fields)
    what = f"TTL index {index['name']}" if index else "expireAfterSeconds"
    expire = "expires" if count.number == 1 else "expire"
    text = f"{what}: {count} {expire} at once{', as they are before the run' if differs else ''}"
    kind = NOT_KNOWN if differs else EXPIRING_DOCUMENTS
    yield Finding(kind, sent.collection, text, count.number, count.is_estimate)


def _expiry_options(sent: Sent, name: str, questions: Questions) -> Mapping[str, Any]:
    """The options of a clustered or a time series collection that is told when to delete."""
    seconds = sent.body.get("expireAfterSeconds")
    if sent.name == "createIndexes" or seconds in (None, "off"):
        return {}
    return {**questions.options(name), "expireAfterSeconds": seconds}


def _size(sent: Sent, name: str, expected: Expected, questions: Questions) -> Iterator[Finding]:
    """How many documents the index will have, and how many bytes if it has one kind of key that tells that."""
    index = sent.body
    count = questions.count(name, expected.not_deleted(sent.collection, documents_of_index(index)))
    if not count.number:
        return
    size = None
    if all(direction in (1, -1) for direction in index["key"].values()) and not any("$" in key for key in index["key"]):
        size = round(count.number * questions.bytes_in_index(name, index))
    text = f"index {index['name']} of {count}{f', at most about {byte_size(size)}' if size else ''}"
    yield Finding(NEW_INDEX, sent.collection, text, count.number, count.is_estimate, index_bytes=size)


def _too_many(sent: Sent, name: str, expected: Expected, questions: Questions) -> Iterator[Finding]:
    new = sent.body["name"]
    known = {
        each["name"]: each for each in questions.indexes(name) if not expected.is_dropped(sent.collection, each["name"])
    }
    others = {**known, **expected.new_indexes(sent.collection)}
    if new in others:
        return
    if len(others) >= MAX_INDEXES:
        text = f"index {new} is one more than the {MAX_INDEXES} that a collection may have"
        yield Finding(TOO_MANY_INDEXES, sent.collection, text)
    for other in others.values():
        if _begins_with(other, sent.body):
            text = f"index {new} is superfluous: {other['name']} begins with the same fields"
            yield Finding(SUPERFLUOUS_INDEX, sent.collection, text)
        elif other["name"] != "_id_" and _begins_with(sent.body, other):
            text = f"index {new} makes {other['name']} superfluous: it begins with the same fields"
            yield Finding(SUPERFLUOUS_INDEX, sent.collection, text)


def _begins_with(index: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether queries that use ``other`` can use ``index``, and ``other`` is of no use but for queries."""
    if not {*other} <= PLAIN_OPTIONS or {*index} - PLAIN_OPTIONS - {"unique"}:
        return False
    ours, theirs = list(index["key"].items()), list(other["key"].items())
    # Hashed, text and geo indexes have words in the place of directions.
    return ours[: len(theirs)] == theirs and all(direction in (1, -1) for _, direction in ours)
