"""``Batches``: what a migration goes through a collection with."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping, Sequence

from pymongo.errors import ExecutionTimeout, OperationFailure, PyMongoError, WriteError

from ..errors import BatchFailed, DocumentsRejected
from ..mongo.kind import has_transactions, server_kind
from ..store.checkpoints import Checkpoint, Identity, Walked, encoded
from ..store.kept import KeptStore, KeptWalk
from ..terminal.wording import plural
from . import arguments
from .control import Control, NoControl
from .gate import Gate
from .ids import BY_ID, find_cuts, greatest_id
from .keeping import Keeper, Keeping
from .lag import ReplicaSet
from .pace import IN_PYTHON, IN_SERVER, Limits, Pace
from .parts import WalkInParts
from .progress import Line, NoLine
from .rejecting import Rejecter, Rejecting, RejectingUpdate, RetryingUpdate
from .restoring import Restore, restored_sentences
from .trail import NoTrail, Trail, WalkStart
from .walk import BatchHooks, BatchInTheWay, BatchTooLarge, DocumentsChanged, Walk
from .writes import (
    Documents,
    FunctionUpdate,
    delete_in_server,
    explain_failed_delete,
    explain_failure,
    update_in_server,
)

if TYPE_CHECKING:
    from types import TracebackType

    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from ..store.rejected import RejectedStore

MAX_LAG_SECONDS = 10.0
"""How far a member of the replica set may be behind before a walk waits for it."""

COUNT_MILLISECONDS, SAMPLE_MILLISECONDS = 25, 1_000
"""How long counting may take before a walk, and how long reading a sample where counting takes longer."""

SAMPLE_DOCUMENTS = 1_000
"""Enough random documents to estimate how many match, within a few per cent."""


PARTS = 8
"""Into how many a collection is cut for several workers. The last of them has little to wait for the others."""

MIN_DOCUMENTS_OF_PARTS = 100_000
"""In a smaller collection several workers gain nothing."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Batches:
    """What ``up(db, batches)`` and ``down(db, batches)`` get.

    A batch and its checkpoint are written in one transaction where the server has transactions. Elsewhere the
    checkpoint is written after the batch, so the last batch may be done twice. Made without arguments, as for a test,
    it keeps no checkpoint, needs no lock and shows nothing.
    """

    def __init__(
        self,
        trail: Trail | NoTrail | None = None,
        confirm: Callable[[], None] = lambda: None,
        line: Line | None = None,
        max_lag: float = MAX_LAG_SECONDS,
        tell: Callable[[str], None] = lambda doing: None,
        kept: KeptStore | None = None,
        now: Callable[[], datetime] = _now,
        registered: tuple[str, int | None] | None = None,
        control: Control | None = None,
        workers: int = 1,
        rejected: RejectedStore | None = None,
    ) -> None:
        self._trail = trail or NoTrail()
        self._keeping = Keeping(self._trail, kept, now, registered)
        self._rejecting = Rejecting(self._trail, rejected)
        self._line = line or NoLine()
        self._hooks = BatchHooks(confirm, self._trail.move)
        self._make_gate = functools.partial(Gate, confirm, self._line.follow, tell, max_lag, control or NoControl())
        self._workers = workers
        self._walk_counts: Counter[tuple[str, str]] = Counter()
        self._open_collection: str | None = None
        self._last_walk: Walk | None = None
        self._walked: dict[str, Walked] = {}
        self._unwritten: list[str] = []
        self._unstarted_loops: Counter[str] = Counter()
        self._rejecters: list[Rejecter] = []

    def update(
        self,
        collection: Collection[Any],
        filter: Mapping[str, Any],
        update: Any,
        size: int | None = None,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
        keep: Sequence[str] | bool | None = None,
        workers: int | None = None,
        errors: int | None = None,
    ) -> int:
        """Update all documents that match the filter; returns how many were changed, in earlier runs too.

        ``update`` is what ``update_many`` takes: operators or a pipeline, which the server applies. Or it is a
        function of one document that returns such an update, or None to leave the document as it is; it may be called
        more than once for the same document. ``size`` is the number of documents in a batch, 10,000 or (for a
        function) 1,000 by default, at most: the first batches are smaller. Without transactions the server gets up to
        50,000, as many as take about half a second. ``array_filters`` is what ``update_many`` takes, for operators.
        ``keep`` names the top-level fields whose values are kept for ``restore()``, as they were before, or is True for
        whole documents. ``workers`` is the number of threads for a large collection; a function is called in this one.
        Raises ``BatchFailed`` that names the document on which a batch failed, or in the end ``DocumentsRejected``: up
        to ``errors`` documents are set aside.
        """
        arguments.require_update(update, array_filters)
        kept, most_errors = arguments.valid_keep(keep), arguments.valid_errors(errors)
        threads = arguments.valid_workers(workers, self._workers)
        checked = arguments.pymongo_collection(collection), arguments.valid_filter(filter)
        limits = IN_PYTHON if callable(update) else IN_SERVER
        with self._walk(*checked, update, arguments.valid_size(size), limits, threads) as walk:
            keeper = self._keeping.begin(walk, kept)
            rejecter = self._rejecting.begin(walk, most_errors)
            self._run_update(walk, update, array_filters, keeper, rejecter)
            self._finish(walk)
            return walk.checkpoint.changed

    def _run_update(
        self, walk: Walk, update: Any, array_filters: Any, keeper: Keeper | None, rejecter: Rejecter | None
    ) -> None:
        with walk.inserts.watch(walk.collection) if callable(update) else contextlib.nullcontext():
            if rejecter:
                self._update_and_set_aside(walk, update, array_filters, keeper, rejecter)
            else:
                walk.run(lambda part: self._update(part, update, array_filters, keeper and keeper.of(part)))

    def _update(self, walk: Walk, update: Any, array_filters: Any, keeper: Keeper | None) -> None:
        if callable(update):
            FunctionUpdate(update, walk, keeper).run()
        else:
            self._update_in_server(walk, update, array_filters, keeper)
        walk.finish()

    def _update_and_set_aside(
        self, walk: Walk, update: Any, array_filters: Any, keeper: Keeper | None, rejecter: Rejecter
    ) -> None:
        """Update all documents that can be updated. Raises ``DocumentsRejected`` if some cannot."""
        self._rejecters.append(rejecter)
        if rejecter.count:
            again = plural(rejecter.count, "document")
            self._line.say(f"{walk.checkpoint.migration}: trying {again} again, set aside before")

        def make(way: type[RejectingUpdate], part: Walk) -> RejectingUpdate:
            return way(update, array_filters, part, keeper and keeper.of(part), rejecter.of(part))

        def change(part: Walk) -> None:
            one_by_one = make(RejectingUpdate, part)
            if callable(update) or not walk.in_transactions:
                one_by_one.run()
            else:
                self._update_in_server(part, update, array_filters, keeper and keeper.of(part), one_by_one)
            if not part.checkpoint.rejected:  # otherwise the next run tries these documents again
                part.finish()

        # A run that was killed on a standalone may have set some aside that no checkpoint counts.
        if walk.checkpoint.rejected is not None or not walk.in_transactions:
            walk.run(lambda part: make(RetryingUpdate, part).run())
        try:
            walk.run(change)
        except DocumentsRejected:
            rejecter.require_few()  # other workers may have set more aside since it was raised
            raise
        rejecter.require_none()

    def delete(
        self,
        collection: Collection[Any],
        filter: Mapping[str, Any],
        size: int | None = None,
        keep: bool | None = None,
        errors: object = None,
    ) -> int:
        """Delete all documents that match the filter; returns how many were deleted, in earlier runs too.

        ``size`` is the number of documents in a batch, as for ``update`` with operators. ``keep=True`` keeps the
        documents for ``restore()``. ``errors`` is refused: it is for ``update``.
        """
        arguments.refuse_errors(errors, "MongoDB refuses no delete because of one document")
        kept = arguments.valid_keep(keep, of_delete=True)
        checked = arguments.pymongo_collection(collection), arguments.valid_filter(filter)
        with self._walk(*checked, "delete", arguments.valid_size(size), IN_SERVER) as walk:
            keeper = self._keeping.begin(walk, kept, deletes=True)
            hint = BY_ID if server_kind(walk.collection.database.client).takes_hints_for_deletes else None
            write = functools.partial(delete_in_server, hint, walk)
            for batch in iter(walk.next_batch, []):
                try:
                    walk.write(keeper.around(batch, write) if keeper else functools.partial(write, batch))
                except (BatchTooLarge, BatchInTheWay, PyMongoError) as error:
                    if not walk.shrink_after(error):
                        raise explain_failed_delete(walk, batch, error) from error
            self._finish(walk, deletes=True)
            return walk.checkpoint.changed

    @staticmethod
    def _update_in_server(
        walk: Walk, update: Any, array_filters: Any, keeper: Keeper | None, one_by_one: RejectingUpdate | None = None
    ) -> None:
        write = functools.partial(update_in_server, update, array_filters, walk)
        for batch in iter(walk.next_batch, []):
            try:
                walk.write(keeper.around(batch, write) if keeper else functools.partial(write, batch))
            except (BatchTooLarge, BatchInTheWay, PyMongoError) as error:
                if one_by_one and isinstance(error, WriteError):
                    # The server names the document that it refuses only if each has a statement of its own.
                    one_by_one.write_next()
                elif not walk.shrink_after(error):
                    raise explain_failure(walk, batch, update, array_filters, error) from error

    def kept_facts(self) -> dict[str, int]:
        """What the registration says about what this execution has kept; empty if it has kept nothing."""
        run = self._keeping.run
        return {} if run is None else {"kept_run": run, "kept_documents": self._keeping.count_documents()}

    def restore(self, overwrite: bool = False) -> int:
        """Put back what ``up()`` has kept, the last first; returns how many documents, in earlier runs too.

        A document that somebody has changed since is left as it is, unless ``overwrite`` is True. One that was deleted
        since is left out, and one that ``up()`` has deleted and that is there again is left as it is. Raises
        ``BatchFailed`` if nothing is kept, or for a document that cannot be put back.
        """
        store, walks = self._keeping.walks_to_restore()
        return sum(self._restore(store, walk, overwrite) for walk in walks)

    def _restore(self, store: KeptStore, kept_walk: KeptWalk, overwrite: bool) -> int:
        database, _, name = kept_walk.collection.partition(".")
        collection = store.collection.database.client[database][name]
        parts = store.parts(kept_walk)
        with self._walk(
            arguments.pymongo_collection(collection),
            {"restore": [kept_walk.run, kept_walk.nth]},
            "restore",
            IN_SERVER.documents,
            IN_SERVER,
            total=lambda: sum(part.documents for part in parts),
            end=lambda: [None],
        ) as walk:
            if not walk.checkpoint.finished:
                Restore(store, kept_walk, walk, overwrite=overwrite).run(parts)
                for sentence in restored_sentences(name, walk.checkpoint.changed, walk.checkpoint.left):
                    self._line.say(sentence)
            return walk.checkpoint.changed

    def __call__(
        self,
        collection: Collection[Any],
        filter: Mapping[str, Any] | None = None,
        projection: Any = None,
        size: int = 1_000,
        errors: object = None,
    ) -> Iterator[Documents]:
        """Lists of at most ``size`` documents that match the filter, in the order of their ``_id``s.

        What the loop gives to ``documents.write(collection, requests)`` is written when it asks for the next list.
        Raises ``BatchFailed`` that names the document on which a batch failed. ``errors`` is refused: it is for
        ``update``.
        """
        arguments.refuse_errors(errors, "in a loop, catch what your own code raises for a document")
        checked_projection = arguments.valid_projection(projection)
        checked_size = arguments.valid_size(size)
        pymongo_collection = arguments.pymongo_collection(collection)
        valid_filter = arguments.valid_filter({} if filter is None else filter)
        self._unstarted_loops[pymongo_collection.name] += 1
        return self._loop(pymongo_collection, valid_filter, checked_projection, checked_size)

    def _loop(
        self, collection: Collection[Any], filter: Mapping[str, Any], projection: Any, size: int | None
    ) -> Iterator[Documents]:
        self._unstarted_loops[collection.name] -= 1
        with self._walk(collection, filter, None, size, IN_PYTHON) as walk, walk.inserts.watch(collection):
            self._keeping.begin(walk, None)
            for batch in walk.batches(projection):
                documents = Documents(batch.documents, collection.database.client)
                with self._notice_break(collection, documents):
                    yield documents
                try:
                    walk.write(functools.partial(documents.send, walk, batch, projection))
                except (DocumentsChanged, BatchInTheWay, PyMongoError) as error:
                    # The loop gets them again, as they are now.
                    if not walk.shrink_after(error) and not isinstance(error, DocumentsChanged):
                        raise
            self._finish(walk)

    @contextlib.contextmanager
    def _walk(
        self,
        collection: Collection[Any],
        filter: Mapping[str, Any],
        update: Any,
        size: int | None,
        limits: Limits,
        workers: int | None = None,
        **facts: Callable[[], Any],
    ) -> Iterator[Walk]:
        """Begin or resume a walk; only one is open at a time.

        ``workers`` is None for what several workers cannot do. ``facts`` are those of its ``WalkStart``.
        """
        client = collection.database.client
        self._require_walkable(collection)
        in_transactions = has_transactions(client)
        count, average_bytes = arguments.count_and_size(collection, in_transactions)
        self._open_collection = collection.name
        try:
            with contextlib.ExitStack() as stack:
                sessions = [stack.enter_context(client.start_session()) for _ in range(workers or 1)]
                known = {**_facts(collection, filter, count, len(sessions)), **facts}
                checkpoint = self._begin(collection, filter, update, known, sessions[0])
                most = limits.documents if in_transactions else limits.documents_alone
                make_pace = functools.partial(Pace, size or most, average_bytes, limits.bytes)
                gate = self._make_gate(ReplicaSet(client.get_database("admin")) if in_transactions else None)
                asked = checkpoint.filter(filter)
                whole = (collection, asked, checkpoint, make_pace(), sessions[0], in_transactions, gate, self._hooks)
                self._last_walk = walk = self._make_walk(whole, workers, sessions, make_pace)
                yield walk
        finally:
            self._open_collection = None
            self._line.clear()

    def _make_walk(
        self,
        whole: tuple[Any, ...],
        workers: int | None,
        sessions: Sequence[ClientSession],
        make_pace: Callable[[], Pace],
    ) -> Walk:
        """The walk with these arguments, in parts if its checkpoint has them."""
        walk = Walk(*whole)
        if not walk.checkpoint.cuts or walk.checkpoint.finished:
            return walk
        self._require_workers(walk.checkpoint, workers)
        parts = self._trail.parts(walk.checkpoint, sessions)
        return WalkInParts(*whole, parts=parts, sessions=sessions, make_pace=make_pace)

    @staticmethod
    def _require_workers(checkpoint: Checkpoint, workers: int | None) -> None:
        """Raises ``BatchFailed`` for a changed file that continues a walk in parts in another way."""
        if workers is None:
            name = checkpoint.migration
            raise BatchFailed(
                f"{checkpoint.progress.documents} are done, by an update with several workers, which only an update"
                f" can continue: put it back into {name}. To start over, and change those documents again: forget it"
                " (that deletes the progress only), then execute."
            )

    def _require_walkable(self, collection: Collection[Any]) -> None:
        """Raises ``BatchFailed`` while another walk is open, and for a collection of another client."""
        name = collection.name
        if self._open_collection:
            raise BatchFailed(f"batches is still going through {self._open_collection}: finish that before {name}.")
        if self._trail.client is not None and self._trail.client is not collection.database.client:
            raise BatchFailed(f"{name} belongs to another MongoClient than db: use a collection of db or db.client.")

    def _begin(
        self,
        collection: Collection[Any],
        filter: Mapping[str, Any],
        update: Any,
        facts: Mapping[str, Callable[..., Any]],
        session: ClientSession,
    ) -> Checkpoint:
        which = collection.full_name, arguments.fingerprint(filter, "filter")
        self._walk_counts.update([which, (collection.full_name, "")])
        start = WalkStart(
            Identity(*which, nth=self._walk_counts[which], call=self._walk_counts[collection.full_name, ""]),
            update=arguments.fingerprint(update, "update"),
            asked=encoded(filter),
            uuid=arguments.collection_uuid(collection),
            total=facts["total"],
            end=facts["end"],
            cuts=facts["cuts"],
        )
        return self._trail.begin(start, session, self._line.say)

    @contextlib.contextmanager
    def _notice_break(self, collection: Collection[Any], documents: Documents) -> Iterator[None]:
        try:
            yield
        except GeneratorExit:
            # An error raised here would be lost: __exit__() raises it.
            if documents.writes:
                self._unwritten.append(collection.name)
            raise

    def _finish(self, walk: Walk, *, deletes: bool = False) -> None:
        walk.finish()
        walked = Walked.from_checkpoint(walk.checkpoint, deletes=deletes)
        before = self._walked.get(walked.collection)
        self._walked[walked.collection] = before.plus(walked) if before else walked

    # Around up() and down()

    @property
    def walked(self) -> list[Walked]:
        """What the walks did that reached their end, by collection."""
        return list(self._walked.values())

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raises ``BatchFailed`` if something that the migration asked to write was not written."""
        if error:
            return self._tell_how_far_it_came(error)
        for rejecter in self._rejecters:
            rejecter.require_none()  # the migration may have caught what was raised before
        if self._unwritten:
            raise BatchFailed(
                f"The loop over {self._unwritten[0]} ended early (break or return), so its last batch was not written:"
                " let the loop run to its end, with continue instead of break."
            )
        for name in self._unstarted_loops.elements():
            raise BatchFailed(
                f"batches({name}) alone does nothing: write for documents in batches(db.{name}, ...),"
                " or batches.update(...)."
            )
        for walked in self.walked:
            self._line.say(f"{self._trail.migration}: {walked}")
        for checkpoint in self._trail.unfinished():
            self._line.say(
                f"{checkpoint.migration}: an earlier version of the file did {checkpoint.progress.documents} with"
                " another filter and did not finish; this version has not resumed that"
            )

    def _tell_how_far_it_came(self, error: BaseException) -> None:
        if self._last_walk and not self._last_walk.checkpoint.finished:
            progress = self._last_walk.checkpoint.progress
            is_between_batches = self._last_walk.in_transactions or isinstance(error, DocumentsRejected)
            next_batch = "" if is_between_batches else ", and perhaps part of the next batch"
            self._line.say(f"{progress.migration}: {progress.documents} are done{next_batch}")


def _facts(
    collection: Collection[Any], filter: Mapping[str, Any], count: int, workers: int
) -> dict[str, Callable[..., Any]]:
    """What a walk through ``count`` documents asks for when it begins."""
    return {
        "total": functools.partial(estimate_matches, collection, filter, count),
        "end": functools.partial(greatest_id, collection, filter),
        "cuts": functools.partial(_cuts, collection, filter, count, workers),
    }


def _cuts(
    collection: Collection[Any], filter: Mapping[str, Any], count: int, workers: int, end: Sequence[Any]
) -> Sequence[Any]:
    """Where to cut a collection of ``count`` documents into parts; empty for a walk of one part."""
    if workers == 1 or count < MIN_DOCUMENTS_OF_PARTS:
        return ()
    return find_cuts(collection, filter, end, max(PARTS, workers))


def estimate_matches(collection: Collection[Any], filter: Mapping[str, Any], count: int) -> int | None:
    """About how many of ``count`` documents match the filter; None if that cannot be known quickly."""
    if not filter:
        return count
    try:
        return collection.count_documents(filter, maxTimeMS=COUNT_MILLISECONDS)
    except ExecutionTimeout:
        return _estimate_from_sample(collection, filter, count)
    except OperationFailure:  # a filter that find() takes and count_documents() does not ($where, $near)
        return None


def _estimate_from_sample(collection: Collection[Any], filter: Mapping[str, Any], count: int) -> int | None:
    pipeline: list[dict[str, Any]] = [{"$sample": {"size": SAMPLE_DOCUMENTS}}, {"$match": filter}, {"$count": "n"}]
    try:
        found = next(iter(collection.aggregate(pipeline, maxTimeMS=SAMPLE_MILLISECONDS)), None)
    except OperationFailure:
        return None
    return round(count * found["n"] / SAMPLE_DOCUMENTS) if found else None
