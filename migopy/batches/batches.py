"""``Batches``: what a migration walks through a collection with."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping

from pymongo.errors import ExecutionTimeout, OperationFailure, PyMongoError

from ..errors import BatchFailed
from ..mongo.kind import has_transactions
from ..store.checkpoints import Checkpoint, Identity
from . import arguments
from .lag import ReplicaSet
from .pace import ROOM_HERE, ROOM_THERE, Pace
from .progress import Line, NoLine
from .trail import NoTrail, Trail
from .walk import BatchHooks, TooMuch, Walk
from .writes import Documents, by_function, explained, in_server

if TYPE_CHECKING:
    from types import TracebackType

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection


IN_SERVER, IN_PYTHON = 10_000, 1_000
"""Documents of a batch, if nothing else is asked for: where the server changes them, and where they are read."""


MAX_LAG = 10.0
"""Seconds that a member of the replica set may be behind before it is waited for."""


COUNTING, LOOKING = 100, 1_000
"""Milliseconds that counting may take before a walk, and looking at some documents where that is too long."""


LOOKED_AT = 1_000
"""So many documents, at random, tell how many of all fit, to some per cent."""


class Batches:
    """What ``up(db, batches)`` and ``down(db, batches)`` get.

    A batch and the note of how far the walk is are one transaction, where the server has them; elsewhere the note is
    written after the batch, which may then be done twice. Made without arguments, as for a test, it keeps no note, asks
    for no lock and shows nothing.
    """

    def __init__(
        self,
        trail: Trail | NoTrail | None = None,
        confirm: Callable[[], None] = lambda: None,
        line: Line | None = None,
        max_lag: float = MAX_LAG,
    ) -> None:
        self._trail = trail or NoTrail()
        self._line = line or NoLine()
        self._watch = BatchHooks(confirm, self._trail.move, self._line.follow, max_lag)
        self._begun: Counter[tuple[str, str]] = Counter()
        self._walking: str | None = None
        self._last: Walk | None = None
        self._unwritten: list[str] = []

    def update(
        self, collection: Collection[Any], filter: Mapping[str, Any], update: Any, size: int | None = None
    ) -> int:
        """Update all documents that fit the filter; how many were changed, those of earlier runs included.

        ``update`` is what ``update_many`` takes, operators or a pipeline, and is done by the server. Or it is a
        function of one document that returns such an update for it, or None to leave it; it may be called again for
        the same document. Raises ``BatchFailed`` that names the document with which a batch could not be done.
        """
        arguments.require_update(update)
        default, room = (IN_PYTHON, ROOM_HERE) if callable(update) else (IN_SERVER, ROOM_THERE)
        asked = arguments.size(size, default)
        with self._walk(arguments.plain(collection), arguments.filter(filter), update, asked, room) as walk:
            if callable(update):
                self._update_by_function(walk, update)
            else:
                self._update_in_server(walk, update)
            walk.finish()
            return walk.checkpoint.changed

    @staticmethod
    def _update_in_server(walk: Walk, update: Any) -> None:
        for which in iter(walk.next, []):
            try:
                walk.write(functools.partial(in_server, update, walk, which))
            except PyMongoError as error:
                if not walk.in_smaller_pieces(error):
                    raise explained(walk, which, update, error) from error

    @staticmethod
    def _update_by_function(walk: Walk, function: Callable[[Any], Any]) -> None:
        going_on = True
        while going_on:
            try:
                going_on = walk.write(functools.partial(by_function, function, walk))
            except (TooMuch, PyMongoError) as error:
                if not walk.in_smaller_pieces(error):
                    raise

    def __call__(
        self,
        collection: Collection[Any],
        filter: Mapping[str, Any] | None = None,
        projection: Any = None,
        size: int = IN_PYTHON,
    ) -> Iterator[Documents]:
        """Lists of the documents that fit the filter, in the order of their ``_id``s.

        What ``documents.write(collection, requests)`` is given is written when the loop goes on.
        """
        arguments.require_id(projection)
        asked = arguments.size(size, IN_PYTHON)
        return self._loop(
            arguments.plain(collection), arguments.filter({} if filter is None else filter), projection, asked
        )

    def _loop(
        self, collection: Collection[Any], filter: Mapping[str, Any], projection: Any, size: int
    ) -> Iterator[Documents]:
        with self._walk(collection, filter, None, size, ROOM_HERE) as walk:
            for ids, found in walk.batches(projection):
                documents = Documents(found, collection.database.client)
                with self._until_the_loop_goes_on(collection, documents):
                    yield documents
                walk.write(functools.partial(documents.carry_out, ids))
            walk.finish()

    @contextlib.contextmanager
    def _walk(
        self, collection: Collection[Any], filter: Mapping[str, Any], update: Any, size: int, room: int
    ) -> Iterator[Walk]:
        """Begin a walk, or go on with it, and say how far it was when it ends before its end."""
        name = collection.name
        client = collection.database.client
        if self._walking:
            raise BatchFailed(f"A walk through {name} cannot begin inside of the one through {self._walking}.")
        if self._trail.client is not None and self._trail.client is not client:
            raise BatchFailed(f"{name} belongs to another client than db, with which the batches are noted.")
        about, bytes_each = arguments.measured(collection)
        self._walking = name
        try:
            with client.start_session() as session:
                checkpoint = self._begin(collection, filter, update, about, session)
                in_transactions = has_transactions(client)
                replica_set = ReplicaSet(client.get_database("admin")) if in_transactions else None
                pace = Pace(size, bytes_each, room)
                walk = Walk(collection, filter, checkpoint, pace, session, replica_set, in_transactions, self._watch)
                self._last = walk
                yield walk
        finally:
            self._walking = None
            self._line.clear()

    def _begin(
        self, collection: Collection[Any], filter: Mapping[str, Any], update: Any, about: int, session: ClientSession
    ) -> Checkpoint:
        which = collection.full_name, arguments.described(filter, "filter")
        self._begun[which] += 1
        identity = Identity(*which, self._begun[which])
        what = arguments.described(update, "update")
        total = functools.partial(counted, collection, filter, about)
        return self._trail.begin(identity, what, total, session, self._line.say)

    @contextlib.contextmanager
    def _until_the_loop_goes_on(self, collection: Collection[Any], documents: Documents) -> Iterator[None]:
        """A ``break`` leaves what the body has asked to write; nobody is told before the migration ends."""
        try:
            yield
        except GeneratorExit:
            if documents.writes:
                self._unwritten.append(collection.name)
            raise

    # Around up() and down()

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises ``BatchFailed`` if something that the migration has asked for was not done."""
        if error:
            return self._tell_how_far_it_is()
        if self._unwritten:
            raise BatchFailed(
                f"The loop over {self._unwritten[0]} was left in the middle of a batch, and what the batch was to write"
                " is not written: let the loop go on, with continue instead of break."
            )
        for checkpoint in self._trail.left():
            self._line.say(
                f"{checkpoint.migration}: an earlier version of the file has gone through"
                f" {checkpoint.progress.documents} with another filter, and left it at that"
            )

    def _tell_how_far_it_is(self) -> None:
        if self._last and not self._last.checkpoint.finished:
            progress = self._last.checkpoint.progress
            half = "" if self._last.in_transactions else ", and perhaps a part of the next batch"
            self._line.say(
                f"{progress.migration}: {progress.documents} are done{half}; the next run goes on from there"
            )


def counted(collection: Collection[Any], filter: Mapping[str, Any], about: int) -> int | None:
    """About how many of ``about`` documents fit, if that can be known quickly."""
    if not filter:
        return about
    try:
        return collection.count_documents(filter, maxTimeMS=COUNTING)
    except ExecutionTimeout:
        return _reckoned(collection, filter, about)
    except OperationFailure:  # a filter for looking and not for counting ($where, $near)
        return None


def _reckoned(collection: Collection[Any], filter: Mapping[str, Any], about: int) -> int | None:
    fitting: list[dict[str, Any]] = [{"$sample": {"size": LOOKED_AT}}, {"$match": filter}, {"$count": "n"}]
    try:
        found = next(iter(collection.aggregate(fitting, maxTimeMS=LOOKING)), None)
    except OperationFailure:
        return None
    return round(about * found["n"] / LOOKED_AT) if found else None
