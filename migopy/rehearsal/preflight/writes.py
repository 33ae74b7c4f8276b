"""Updates and deletes: how many documents they will go through, by which index, and how long that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping, NamedTuple

import bson

from ...files.allowances import COLLSCAN, MANY_DOCUMENTS
from ...terminal.wording import byte_size, duration
from ..scratch.fields import short_repr
from .expected import fields_of_filter, is_operators, top
from .findings import CHANGED_DOCUMENTS, NOT_KNOWN, Finding
from .questions import Count

if TYPE_CHECKING:
    from ..scratch.recorder import Sent
    from .expected import Expected
    from .loops import Loops
    from .questions import Questions

ENOUGH_DOCUMENTS = 100
"""So many documents of the copy say how long one takes."""

LOOP_FACTOR = 10
"""So many times as many documents may a loop search: a small collection that is read again and again is in memory."""

OPLOG_ENTRY_BYTES = 200
"""About what an entry of the oplog has beside the values."""


class Scale(NamedTuple):
    """``limit`` is the number of documents from which it matters how they are changed."""

    limit: int
    has_oplog: bool
    factors: Mapping[str, float]
    """How many documents of each sampled collection stand for one of the copy."""


def findings(sent: Sent, expected: Expected, questions: Questions, scale: Scale, loops: Loops) -> Iterator[Finding]:
    """For updates and deletes."""
    name = expected.real_name(sent.collection)
    if name is None:
        return
    count = None
    if sent.walk is None and _is_one_of_many(sent):
        yield from _one_by_one(sent, name, expected, questions, scale, loops)
    else:
        count = _count(sent, name, expected, questions)
        if count.number:
            yield from _at_once(sent, count, expected, questions, scale)
    if sent.walk is None and not sent.is_by_id and sent.filter:
        yield from _without_index(sent, name, count, expected, questions, scale, loops)


def findings_of_read(
    sent: Sent, expected: Expected, questions: Questions, scale: Scale, loops: Loops
) -> Iterator[Finding]:
    """For finds: one reads what it wants, and many in a loop should have an index."""
    name = expected.real_name(sent.collection)
    if name is not None and sent.varies and sent.walk is None and sent.filter:
        yield from _without_index(sent, name, None, expected, questions, scale, loops)


def _is_one_of_many(sent: Sent) -> bool:
    """Whether a loop sends it, with values of its own or until it finds nothing more."""
    return sent.is_by_id or sent.varies or (not sent.body["multi"] and sent.times > 1)


def _count(sent: Sent, name: str, expected: Expected, questions: Questions) -> Count:
    count = questions.count(name, expected.not_deleted(sent.collection, sent.filter), sent.body.get("collation"))
    is_one = not sent.body["multi"] and sent.walk is None
    return Count(1) if count.number and is_one else count


def _at_once(sent: Sent, count: Count, expected: Expected, questions: Questions, scale: Scale) -> Iterator[Finding]:
    now = ""
    kind = CHANGED_DOCUMENTS
    if expected.may_differ(sent.collection, fields_of_filter(sent.filter)):
        now = ", as they are now (the run changes what the filter looks at)"
        kind = NOT_KNOWN
    elif sent.walk is None and count.number > scale.limit:
        kind = MANY_DOCUMENTS
    seconds, oplog = _seconds(sent, count.number), _oplog_bytes(sent, count.number, questions, scale)
    facts = [
        f"about {duration(seconds)} by what the copy took" if seconds is not None else "",
        f"about {byte_size(oplog)} of oplog" if oplog else "",
    ]
    in_batches = " in batches" if sent.walk is not None else ""
    advice = " at once: use batches" if kind == MANY_DOCUMENTS else ""
    text = f"{', '.join([f'{sent.name} of {count}{in_batches}{advice}{now}', *filter(None, facts)])}"
    yield Finding(kind, sent.collection, text, count.number, count.is_estimate, seconds, oplog)


def _one_by_one(
    sent: Sent, name: str, expected: Expected, questions: Questions, scale: Scale, loops: Loops
) -> Iterator[Finding]:
    several = sent.body["multi"] and not sent.is_by_id
    # A loop over documents, or one until there are none that fit.
    number = loops.times(sent) if sent.is_by_id or sent.varies else round(sent.times * loops.factor(sent.collection))
    if several:
        number = round(sent.documents * loops.factor(sent.collection))
    if number <= scale.limit:
        return
    if not (sent.is_by_id or sent.varies):
        number = min(number, questions.count(name, expected.not_deleted(sent.collection, sent.filter)).number)
    what = f"documents by {sent.name}s in a loop" if several else f"{sent.name}s one by one"
    copy = round(sent.documents) if several else sent.times
    if number > scale.limit:
        text = f"about {number:,} {what}, as there are {copy:,} in the copy: use batches"
        yield Finding(MANY_DOCUMENTS, sent.collection, text, number, is_estimate=True)


def _without_index(
    sent: Sent, name: str, count: Count | None, expected: Expected, questions: Questions, scale: Scale, loops: Loops
) -> Iterator[Finding]:
    documents = questions.documents(name)
    times = loops.times(sent) if count is None else 1
    changes_most = count is not None and 2 * count.number >= documents.number
    is_little = documents.number <= scale.limit and documents.number * times <= LOOP_FACTOR * scale.limit
    if is_little or changes_most or _makes_index(sent, expected):
        return
    if _drops_index(sent, name, expected, questions) or questions.reads_all(
        name, sent.filter, sent.body.get("collation")
    ):
        how_often = f", about {times:,} times" if times > 1 else ""
        text = (
            f"no index fits the filter {short_repr(sent.filter)} of the {sent.verb}: MongoDB reads all"
            f" {documents.number:,} documents (COLLSCAN){how_often}"
        )
        yield Finding(COLLSCAN, sent.collection, text, documents.number, documents.is_estimate)


def _makes_index(sent: Sent, expected: Expected) -> bool:
    """Whether the run makes an index before that may fit."""
    return _any_begins_with(fields_of_filter(sent.filter), expected.new_indexes(sent.collection).values())


def _drops_index(sent: Sent, name: str, expected: Expected, questions: Questions) -> bool:
    """Whether the run drops the only indexes before that may fit."""
    if not expected.drops_indexes(sent.collection):
        return False
    fields, indexes = fields_of_filter(sent.filter), questions.indexes(name)
    left = [index for index in indexes if not expected.is_dropped(sent.collection, index["name"])]
    return _any_begins_with(fields, indexes) and not _any_begins_with(fields, left)


def _any_begins_with(fields: set[str] | None, indexes: Iterable[Mapping[str, Any]]) -> bool:
    return any(top(next(iter(index["key"]))) in (fields or ()) for index in indexes)


def _seconds(sent: Sent, documents: int) -> float | None:
    return sent.seconds / sent.documents * documents if sent.documents >= ENOUGH_DOCUMENTS else None


def _oplog_bytes(sent: Sent, documents: int, questions: Questions, scale: Scale) -> int | None:
    if not scale.has_oplog:
        return None
    update = sent.body["update"]
    if sent.name == "update" and not is_operators(update):
        # A pipeline writes the fields that it has changed, a replacement the whole document.
        return round(documents * (OPLOG_ENTRY_BYTES + questions.average_bytes(sent.collection)))
    return documents * (OPLOG_ENTRY_BYTES + _size(update))


def _size(update: Any) -> int:
    try:
        return len(bson.encode({"": update}))
    except (bson.errors.BSONError, ValueError, OverflowError):  # such as a UUID, whose form only the client knows
        return 0
