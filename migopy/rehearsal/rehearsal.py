"""The rehearsal: the unregistered migrations on a copy of the database, up, down and up again, and what they change."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, NamedTuple, Sequence, cast

from ..batches import Batches
from ..errors import ConfigurationError, MigopyException, MigrationFailed
from ..files.directory import line_in, not_run
from ..mongo.client import close, has_transactions, server_errors
from ..run.runner import EXECUTE, ROLL_BACK, Direction, Hooks, Run
from ..terminal.options import positive
from ..terminal.progress import Line, counted, in_bytes
from ..terminal.texts import summary
from .scratch.comparing import Change, Look, compare
from .scratch.copying import Copied, Copy, Original, originals
from .scratch.database import MARK, Scratch, is_same_server
from .scratch.digest import Digester
from .scratch.guard import Guard, Place, addresses, clients
from .scratch.raw import VIEW, server_time

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo import MongoClient
    from pymongo.database import Database

    from ..files.directory import LoadedMigration, Migration
    from ..mongo.client import Server
    from ..run.workspace import Session
    from ..store.lock import Lock

DOCUMENTS = 1000
"""How many documents of each collection are copied if nothing else is said."""

SPACE = 1.2
"""How much disk there has to be for a copy, as a multiple of what is to be copied."""

NAMES = 5
"""How many of the collections are named of which there is a sample."""

UP = EXECUTE._replace(after_failure="the rehearsal ends here")
AGAIN = EXECUTE._replace(after_failure="it was up() again, after down(); the rehearsal ends here")
DOWN = ROLL_BACK._replace(after_failure="the rehearsal ends here")


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
            f"{counted(self.collections, 'collection')} with about {counted(self.documents, 'document')}"
            f" ({in_bytes(self.size)})"
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


class Alone:
    """Stands in for the lock of a run: nobody else is in the scratch database."""

    was_dropped = False

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def confirm(self) -> None: ...

    def announce(self, migrations: Sequence[str], session: bytes | None) -> None: ...

    def give_back(self, error: BaseException | None = None) -> None: ...

    def now(self) -> datetime:
        return datetime.now(timezone.utc)


def limit_of(documents: str | None) -> int | None:
    """How many documents of each collection the option ``documents`` asks for; None for all."""
    if documents == "all":
        return None
    return DOCUMENTS if documents is None else positive("documents", documents)


class Stage:
    """The scratch database for a ``with`` block, by two clients: ``scratch`` is ours, ``db`` is for the team's code,
    by a client that ``guard`` sees.

    ``server`` says where the scratch database is, ``connect`` makes a client of it; ``ours`` is one that is connected.
    """

    def __init__(
        self,
        source: Database[Any],
        ours: MongoClient[Any],
        server: Server,
        connect: Callable[[], MongoClient[Any]],
        *,
        owner: str,
        keep: bool,
    ) -> None:
        self.source = source
        self.scratch = Scratch(
            ours[server.database_name()], owner=owner, source=source.name, address=server.address, keep=keep
        )
        self.overlooked = max(0, len(clients()) - len({id(ours), id(source.client)}))
        """How many clients the process had already made, of which no guard can be told."""
        self._connect = connect
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        """Raises, before anything is written, ``ConfigurationError`` or ``LockHeld`` when it cannot be had."""
        scratch, name = self.scratch, self.scratch.db.name
        with server_errors(scratch.address):
            if name == self.source.name and is_same_server(scratch.db, self.source):
                raise ConfigurationError(
                    f"The rehearsal would be in {name} at {scratch.address}, which is the real database: set"
                    " REHEARSAL_DATABASE to another name. Nothing was copied."
                )
            scratch.require_free()
        with contextlib.ExitStack() as undo, server_errors(scratch.address):
            inside = Place(addresses(scratch.db.client.nodes), name)
            self.guard = undo.enter_context(Guard(inside, forbidden=self.source.name))
            client = self._connect()
            undo.callback(close, client)
            if not self.guard.sees(client):
                raise ConfigurationError(
                    "MongoClient of the class in the fabfile gives a client that was made before the rehearsal: it has"
                    " to make one each time it is called. Nothing was copied."
                )
            self.db = client[name]
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._exit.__exit__(*error)

    @property
    def where(self) -> str:
        return f"{self.scratch.db.name} at {self.scratch.address}"

    @property
    def about_the_original(self) -> str:
        """What is known of it in the end."""
        if self.overlooked:
            return "What was sent by the clients that had been made before is not known"
        return "The real database is as it was"

    def warnings(self, extent: Extent) -> Iterator[str]:
        """What a person should know before so much is copied."""
        if self.overlooked:
            yield (
                f"{counted(self.overlooked, 'MongoClient')} had been made before the rehearsal began, by the fabfile or"
                " what it imports: what is sent there cannot be seen. The sure way is a REHEARSAL_URI whose user may"
                " write nowhere else."
            )
        with server_errors(self.scratch.address):
            has_oplog = self.scratch.db.client is self.source.client and has_transactions(self.source.client)
        if has_oplog:
            yield (
                f"The copy is on the servers of the original: {in_bytes(extent.size)} go through their oplog."
                " REHEARSAL_URI names another."
            )
        if extent.sampled:
            names = ", ".join(extent.sampled[:NAMES]) + (", ..." if len(extent.sampled) > NAMES else "")
            yield (
                f"Of {counted(len(extent.sampled), 'collection')} a sample ({names}): the newest documents, some"
                " at random, one of every shape. What they refer to may not be in the copy; documents=all copies all."
            )


class Rehearsal:
    """Rehearses migrations on a ``stage``, with ``limit`` documents of each collection, or all.

    ``db`` is what the migrations get, the scratch database with whatever they are used to; ``session`` is about that
    one. ``collection`` is ``MIGRATIONS_COLLECTION``.
    """

    def __init__(
        self,
        stage: Stage,
        session: Session,
        db: Database[dict[str, Any]],
        *,
        limit: int | None,
        collection: str,
    ) -> None:
        self._source, self._scratch, self._guard = stage.source, stage.scratch, stage.guard
        self._overlooked = stage.overlooked
        self._session = session
        self._db = db
        self._limit = limit
        beside = [f"{collection}_{name}" for name in ("lock", "log", "batches")]
        self._whole = [collection]
        self._ours = [MARK, collection, *beside]
        with server_errors(session.address):
            self._originals = originals(self._source, without=[MARK, *beside])
        self._copied: Mapping[str, Copied] = {}

    @property
    def sampled(self) -> Mapping[str, Copied]:
        """The collections that were not copied as a whole."""
        return {name: copied for name, copied in self._copied.items() if copied.copy < copied.original}

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
            sampled=[original.name for part, original in zip(parts, self._originals) if part < 1],
        )

    def _part(self, original: Original) -> float:
        if self._limit is None or original.name in self._whole or original.documents <= self._limit:
            return 1
        return self._limit / original.documents

    def require_transactions(self, migrations: Sequence[LoadedMigration]) -> None:
        """Raises ``ConfigurationError`` when a migration needs one, and the server of the copy has none."""
        functions = [*migrations, *(down_of(migration) for migration in migrations if migration.has_down)]
        asking = [function.name for function in functions if function.in_transaction]
        if asking and not self._session.server.has_transactions:
            raise ConfigurationError(
                f"{asking[0]} has a parameter named session, which asks for a transaction, and MongoDB at"
                f" {self._session.address} is neither a replica set nor a sharded cluster: REHEARSAL_URI may name one."
                " Nothing was copied.",
                migration=asking[0],
            )

    def require_space(self) -> None:
        """Raises ``ConfigurationError`` when the copy needs more disk than there is, as far as the server tells."""
        with server_errors(self._session.address):
            stats = self._scratch.db.command("dbStats")
        if not stats.get("fsTotalSize"):
            return
        needed, free = SPACE * self.extent.storage, stats["fsTotalSize"] - stats["fsUsedSize"]
        if needed > free:
            raise ConfigurationError(
                f"The copy needs about {in_bytes(needed)} of disk, and at {self._scratch.address} there are"
                f" {in_bytes(free)}: take a smaller sample with documents=N, or another server with REHEARSAL_URI."
                " Nothing was copied."
            )

    def copy(self, line: Line) -> int:
        """Copy the database; how many documents there are in the copy."""
        copy = Copy(self._source, self._scratch.db, self._limit, self._whole)
        total = self.extent.documents

        def show(done: int) -> None:
            line.show(f"Copied {done:,} of about {max(done, total):,} documents", done, total)

        with server_errors(self._scratch.address):
            self._copied = copy.run(self._originals, show)
        return copy.documents

    def prepare(self, before: Callable[[Database[dict[str, Any]]], object]) -> None:
        """Let the team do something with the copy, and take a first look at it."""
        with self._guarded("before_rehearsal()"):
            try:
                instead = not_run(before(self._db))
            except (Exception, SystemExit) as error:  # sys.exit() must not look like success
                raise MigrationFailed(f"before_rehearsal() failed ({summary(error)}). No migration was run.") from error
        if instead:
            raise MigrationFailed(
                f"before_rehearsal() returned something of type {instead}, of which nothing has run. No migration was"
                " run."
            )
        with server_errors(self._scratch.address):
            self._digester = Digester(min(time.time(), server_time(self._scratch.db)))
            self._looked()
            if self._overlooked:  # what they do to the copy nobody is told before
                self._look.read()

    # The migrations

    def load(self, chosen: Sequence[Migration]) -> list[LoadedMigration]:
        """Import the files; what they do meanwhile is guarded, and so are the clients that they make."""
        loaded = []
        for migration in chosen:
            with self._guarded(migration.name, migration.path):
                loaded.append(migration.load("up"))
        return loaded

    def one(self, migration: LoadedMigration, left: int) -> Rehearsed:
        """Up, down and up again; ``left`` is the number of those that come after it."""
        rehearsed = Rehearsed(migration.name)
        try:
            with server_errors(self._scratch.address):
                self._rehearse(migration, rehearsed, left)
        except MigopyException as error:
            rehearsed.error = error
        return rehearsed

    def _rehearse(self, up: LoadedMigration, rehearsed: Rehearsed, left: int) -> None:
        before = self._look
        rehearsed.seconds = self._run(UP, up, left)
        rehearsed.commands = self._commands()
        rehearsed.whole = self._whole_seconds(rehearsed)
        after = self._looked(before)
        rehearsed.changes = compare(before, after)
        if not up.has_down:
            return
        rehearsed.down_seconds = self._run(DOWN, down_of(up), left)
        back = self._looked(before, after)
        rehearsed.restored = compare(before, back)
        self._run(AGAIN, up, left)
        rehearsed.repeated = compare(after, self._looked(before, after, back))

    def _run(self, direction: Direction, migration: LoadedMigration, left: int) -> float:
        if migration.in_transaction:
            self._session.prepare_transactions()
        run = Run(
            direction,
            cast("Lock", Alone()),
            self._session.history,
            self._db,
            records=self._session.history.registered(),
            dump={},
            hooks=Hooks(_nothing, _nothing, _nothing),
            batches=lambda migration: Batches(),
            forget=_nothing,
            say=_nothing,
            command="",
        )
        if migration.in_transaction:  # there the time of the last attempt counts
            self._look.read()
        look, before = self._look, self._look.seconds
        with self._guarded(migration.name, migration.migration.path, look.read), run.of([migration]):
            seconds = run.one(migration, left)
        self._scratch.mark_again()
        return seconds - (look.seconds - before)

    @contextlib.contextmanager
    def _guarded(
        self, name: str, path: Path | None = None, before_write: Callable[[str | None], None] = lambda collection: None
    ) -> Iterator[None]:
        """Raises ``MigrationFailed`` when code wants to leave the scratch database, also if it has hidden that."""
        try:
            with self._guard.watching(before_write):
                yield
        except BaseException:
            if not (self._guard.stopped or self._guard.not_looked):
                raise
        if self._guard.not_looked:
            with server_errors(self._scratch.address):
                raise self._guard.not_looked
        if self._guard.stopped:
            line = line_in(path, self._guard.stopped) if path else None
            place = f" (line {line})" if line else ""
            raise MigrationFailed(
                f"{name}{place} was stopped: {self._guard.stopped}, which is not the copy; nothing of that was sent."
                " The rehearsal ends here.",
                migration=name,
            ) from self._guard.stopped

    def _looked(self, *known: Look) -> Look:
        self._look = Look(self._scratch.db, self._digester, self._ours, known)
        return self._look

    def _commands(self) -> Mapping[tuple[str, str], int]:
        return {sent: number for sent, number in self._guard.commands.items() if sent[0] not in self._ours}

    def _whole_seconds(self, rehearsed: Rehearsed) -> float | None:
        """How long it may take where all documents are, by the largest of the collections that it has touched."""
        copied = [self._copied[name] for name, _ in rehearsed.commands if name in self._copied]
        times = max((one.original / one.copy for one in copied if one.copy), default=1)
        return times * (rehearsed.seconds or 0) if times > 1 else None


def down_of(up: LoadedMigration) -> LoadedMigration:
    """The other function of the file, which is not imported again."""
    return replace(up, call=up.module.down)


def _nothing(*told: object) -> None:
    """Stands in for the hooks around each migration, which are about the real one, and for what is said of it."""
