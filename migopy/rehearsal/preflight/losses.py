"""Values that a migration removes for good: neither ``down()`` nor anything else brings them back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Iterator, Mapping

from ...files.allowances import LOST_VALUES
from .expected import is_operators, top, unset_by_stage
from .findings import Finding

if TYPE_CHECKING:
    from ..scratch.recorder import Sent
    from .expected import Expected
    from .questions import Count, Questions

NOT_RESTORED = "and nothing brings that back"

POSITIONS = re.compile(r"\.\$(\[\w*\])?")
"""Parts of a path that stand for places in an array."""


def findings(
    sent: Sent, expected: Expected, questions: Questions, lost_fields: Mapping[str, Any], *, may_be_elsewhere: bool
) -> Iterator[Finding]:
    """``lost_fields`` are those that replaced documents of the copy no longer have, by collection.

    ``may_be_elsewhere`` says that as many documents were written to other collections as were deleted.
    """
    if sent.name == "update":
        yield from _lost_fields(sent, expected, questions, lost_fields)
    elif may_be_elsewhere:
        return
    elif sent.name == "delete":
        yield from _lost_documents(sent, expected, questions)
    else:
        yield from _lost_collection(sent, expected, questions)


def _lost_fields(
    sent: Sent, expected: Expected, questions: Questions, lost_fields: Mapping[str, Any]
) -> Iterator[Finding]:
    name = expected.real_name(sent.collection)
    if name is None:
        return
    filter = {} if sent.is_by_id or sent.varies else sent.filter
    for path, also in _lost_paths(sent, lost_fields.get(sent.collection, ())):
        conditions = {"$and": [part for part in (filter, {path: {"$exists": True}}, also) if part]}
        count = questions.count(name, expected.not_deleted(sent.collection, conditions))
        yield from _lost(sent, count, f"removes {path} from {count}")


def _lost_documents(sent: Sent, expected: Expected, questions: Questions) -> Iterator[Finding]:
    name = expected.real_name(sent.collection)
    if name is None:
        return
    if sent.body["multi"] and not sent.varies and not sent.is_by_id:
        count = questions.count(name, expected.not_deleted(sent.collection, sent.filter), sent.body.get("collation"))
        yield from _lost(sent, count, f"deletes {count}")
    elif sent.documents:
        number = round(sent.documents)
        text = f"deletes documents ({number:,} of the copy), {NOT_RESTORED}"
        yield Finding(LOST_VALUES, sent.collection, text, number, is_estimate=True)


def _lost_collection(sent: Sent, expected: Expected, questions: Questions) -> Iterator[Finding]:
    if sent.name == "dropDatabase":
        yield Finding(LOST_VALUES, "all collections", f"dropDatabase removes them, {NOT_RESTORED}")
    target = {"drop": sent.collection, "$out": sent.collection, "renameCollection": sent.body.get("to")}.get(sent.name)
    replaces_itself = sent.name == "$out" and sent.body["from"] == sent.collection
    if target is None or replaces_itself or (sent.name == "renameCollection" and not sent.body["dropTarget"]):
        return
    name = expected.real_name(target)
    if name is not None:
        count = questions.count(name, expected.not_deleted(target))
        yield from _lost(sent, count, f"{sent.name} removes {target} with {count}")


def _lost(sent: Sent, count: Count, text: str) -> Iterator[Finding]:
    if count.number:
        yield Finding(LOST_VALUES, sent.collection, f"{text}, {NOT_RESTORED}", count.number, count.is_estimate)


def _lost_paths(sent: Sent, lost_fields: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The paths whose values are lost, each with what else has to be true of the document."""
    update = sent.body["update"]
    if isinstance(update, (list, tuple)):
        before = ""
        for stage in update:
            # A stage before may have put the value elsewhere.
            yield from ((path, {}) for path in unset_by_stage(stage) if f"${top(path)}" not in before)
            before += repr(stage)
    elif not is_operators(update):
        yield from ((field, {}) for field in lost_fields)
    else:
        # What is set in the same update may be made of what is unset.
        if not update.get("$set"):
            yield from ((POSITIONS.sub("", path), {}) for path in update.get("$unset", {}))
        yield from ((new, {old: {"$exists": True}}) for old, new in update.get("$rename", {}).items())
