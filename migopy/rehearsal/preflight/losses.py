"""Values that a migration removes for good: neither ``down()`` nor anything else brings them back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Collection, Iterator, Mapping, Sequence

from ...files.allowances import LOST_VALUES
from .expected import is_operators, top, unset_by_stage
from .findings import Finding

if TYPE_CHECKING:
    from ..scratch.comparing import Change, Example
    from ..scratch.fields import Field
    from ..scratch.recorder import Sent
    from .expected import Expected
    from .questions import Count, Questions

NOT_RESTORED = "and nothing brings that back"

POSITIONS = re.compile(r"\.\$(\[\w*\])?")
"""Parts of a path that stand for places in an array."""


@dataclass(frozen=True)
class Comparison:
    """What the copy has lost: it tells what is removed for good from what is put elsewhere.

    ``fields`` are the top-level fields that changed documents no longer have, by collection, and ``moved`` those whose
    value is now in another field; ``smaller`` are the collections that are gone or lack documents.
    """

    fields: Mapping[str, Collection[str]]
    moved: Mapping[str, Collection[str]]
    smaller: Collection[str]
    may_be_elsewhere: bool
    """Whether at least as many documents were added as were removed, such as by an archive."""

    @staticmethod
    def of(changes: Sequence[Change]) -> Comparison:
        lost = {change.name: [each for each in change.examples if each.lost_fields] for change in changes}
        removed = sum(change.counts["removed"] for change in changes)
        return Comparison(
            {name: list(dict.fromkeys(_paths(examples))) for name, examples in lost.items()},
            {name: set(_paths(examples)) - set(_paths(examples, moved=False)) for name, examples in lost.items()},
            {change.name for change in changes if change.counts["removed"] or change.is_gone},
            0 < removed <= sum(change.counts["added"] for change in changes),
        )


def _paths(examples: Sequence[Example], moved: bool | None = None) -> Iterator[str]:
    """Of the lost fields: all, only those whose value is in another field now, or only the others."""
    for example in examples:
        for lost in example.lost_fields:
            if moved is None or moved == any(_has_value(other, lost.before) for other in example.fields):
                yield lost.path


def _has_value(field: Field, value: str) -> bool:
    is_telling = len(value) > len("'ab'")  # a short one is in many values by chance
    return field.after == value or (is_telling and value in field.after)


def findings(sent: Sent, expected: Expected, questions: Questions, comparison: Comparison) -> Iterator[Finding]:
    if sent.name == "update":
        yield from _lost_fields(sent, expected, questions, comparison)
    elif comparison.may_be_elsewhere:
        return
    elif sent.name == "delete":
        # Documents that were deleted from the copy, which lacks none, were inserted again.
        if not sent.documents or sent.collection in comparison.smaller:
            yield from _lost_documents(sent, expected, questions)
    else:
        yield from _lost_collection(sent, expected, questions, comparison)


def _lost_fields(sent: Sent, expected: Expected, questions: Questions, comparison: Comparison) -> Iterator[Finding]:
    name = expected.real_name(sent.collection)
    if name is None:
        return
    filter = {} if sent.is_by_id or sent.varies else sent.filter
    for path, also in _lost_paths(sent, comparison.fields.get(sent.collection, ())):
        if top(path) in comparison.moved.get(sent.collection, ()):
            continue
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


def _lost_collection(sent: Sent, expected: Expected, questions: Questions, comparison: Comparison) -> Iterator[Finding]:
    if sent.name == "dropDatabase":
        yield Finding(LOST_VALUES, "all collections", f"dropDatabase removes them, {NOT_RESTORED}")
    target = {"drop": sent.collection, "$out": sent.collection, "renameCollection": sent.body.get("to")}.get(sent.name)
    replaces_itself = sent.name == "$out" and sent.body["from"] == sent.collection
    if target is None or replaces_itself or (sent.name == "renameCollection" and not sent.body["dropTarget"]):
        return
    name = expected.real_name(target)
    if name is not None and target in comparison.smaller:
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
