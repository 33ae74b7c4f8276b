"""Values that a migration removes for good: neither ``down()`` nor anything else brings them back."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Collection, Iterator, Mapping, Sequence

from ...files.allowances import LOST_VALUES
from ...terminal.wording import some
from .expected import is_operators, top, unset_by_stage
from .findings import ALL_COLLECTIONS, NOT_KNOWN, Finding
from .questions import Count

if TYPE_CHECKING:
    from ..scratch.comparing import Change, Example
    from ..scratch.fields import Field
    from ..scratch.recorder import Sent
    from .expected import Expected
    from .loops import Loops
    from .questions import Questions

NOT_RESTORED = "and nothing brings that back"

HAS_VALUE = {"$type": [*range(1, 6), *range(7, 10), *range(11, 20), -1, 127]}
"""All types but null and the undefined of old: nobody misses these."""

REMOVED_IN_PIPELINE = "$$REMOVE"

POSITIONS = re.compile(r"\.\$(\[\w*\])?")
"""Parts of a path that stand for places in an array."""


@dataclass(frozen=True)
class Comparison:
    """What the copy has lost: it tells what is removed for good from what is put elsewhere.

    ``fields`` are the top-level fields that changed documents no longer have, by collection, and ``moved`` those whose
    value is now in another field. ``alike`` are the collections whose documents have got the same new values.
    ``removed`` has the collections that are gone or lack documents, and how many these lack.
    """

    fields: Mapping[str, Collection[str]]
    moved: Mapping[str, Collection[str]]
    alike: Collection[str]
    removed: Mapping[str, int]
    may_be_elsewhere: bool
    """Whether at least as many documents were added as were removed, such as by an archive."""

    @staticmethod
    def of(changes: Sequence[Change]) -> Comparison:
        lost = {change.name: [each for each in change.examples if each.lost_fields] for change in changes}
        removed = {change.name: change.counts["removed"] for change in changes if _is_smaller(change)}
        return Comparison(
            {name: list(dict.fromkeys(_paths(examples))) for name, examples in lost.items()},
            {name: set(_paths(examples)) - set(_paths(examples, moved=False)) for name, examples in lost.items()},
            {name for name, examples in lost.items() if _are_alike(examples)},
            removed,
            0 < sum(removed.values()) <= sum(change.counts["added"] for change in changes),
        )

    def removed_from(self, *names: str | None) -> int | None:
        """How many documents a collection lacks that had another name before; None if it is as large as it was."""
        return next((number for name, number in self.removed.items() if name in names), None)


def _is_smaller(change: Change) -> bool:
    return bool(change.counts["removed"] or change.is_gone)


def _paths(examples: Sequence[Example], moved: bool | None = None) -> Iterator[str]:
    """Of the lost fields: all, only those whose value is in another field now, or only the others."""
    for example in examples:
        for lost in example.lost_fields:
            if moved is None or moved == any(_has_value(other, lost.before) for other in example.fields):
                yield lost.path


def _are_alike(examples: Sequence[Example]) -> bool:
    """Whether documents that have lost different values have got the same new ones, which are not made of these."""
    lost = [[field.before for field in each.lost_fields] for each in examples]
    new = [[field for field in each.fields if field not in each.lost_fields] for each in examples]
    got = [[(field.path, field.after) for field in fields] for fields in new]
    return len(got) > 1 and all(each == got[0] for each in got) and any(each != lost[0] for each in lost)


def _has_value(field: Field, value: str) -> bool:
    is_telling = len(value) > len("'ab'")  # a short one is in many values by chance
    return field.after == value or (is_telling and value in field.after)


def findings(
    sent: Sent, expected: Expected, questions: Questions, comparison: Comparison, loops: Loops
) -> Iterator[Finding]:
    if sent.name == "update":
        yield from _lost_fields(sent, expected, questions, comparison, loops)
    elif sent.name == "$merge" or (sent.name == "$out" and sent.body["from"] == sent.collection):
        yield from _fields_lost_by_pipeline(sent, expected, questions, comparison)
    elif sent.name == "convertToCapped":
        yield from _lost_oldest(sent, expected, questions)
    elif comparison.may_be_elsewhere:
        return
    elif sent.name == "delete":
        # Documents that were deleted from the copy, which lacks none, were inserted again.
        if (
            not sent.documents
            or comparison.removed_from(sent.collection, expected.real_name(sent.collection)) is not None
        ):
            yield from _lost_documents(sent, expected, questions)
    else:
        yield from _lost_collection(sent, expected, questions, comparison)


def _lost_fields(
    sent: Sent, expected: Expected, questions: Questions, comparison: Comparison, loops: Loops
) -> Iterator[Finding]:
    name = expected.real_name(sent.collection)
    if name is None:
        return
    paths: dict[tuple[Count, Sequence[str]], list[str]] = {}
    for path, also in _lost_paths(sent, comparison):
        if top(path) not in comparison.moved.get(sent.collection, ()):
            count = _count(sent, name, {"$and": [{path: HAS_VALUE}, also]}, expected, questions, loops)
            others = expected.copied_to(sent.collection, {top(path)}, sent.documents)
            paths.setdefault((count, tuple(others)), []).append(path)
    for (count, elsewhere), names in paths.items():
        yield from _lost(sent, count, f"removes {some(names)} from {count}", elsewhere)


def _count(
    sent: Sent, name: str, also: Mapping[str, Any], expected: Expected, questions: Questions, loops: Loops
) -> Count:
    """How many of the documents that an update changes fit another filter."""
    is_one_of_many = sent.varies or (sent.is_by_id and loops.times(sent) > sent.times)
    conditions = {"$and": [{} if is_one_of_many else sent.filter, also]}
    count = questions.count(name, expected.not_deleted(sent.collection, conditions))
    if is_one_of_many and not sent.body["multi"] and count.number > loops.times(sent):
        return Count(loops.times(sent), is_estimate=True)
    return count


def _lost_documents(sent: Sent, expected: Expected, questions: Questions) -> Iterator[Finding]:
    name = expected.real_name(sent.collection)
    if name is None:
        return
    if sent.body["multi"] and not sent.varies and not sent.is_by_id:
        count = questions.count(name, expected.not_deleted(sent.collection, sent.filter), sent.body.get("collation"))
        elsewhere = expected.copied_to(sent.collection, None, sent.documents)
        yield from _lost(sent, count, f"deletes {count}", elsewhere)
    elif sent.documents:
        number = Count(round(sent.documents), is_estimate=True)
        elsewhere = expected.copied_to(sent.collection, None, sent.documents)
        yield from _lost(sent, number, f"deletes documents ({number.number:,} of the copy)", elsewhere)


def _lost_collection(sent: Sent, expected: Expected, questions: Questions, comparison: Comparison) -> Iterator[Finding]:
    if sent.name == "dropDatabase":
        yield Finding(LOST_VALUES, ALL_COLLECTIONS, f"dropDatabase removes them, {NOT_RESTORED}")
    target = {"drop": sent.collection, "$out": sent.collection, "renameCollection": sent.body.get("to")}.get(sent.name)
    if target is None or (sent.name == "renameCollection" and not sent.body["dropTarget"]):
        return
    name = expected.real_name(target)
    removed = comparison.removed_from(target, name)
    if name is not None and removed is not None:
        count = questions.count(name, expected.not_deleted(target))
        elsewhere = expected.copied_to(target, None, removed)
        yield from _lost(sent, count, f"{sent.name} removes {target} with {count}", elsewhere)


def _lost_oldest(sent: Sent, expected: Expected, questions: Questions) -> Iterator[Finding]:
    """The documents for which a capped collection has no room; the copy may be small enough."""
    name = expected.real_name(sent.collection)
    if name is not None:
        documents, room = questions.documents(name).number, sent.body["size"]
        size = documents * questions.average_bytes(name)
        lost = Count(round(documents * max(0, 1 - room / size)) if size else 0, is_estimate=True)
        yield from _lost(sent, lost, f"convertToCapped removes the oldest, {lost}")


def _fields_lost_by_pipeline(
    sent: Sent, expected: Expected, questions: Questions, comparison: Comparison
) -> Iterator[Finding]:
    """For documents that ``$merge``, or ``$out`` into its own collection, has written over."""
    name = expected.real_name(sent.collection)
    paths: dict[Count, list[str]] = {}
    for path in comparison.fields.get(sent.collection, ()) if name else ():
        if path not in comparison.moved[sent.collection]:
            count = questions.count(str(name), expected.not_deleted(sent.collection, {path: HAS_VALUE}))
            paths.setdefault(count._replace(is_estimate=True), []).append(path)
    for most, names in paths.items():
        yield from _lost(sent, most, f"{sent.name} removes {some(names)} from {most}")


def _lost(sent: Sent, count: Count, text: str, elsewhere: Sequence[str] = ()) -> Iterator[Finding]:
    """A finding if there are any. The run may have written what they have to the collections ``elsewhere``."""
    if count.number and elsewhere:
        text += f". The run has written to {' and '.join(elsewhere)} before: whether all of it is there is not known"
        yield Finding(NOT_KNOWN, sent.collection, text, count.number, count.is_estimate)
    elif count.number:
        yield Finding(LOST_VALUES, sent.collection, f"{text}, {NOT_RESTORED}", count.number, count.is_estimate)


def _lost_paths(sent: Sent, comparison: Comparison) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The paths whose values are lost, each with what else has to be true of the document."""
    update = sent.body["update"]
    lost_fields = comparison.fields.get(sent.collection, ())
    if isinstance(update, (list, tuple)):
        yield from ((path, {}) for path in _lost_in_stages(update, lost_fields))
    elif not is_operators(update):
        yield from ((field, {}) for field in lost_fields)
    else:
        # What is set in the same update may be made of what is unset, unless it is the same for all documents.
        is_constant = (sent.body["multi"] and not sent.varies) or sent.collection in comparison.alike
        yield from _lost_by_operators(update, is_constant=is_constant)


def _lost_by_operators(
    update: Mapping[str, Mapping[str, Any]], *, is_constant: bool
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    set_to = update.get("$set", {})
    emptied = [path for path, value in set_to.items() if value is None]
    removed = update.get("$unset", {}) if is_constant or not set_to else {}
    yield from ((POSITIONS.sub("", path), {}) for path in [*removed, *emptied])
    yield from ((new, {old: {"$exists": True}}) for old, new in update.get("$rename", {}).items())


def _lost_in_stages(stages: Sequence[Mapping[str, Any]], lost_fields: Collection[str]) -> Iterator[str]:
    """What a pipeline removes by name, or leaves out: a stage before or the same may put the value elsewhere."""
    before = ""
    for stage in stages:
        (name, value), *_ = stage.items()
        removed = unset_by_stage(stage)
        if name in ("$set", "$addFields"):
            removed = [path for path, new in value.items() if new in (None, REMOVED_IN_PIPELINE)]
        elif not removed and name in ("$project", "$replaceWith", "$replaceRoot"):
            removed, before = [*lost_fields], before + repr(stage)
        yield from (path for path in removed if f"${top(path)}" not in before)
        before += repr(stage)
