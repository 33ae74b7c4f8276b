"""Updates and deletes: how many documents they will go through, by which index, and how long that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterator, Mapping, NamedTuple

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
    from .questions import Questions

ENOUGH_DOCUMENTS = 100
"""So many documents of the copy say how long one takes."""

OPLOG_ENTRY_BYTES = 200
"""About what an entry of the oplog has beside the values."""


class Scale(NamedTuple):
    """``limit`` is the number of documents from which it matters how they are changed."""

    limit: int
    has_oplog: bool
    factors: Mapping[str, float]
    """How many documents of each sampled collection stand for one of the copy."""


def findings(sent: Sent, expected: Expected, questions: Questions, scale: Scale) -> Iterator[Finding]:
    name = expected.real_name(sent.collection)
    if name is None:
        return
    if sent.is_by_id or (sent.varies and sent.walk is None):
        yield from _one_by_one(sent, scale)
        count = None
    else:
        filter, collation = expected.not_deleted(sent.collection, sent.filter), sent.body.get("collation")
        count = questions.count(name, filter, collation)
        if count.number and not sent.body["multi"] and sent.walk is None:
            count = Count(1)
        if count.number:
            yield from _at_once(sent, count, expected, questions, scale)
    if sent.walk is None and not sent.is_by_id and sent.filter:
        yield from _without_index(sent, name, count, expected, questions, scale)


def _at_once(sent: Sent, count: Count, expected: Expected, questions: Questions, scale: Scale) -> Iterator[Finding]:
    now = ""
    kind = CHANGED_DOCUMENTS
    if expected.may_differ(sent.collection, fields_of_filter(sent.filter)):
        now = " as they are now (the run changes what the filter looks at)"
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
    text = f"{', '.join([f'{sent.name} of {count}{now}{in_batches}{advice}', *filter(None, facts)])}"
    yield Finding(kind, sent.collection, text, count.number, count.is_estimate, seconds, oplog)


def _one_by_one(sent: Sent, scale: Scale) -> Iterator[Finding]:
    number = round(sent.times * scale.factors.get(sent.collection, 1))
    if number > scale.limit:
        text = f"about {number:,} {sent.name}s one by one, as there are {sent.times:,} in the copy: use batches"
        yield Finding(MANY_DOCUMENTS, sent.collection, text, number, is_estimate=True)


def _without_index(
    sent: Sent, name: str, count: Count | None, expected: Expected, questions: Questions, scale: Scale
) -> Iterator[Finding]:
    documents = questions.documents(name)
    times = round(sent.times * scale.factors.get(sent.collection, 1)) if sent.varies else 1
    changes_most = count is not None and 2 * count.number >= documents.number
    if documents.number * times <= scale.limit or changes_most:
        return
    fields = fields_of_filter(sent.filter) or set()
    if any(top(next(iter(index["key"]))) in fields for index in expected.new_indexes(sent.collection).values()):
        return  # the run makes an index before that may fit
    if questions.reads_all(name, sent.filter, sent.body.get("collation")):
        how_often = f", about {times:,} times" if times > 1 else ""
        text = (
            f"no index fits the filter {short_repr(sent.filter)} of the {sent.name}: MongoDB reads all"
            f" {documents.number:,} documents (COLLSCAN){how_often}"
        )
        yield Finding(COLLSCAN, sent.collection, text, documents.number, documents.is_estimate)


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
