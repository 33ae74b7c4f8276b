"""The copying in a rehearsal: how much there is to copy, whether it fits on the disk, and the copy itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, NamedTuple, Sequence

from ..errors import ConfigurationError
from ..mongo.failures import server_errors
from ..terminal.wording import byte_size, plural
from .scratch.copying import MAX_EXPIRING, Copier, DocumentCounts, Original, originals
from .scratch.database import MARK
from .scratch.raw import VIEW

if TYPE_CHECKING:
    from pymongo.database import Database

    from ..store import Names
    from ..terminal.progress import ProgressLine
    from .scratch.database import Scratch

SPACE_FACTOR = 1.2
"""How much free disk a copy needs, as a multiple of what is copied."""


class Extent(NamedTuple):
    """How much is to be copied, as far as MongoDB knows without counting.

    ``size`` is in bytes without compression, ``storage`` in bytes on disk with the indexes; ``sampled`` names the
    collections that are copied in part only.
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


class CopyJob:
    """Copies the database ``source`` into the scratch database, with ``limit`` documents of each collection, or all.

    The history is copied as a whole; lock, log and checkpoints are left out.
    """

    def __init__(self, source: Database[Any], scratch: Scratch, names: Names, *, limit: int | None) -> None:
        self._source = source
        self._scratch = scratch
        self._limit = limit
        self._whole = [names.migrations]
        with server_errors(scratch.address):
            self._originals = originals(source, without=[MARK, *names.others])
        self.counts: Mapping[str, DocumentCounts] = {}
        """How much of each collection was copied, by name."""
        self.left_out = ""
        """The documents that expire too soon to be copied, such as ``12 of users``; empty if there are none."""

    @property
    def extent(self) -> Extent:
        parts = [self._part(original) for original in self._originals]
        return Extent(
            collections=sum(original.kind != VIEW for original in self._originals),
            documents=sum(round(part * original.documents) for part, original in zip(parts, self._originals)),
            size=sum(round(part * original.size) for part, original in zip(parts, self._originals)),
            storage=sum(round(part * original.storage) for part, original in zip(parts, self._originals)),
            sampled=[original.name for part, original in zip(parts, self._originals) if part < 1],
        )

    def _part(self, original: Original) -> float:
        if self._limit is None or original.name in self._whole or original.documents <= self._limit:
            return 1
        return self._limit / original.documents

    @property
    def sampled(self) -> Mapping[str, DocumentCounts]:
        """The collections that were not copied as a whole."""
        return {name: counts for name, counts in self.counts.items() if counts.copy < counts.original}

    def require_space(self) -> None:
        """Raises ``ConfigurationError`` when the copy needs more disk than is free, as far as the server tells."""
        with server_errors(self._scratch.address):
            stats = self._scratch.db.command("dbStats")
        if not stats.get("fsTotalSize"):  # not every server knows it
            return
        needed, free = SPACE_FACTOR * self.extent.storage, stats["fsTotalSize"] - stats["fsUsedSize"]
        if needed > free:
            raise ConfigurationError(
                f"The copy needs about {byte_size(needed)} of disk, and {self._scratch.address} has {byte_size(free)}"
                " free: copy a smaller sample with documents=N, or set REHEARSAL_URI to another server. Nothing was"
                " copied."
            )

    def run(self, line: ProgressLine) -> int:
        """Copy the database; returns the number of documents in the copy."""
        copier = Copier(self._source, self._scratch.db, self._limit, self._whole)
        total = self.extent.documents

        def show(done: int) -> None:
            line.show(f"Copied {done:,} of about {max(done, total):,} documents", done, total)

        with server_errors(self._scratch.address):
            self.counts = copier.run(self._originals, show)
        self.left_out = ", ".join(self._left_out_of(name, number) for name, number in sorted(copier.left_out.items()))
        return copier.documents

    def _left_out_of(self, name: str, number: int) -> str:
        at_least = " or more" if number == MAX_EXPIRING else ""
        is_all = "" if self.counts[name].copy else "all "
        return f"{is_all}{number:,}{at_least} of {name}"
