"""The rehearsal: the unregistered migrations on a copy of the database, up, down and up again, and what they change."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, NamedTuple, Sequence, cast

from .progress import in_bytes
from .errors import ConfigurationError, MigopyException, MigrationFailed
from .loader import line_in
from .mongo import server_errors
from .run import EXECUTE, ROLL_BACK, Direction, Run
from .scratch.comparing import Change, Look, compare
from .scratch.copying import Copied, Copy, Original, originals
from .scratch.database import MARK
from .scratch.digest import Digester
from .scratch.raw import VIEW, server_time

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database

    from .history import History
    from .loader import LoadedMigration, Migration
    from .lock import Lock
    from .scratch.database import Scratch
    from .scratch.guard import Guard

DOCUMENTS = 1000
"""How many documents of each collection are copied if nothing else is said."""

SPACE = 1.2
"""How much disk there has to be for a copy, as a multiple of what is to be copied."""

UP = EXECUTE._replace(after_failure="the rehearsal ends here")
DOWN = ROLL_BACK._replace(after_failure="the rehearsal ends here")


class Extent(NamedTuple):
    """How much is copied: documents, bytes without compression, bytes on disk, and of how many collections a sample."""

    collections: int
    documents: int
    size: int
    storage: int
    sampled: int


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
    def is_well(self) -> bool:
        """Whether ``down()`` restores what was there, and the second ``up()`` does what the first has done."""
        return not any(change.is_real for change in (*(self.restored or ()), *(self.repeated or ())))


class Alone:
    """Stands in for the lock of a run: nobody else is in the scratch database."""

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def confirm(self) -> None: ...

    def announce(self, migrations: Sequence[str]) -> None: ...

    def now(self) -> datetime:
        return datetime.now(timezone.utc)


class Rehearsal:
    """Rehearses migrations in ``scratch``, with a copy of ``source`` of which it takes ``limit`` documents of each
    collection, or all.

    The migrations get ``db``, the scratch database by a client that ``guard`` sees. ``history`` is the history there.
    ``before`` is called with that database once the copy is there. ``collection`` is ``MIGRATIONS_COLLECTION``.
    ``progress`` is told how many documents of how many are copied.
    """

    def __init__(
        self,
        source: Database[Any],
        scratch: Scratch,
        *,
        db: Database[dict[str, Any]],
        history: History,
        guard: Guard,
        limit: int | None,
        collection: str,
        before: Callable[[Database[dict[str, Any]]], None],
        progress: Callable[[int, int], None],
    ) -> None:
        self._source = source
        self._scratch = scratch
        self._db = db
        self._history = history
        self._guard = guard
        self._limit = limit
        self._before = before
        self._progress = progress
        beside = [f"{collection}_{name}" for name in ("lock", "log", "batches")]
        self._whole = [collection]
        self._ours = [MARK, collection, *beside]
        self._originals = originals(source, without=[MARK, *beside])
        self._copied: Mapping[str, Copied] = {}

    # What is copied

    @property
    def extent(self) -> Extent:
        """What there is to copy, as far as MongoDB knows without counting."""
        parts = [self._part(original) for original in self._originals]
        return Extent(
            collections=sum(original.kind != VIEW for original in self._originals),
            documents=sum(round(part * original.documents) for part, original in zip(parts, self._originals)),
            size=sum(round(part * original.size) for part, original in zip(parts, self._originals)),
            storage=sum(round(part * original.storage) for part, original in zip(parts, self._originals)),
            sampled=sum(part < 1 for part in parts),
        )

    def _part(self, original: Original) -> float:
        if self._limit is None or original.name in self._whole or original.documents <= self._limit:
            return 1
        return self._limit / original.documents

    def require_space(self) -> None:
        """Raises ``ConfigurationError`` when the disk of the scratch database would be too small."""
        stats = self._scratch.db.command("dbStats")
        if "fsTotalSize" not in stats:
            return
        needed, free = SPACE * self.extent.storage, stats["fsTotalSize"] - stats["fsUsedSize"]
        if needed > free:
            raise ConfigurationError(
                f"The copy needs about {in_bytes(needed)} of disk, and {self._scratch.address} has {in_bytes(free)}: take a"
                " smaller sample with documents=N, or another server with REHEARSAL_URI. Nothing was copied."
            )

    def copy(self) -> int:
        """Copy the database, and let the team mask what is in the copy; how many documents were copied."""
        copy = Copy(self._source, self._scratch.db, self._limit, self._whole)
        total = self.extent.documents
        self._copied = copy.run(self._originals, lambda documents: self._progress(documents, total))
        with self._guarded("before_rehearsal()", None):
            self._before(self._db)
        self._digester = Digester(min(time.time(), server_time(self._scratch.db)))
        self._look = self._looked()
        self._digester.learned()
        return copy.documents

    # The migrations

    def load(self, chosen: Sequence[Migration]) -> list[LoadedMigration]:
        """Import the files: what they do meanwhile is guarded too, and no client that they make is overlooked."""
        loaded = []
        for migration in chosen:
            with self._guarded(migration.name, migration.path):
                loaded.append(migration.load("up"))
        return loaded

    def each(self, migrations: Sequence[LoadedMigration]) -> Iterator[Rehearsed]:
        """What comes of one after the other, up to the first that fails."""
        for place, migration in enumerate(migrations, start=1):
            rehearsed = Rehearsed(migration.name)
            try:
                self._rehearse(migration, rehearsed, left=len(migrations) - place)
            except MigopyException as error:
                rehearsed.error = error
            yield rehearsed
            if rehearsed.error:
                return

    def _rehearse(self, up: LoadedMigration, rehearsed: Rehearsed, left: int) -> None:
        before = self._look
        rehearsed.seconds = self._run(UP, up, left)
        rehearsed.commands = self._commands()
        rehearsed.whole = self._whole_seconds(rehearsed)
        after = self._looked(before)
        rehearsed.changes = compare(before, after)
        if not up.has_down:
            return
        rehearsed.down_seconds = self._run(DOWN, replace(up, call=up.module.down), left)
        back = self._looked(before, after)
        rehearsed.restored = compare(before, back)
        self._run(UP, up, left)
        rehearsed.repeated = compare(after, self._looked(before, after, back))

    def _run(self, direction: Direction, migration: LoadedMigration, left: int) -> float:
        run = Run(
            direction,
            cast("Lock", Alone()),
            self._history,
            self._db,
            records=self._history.registered(),
            dump=None,
            hooks=(_nothing, _nothing),
            say=_nothing,
            command="",
        )
        with self._guarded(migration.name, migration.migration.path):
            return run.one(migration, left)

    @contextlib.contextmanager
    def _guarded(self, name: str, path: Path | None) -> Iterator[None]:
        """Raises ``MigrationFailed`` when code wants to leave the scratch database, also if it has hidden that."""
        try:
            with self._guard.watching():
                yield
        except BaseException:
            if not self._guard.stopped:
                raise
        finally:
            self._scratch.mark_again()
        if self._guard.stopped:
            line = line_in(path, self._guard.stopped) if path else None
            place = f" (line {line})" if line else ""
            raise MigrationFailed(
                f"{name}{place} was stopped: {self._guard.stopped}, which is not the copy; nothing of that was sent."
                " The rehearsal ends here.",
                migration=name,
            ) from self._guard.stopped

    def _looked(self, *known: Look) -> Look:
        with server_errors(self._scratch.address):
            self._look = Look(self._scratch.db, self._digester, self._ours, known)
        return self._look

    def _commands(self) -> Mapping[tuple[str, str], int]:
        return {sent: number for sent, number in self._guard.commands.items() if sent[0] not in self._ours}

    def _whole_seconds(self, rehearsed: Rehearsed) -> float | None:
        """How long it may take where all documents are, by the largest of the collections that it has touched."""
        copied = [self._copied[name] for name, _ in rehearsed.commands if name in self._copied]
        times = max((one.original / one.copy for one in copied if one.copy), default=1)
        return times * (rehearsed.seconds or 0) if times > 1 else None


def _nothing(text: str) -> None:
    """Stands in for the hooks around each migration, which are about the real one, and for what is said of it."""
