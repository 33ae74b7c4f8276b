"""What a rehearsal finds: how much there is to copy, and what each migration did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, NamedTuple, Sequence

from ..errors import CheckFailed, MigopyException
from ..terminal.options import positive_number
from ..terminal.wording import byte_size, plural
from .scratch.comparing import Change

DOCUMENTS = 1000
"""How many documents of each collection are copied if nothing else is said."""


class Extent(NamedTuple):
    """How much is copied: collections, documents, bytes without compression and on disk with the indexes; and of which
    collections only a sample.
    """

    collections: int
    documents: int
    size: int
    storage: int
    sampled: Sequence[str]

    def __str__(self) -> str:
        return (
            f"{plural(self.collections, 'collection')} with about {plural(self.documents, 'document')}"
            f" ({byte_size(self.size)})"
        )


@dataclass
class Rehearsed:
    """What came of one migration. ``whole`` are the seconds that it may take with all documents, if this was a sample.

    ``restored`` is what ``down()`` has not brought back, None without a ``down()``; ``repeated`` in what the second
    ``up()`` differs from the first. ``error`` is what ended the rehearsal.
    """

    name: str
    seconds: float | None = None
    whole: float | None = None
    commands: Mapping[tuple[str, str], int] = field(default_factory=dict)
    changes: Sequence[Change] = ()
    down_seconds: float | None = None
    restored: Sequence[Change] | None = None
    repeated: Sequence[Change] | None = None
    error: MigopyException | None = None

    @property
    def verdict_of_down(self) -> str:
        """``restores``, ``does not restore``, ``failed``, ``no down()``; empty where it did not come to that."""
        if self.restored is not None:
            return _verdict(self.restored, "restores", "does not restore")
        if self.seconds is None:
            return ""
        return "failed" if self.error else "no down()"

    @property
    def verdict_of_again(self) -> str:
        """``the same``, ``differs``, ``failed``; empty where it did not come to that."""
        if self.repeated is not None:
            return _verdict(self.repeated, "the same", "differs")
        return "failed" if self.error and self.restored is not None else ""

    @property
    def is_well(self) -> bool:
        """Whether ``down()`` restores what was there, and the second ``up()`` does what the first has done."""
        return not any(change.is_real for change in (*(self.restored or ()), *(self.repeated or ())))


def _verdict(changes: Sequence[Change], good: str, bad: str) -> str:
    return bad if any(change.is_real for change in changes) else good


def limit_of(documents: str | None) -> int | None:
    """How many documents of each collection the option ``documents`` asks for; None for all."""
    if documents == "all":
        return None
    return DOCUMENTS if documents is None else positive_number("documents", documents)


def judge(rehearsed: Sequence[Rehearsed], about_the_original: str) -> str:
    """The sentence for a rehearsal that went well. Raises ``CheckFailed`` for what it has found."""
    found = [one.name for one in rehearsed if not one.is_well]
    if found:
        raise CheckFailed(
            f"down() does not restore everything, or up() does not do the same again: {', '.join(found)}."
            f" {about_the_original}."
        )
    return f"The rehearsal went well. {about_the_original}"
