"""What a preflight says about one command."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Mapping, Sequence

from ...files import allowances

CHANGED_DOCUMENTS = "changed documents"
NEW_INDEX = "new index"
SUPERFLUOUS_INDEX = "superfluous index"
NOT_KNOWN = "not known"
NOT_ASKED = "not asked"

ALL_COLLECTIONS = "all collections"
"""In the place of a name."""

NOTES = (CHANGED_DOCUMENTS, NEW_INDEX, SUPERFLUOUS_INDEX, NOT_KNOWN, NOT_ASKED)
"""The kinds that are never grave. The others are keys of ``ALLOW``."""


@dataclass(frozen=True)
class Finding:
    """One fact about a collection. ``kind`` is one of ``NOTES``, or a key of ``ALLOW``.

    ``documents`` is how many it is about, counted or estimated; ``seconds``, ``oplog_bytes`` and
    ``index_bytes`` are estimates.
    ``allowed`` is the reason in the file. ``command`` is the place among the commands of the migration, if it is about
    one.
    """

    kind: str
    collection: str
    text: str
    documents: int | None = None
    is_estimate: bool = False
    seconds: float | None = None
    oplog_bytes: int | None = None
    index_bytes: int | None = None
    examples: Sequence[str] = ()
    allowed: str | None = None
    command: int | None = field(default=None, compare=False)

    @property
    def is_grave(self) -> bool:
        return self.kind in allowances.EXAMPLES and self.allowed is None

    def with_allowances(self, allowed: Mapping[str, str]) -> Finding:
        return self if self.kind in NOTES else replace(self, allowed=allowed.get(self.kind))

    def row(self) -> dict[str, Any]:
        """For JSON."""
        facts = {**vars(self), "examples": list(self.examples), "is_grave": self.is_grave}
        del facts["command"]
        return {**facts, "seconds": None if self.seconds is None else round(self.seconds, 3)}

    def __str__(self) -> str:
        marks = (
            f" [{self.kind}]" if self.is_grave else f" [{self.kind}, allowed: {self.allowed}]" if self.allowed else ""
        )
        return f"{self.collection}: {self.text}{marks}"
