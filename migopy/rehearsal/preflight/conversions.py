"""Updates by a pipeline that converts values: whether all values of the real data can be converted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Iterator

from ...files.allowances import REFUSED_DOCUMENTS
from .findings import NOT_KNOWN, Finding

if TYPE_CHECKING:
    from ..scratch.recorder import Sent
    from .expected import Expected
    from .questions import Questions

CONVERTS = re.compile(r"'\$(convert|dateFromString|to(Bool|Date|Decimal|Double|Int|Long|ObjectId))'")


def findings(sent: Sent, expected: Expected, questions: Questions) -> Iterator[Finding]:
    """For updates of collections that the copy has in part: of others it has shown it."""
    name, update = expected.real_name(sent.collection), sent.body["update"]
    if name is None or sent.is_by_id or not isinstance(update, (list, tuple)) or not CONVERTS.search(repr(update)):
        return
    error = questions.conversion_error(name, expected.not_deleted(sent.collection, sent.filter), update)
    if error:
        changes = expected.may_differ(sent.collection, None)
        now = ", as the documents are before the run" if changes else ""
        kind = NOT_KNOWN if changes else REFUSED_DOCUMENTS
        yield Finding(kind, sent.collection, f"the update cannot convert a value and fails{now}: {error}")
