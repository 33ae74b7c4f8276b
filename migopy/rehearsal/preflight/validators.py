"""Validators: how many of the documents that are there they will refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

from ...files.allowances import REFUSED_DOCUMENTS
from ..scratch.fields import short_repr
from .expected import fields_of_filter
from .findings import NOT_KNOWN, Finding

if TYPE_CHECKING:
    from ..scratch.recorder import Sent
    from .expected import Expected
    from .questions import Questions

OPTIONS = ("validator", "validationLevel", "validationAction")


def findings(sent: Sent, expected: Expected, questions: Questions) -> Iterator[Finding]:
    """For ``collMod``: ``create`` makes a collection without documents."""
    name = expected.real_name(sent.collection)
    if name is None or not any(option in sent.body for option in OPTIONS):
        return
    options = {**questions.options(name), **sent.body}
    validator = options.get("validator")
    # With "moderate" a document that is not valid now may still be changed.
    if not validator or options.get("validationLevel", "strict") != "strict":
        return
    if options.get("validationAction", "error") == "warn":
        return
    refused = expected.not_deleted(sent.collection, {"$nor": [validator]})
    count = questions.count(name, refused)
    if not count.number:
        return
    examples = tuple(map(short_repr, questions.ids(name, refused)))
    before = expected.done_before(sent.collection, fields_of_filter(validator))
    now = f" as they are now (the run {before} documents before it)" if before else ""
    text = f"the validator refuses {count}{now}, such as _id {', '.join(examples)}: every later update of one fails"
    kind = NOT_KNOWN if before else REFUSED_DOCUMENTS
    yield Finding(kind, sent.collection, text, count.number, count.is_estimate, examples=examples)
