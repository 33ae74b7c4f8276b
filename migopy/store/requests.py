"""What another terminal asks of the run that has the lock. A request lies in the document of the lock."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Mapping, NamedTuple

from ..mongo.clock import literals
from ..terminal.wording import local_time, plural
from . import documents

RequestKind = Literal["pause", "resume", "stop"]

KINDS: tuple[RequestKind, ...] = ("pause", "resume", "stop")


class Request(NamedTuple):
    """``by`` (user@host) asked a run to pause, to resume or to stop, at the server's time ``at``."""

    what: RequestKind
    by: str
    at: datetime
    because: str = ""

    @classmethod
    def from_document(cls, document: object) -> Request | None:
        """None for anything but a request."""
        if not isinstance(document, Mapping):
            return None
        by, at = documents.text(document.get("by")), documents.moment(document.get("at"))
        what = next((kind for kind in KINDS if kind == document.get("what")), None)
        if what is None or by is None or at is None:
            return None
        return cls(what, by, at, documents.text(document.get("because")) or "")

    @property
    def author(self) -> str:
        """``ann@web1 (backup)``"""
        return f"{self.by} ({self.because})" if self.because else self.by

    @property
    def doing(self) -> str:
        """What a run that waits says: ``paused by ann@web1 (backup)``."""
        return f"paused by {self.author}"

    def __str__(self) -> str:
        """``ann@web1 asked to pause on 2026-01-31 12:00:00 UTC (backup)``"""
        why = f" ({self.because})" if self.because else ""
        return f"{self.by} asked to {self.what} on {local_time(self.at)}{why}"


class PaceRequest(NamedTuple):
    """``by`` (user@host) asked at ``at`` for at most so many documents a second; None for no limit."""

    documents: int | None
    by: str
    at: datetime

    @classmethod
    def from_document(cls, document: object) -> PaceRequest | None:
        """None for anything but such a request."""
        if not isinstance(document, Mapping):
            return None
        by, at = documents.text(document.get("by")), documents.moment(document.get("at"))
        pace = documents.number(document.get("documents"))
        if by is None or at is None or (pace is not None and pace < 1):
            return None
        return cls(pace, by, at)

    @property
    def pace(self) -> str:
        """``at most 2,000 documents a second``"""
        return f"at most {plural(self.documents, 'document')} a second" if self.documents else "full pace"

    def __str__(self) -> str:
        """``ann@web1 asked for at most 2,000 documents a second on 2026-01-31 12:00:00 UTC``"""
        return f"{self.by} asked for {self.pace} on {local_time(self.at)}"


def put_pace(pace: int | None, by: str) -> list[dict[str, Any]]:
    """The update that sets the pace of a run in the document of its lock."""
    facts = literals({"documents": pace, **documents.storable_facts({"by": by})})
    return [{"$set": {"pace": {**facts, "at": "$$NOW"}}}]


def put(what: RequestKind, by: str, because: str) -> list[dict[str, Any]]:
    """The update that puts a request into the document of a lock. The one before it stays beside it."""
    facts = literals(documents.storable_facts({"what": what, "by": by, "because": because}))
    return [{"$set": {"previous_request": "$request", "request": {**facts, "at": "$$NOW"}}}]
