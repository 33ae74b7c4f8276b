"""Setting documents aside that cannot be changed: ``batches.update(..., errors=N)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Iterable, List, NamedTuple, Sequence

import bson
from bson import ObjectId
from bson.errors import BSONError
from pymongo.errors import BulkWriteError

from ..errors import BatchFailed, DocumentsRejected
from ..mongo.concerns import EXACTLY
from ..store.names import store_beside
from ..store.rejected import RejectedStore
from ..terminal.texts import write_refusal
from ..terminal.wording import byte_size, plural
from .commands import Refused, by_id, update_each
from .walk import TOO_MUCH_AT_ONCE, Batch, BatchInTheWay, BatchResult, DocumentRefused, UnreadableDocument
from .writes import MAX_DOCUMENT_BYTES, FunctionUpdate, document_failed, refused_as_such

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from .commands import Updates
    from .keeping import Keeper
    from .trail import NoTrail, Trail
    from .walk import Walk


class Refusal(NamedTuple):
    """A document that cannot be changed, and the error that says so."""

    id: Any
    error: BatchFailed


Refusals = List[Refusal]


def _key(id: Any) -> bytes:
    """Not all ``_id``s can be hashed."""
    return bson.encode({"": id}, codec_options=EXACTLY)


class Rejecting:
    """What one execution of a migration sets aside.

    ``store`` is None outside of a run: then it is the collection beside the first that something is set aside of.
    """

    def __init__(self, trail: Trail | NoTrail, store: RejectedStore | None) -> None:
        self._trail = trail
        self._store = store
        self._is_prepared = False

    def begin(self, walk: Walk, errors: int) -> Rejecter | None:
        """Begin or resume a walk that may set so many documents aside; None if it may not and has not.

        Raises ``NotAllowed`` if the user may not write to the collection.
        """
        if not errors and walk.checkpoint.rejected is None:
            return None
        return Rejecter(self._open(walk.collection), walk, errors)

    def _open(self, collection: Collection[Any]) -> RejectedStore:
        if self._store is None:
            self._store = store_beside(collection, RejectedStore)
        if not self._is_prepared:
            self._store.prepare()
            if not self._trail.resumes:
                self._store.forget(self._trail.migration, self._trail.direction)
            self._is_prepared = True
        return self._store


class Rejecter:
    """Sets documents of one walk aside, or of one part of the ``whole`` walk. More than ``limit`` end the whole."""

    def __init__(self, store: RejectedStore, walk: Walk, limit: int, whole: Rejecter | None = None) -> None:
        self._store = store
        self._walk = walk
        self._limit = limit
        self._whole = whole or self
        checkpoint = walk.checkpoint
        self._key = checkpoint.id or ObjectId()
        self._facts = {
            "migration": checkpoint.migration,
            "direction": checkpoint.direction,
            "collection": checkpoint.identity.collection,
        }
        self._first: BatchFailed | None = None
        """Why this run has set its first document aside."""

    def of(self, part: Walk) -> Rejecter:
        """The rejecter of a part of the walk, or of the walk itself."""
        return Rejecter(self._store, part, self._limit, self)

    @property
    def count(self) -> int:
        return self._walk.checkpoint.rejected or 0

    def is_enough(self, more: int) -> bool:
        """Whether the walk will end after a batch that sets so many aside."""
        return self._whole.count + more > self._limit

    def resume(self) -> list[Any]:
        """The ``_id``s that earlier attempts have set aside. Raises ``BatchFailed`` if some are lost."""
        ids = self._store.resume(self._key, self._walk.checkpoint.done)
        if len(ids) < self.count:
            raise BatchFailed(
                f"{self._sentence}, and only {len(ids):,} of them are in {self._store.collection.name}: somebody has"
                " deleted the others, so it is not known which they are. The subtask forget starts over, and changes"
                " again what is changed."
            )
        return ids

    def put(self, refusals: Refusals, session: ClientSession | None, **facts: Any) -> None:
        self._whole._first = self._whole._first or next((refusal.error for refusal in refusals), None)
        reasons = [(refusal.id, refusal.error.reason) for refusal in refusals]
        self._store.put(self._key, reasons, {**self._facts, **facts}, session)

    def remove(self, ids: Iterable[Any], session: ClientSession | None) -> None:
        self._store.remove(self._key, ids, session)

    def require_few(self) -> None:
        """Raises ``DocumentsRejected`` if more are set aside than may be."""
        if self._whole.count > self._limit:
            self._whole._refuse(f", more than errors={self._limit} allows")

    def require_none(self) -> None:
        """Raises ``DocumentsRejected`` if any are set aside."""
        if self.count:
            self._refuse()

    def _refuse(self, why: str = "") -> None:
        raise DocumentsRejected(f"{self._sentence}{why}") from self._first

    @property
    def _sentence(self) -> str:
        were = "was" if self.count == 1 else "were"
        return f"{plural(self.count, 'document')} of {self._walk.collection.name} {were} set aside"


class RejectingUpdate(FunctionUpdate):
    """Updates documents by a statement for each, and sets those aside that cannot be changed.

    ``update`` is as for ``batches.update``.
    """

    def __init__(self, update: Any, array_filters: Any, walk: Walk, keeper: Keeper | None, rejecter: Rejecter) -> None:
        super().__init__(update if callable(update) else lambda document: update, walk, keeper)
        self._fixed_update = None if callable(update) else update
        self._array_filters = array_filters
        self._projection = None if callable(update) else {"_id": 1}
        self._rejecter = rejecter
        self._refusals: Refusals = []
        """Of the batch that is tried now."""
        self._refused: dict[bytes, BatchFailed] = {}
        """What the server has refused in a transaction, which is then tried again without it."""

    def write_next(self) -> bool:
        """As in ``FunctionUpdate``. Raises ``DocumentsRejected`` when more are set aside than may be."""
        has_more = super().write_next()
        self._rejecter.require_few()
        return has_more

    def _read(self, session: ClientSession | None, *, keeps_raw: bool) -> Batch:
        return self._walk.documents(self._projection, session, keeps_raw=keeps_raw, takes_unreadable=True)

    def _ask(self, batch: Batch) -> tuple[Batch, Updates]:
        self._refusals = []
        return super()._ask(batch)

    def _update_for(self, id: Any, document: Any) -> Any:
        if self._refused and _key(id) in self._refused:
            raise self._refused[_key(id)]
        if isinstance(document, UnreadableDocument):
            reason = f"it cannot be read: {document.error}"
            raise document_failed(self._walk.collection, id, reason) from document.error
        update = super()._update_for(id, document)
        if update is not None and self._fixed_update is None:
            self._require_sendable(id, update)
        return update

    def _require_sendable(self, id: Any, update: Any) -> None:
        """Raises ``BatchFailed`` for an update that PyMongo cannot send: it would not send the others either."""
        collection = self._walk.collection
        try:
            size = len(bson.encode({"": update}, codec_options=collection.codec_options))
        except (BSONError, OverflowError) as error:
            raise document_failed(collection, id, str(error)) from error
        if size > MAX_DOCUMENT_BYTES:
            raise document_failed(collection, id, f"the update has {byte_size(size)}, and MongoDB takes 16 MB")

    def _refuse(self, id: Any, error: BatchFailed) -> None:
        if not error.reason:  # not about the document
            raise error
        self._refusals.append(Refusal(id, error))

    def _is_enough(self) -> bool:
        return self._rejecter.is_enough(len(self._refusals))

    def _write(self, asked: Batch, updates: Updates, session: ClientSession | None) -> BatchResult:
        return self._set_aside(super()._write(asked, updates, session), session)

    def _set_aside(self, result: BatchResult, session: ClientSession | None) -> BatchResult:
        if not result.documents:
            return result
        self._rejecter.put(self._refusals, session, after=self._walk.checkpoint.done)
        return result._replace(rejected=self._rejecter.count + len(self._refusals))

    def _send(self, updates: Updates, session: ClientSession | None) -> int:
        collection = self._walk.collection
        if session is None:
            refused: Refused = []
            changed = update_each(collection, updates, None, self._statement, refused)
            for id, failure in refused:
                self._require_accepted()
                self._refusals.append(Refusal(id, document_failed(collection, id, write_refusal(failure))))
            return changed
        try:
            return update_each(collection, updates, session, self._statement)
        except BulkWriteError as error:
            failures = (error.details or {}).get("writeErrors")
            if not failures or error.has_error_label("TransientTransactionError"):
                raise
            if failures[0]["code"] in TOO_MUCH_AT_ONCE and self._walk.batch_size > 1:
                raise BatchInTheWay(write_refusal(failures[0])) from error
            self._require_accepted()
            id = failures[0]["id"]
            self._refused[_key(id)] = document_failed(collection, id, write_refusal(failures[0]))
            raise DocumentRefused from error

    def _statement(self, id: Any, update: Any) -> dict[str, Any]:
        if self._fixed_update is None:
            return by_id(id, update)
        # As update_many() would, it changes only what matches the filter at that moment.
        statement = {"q": {"_id": id, "$and": [self._walk.filter]}, "u": update}
        return {**statement, "arrayFilters": self._array_filters} if self._array_filters else statement

    def _require_accepted(self) -> None:
        """Raises ``BatchFailed`` if the server refuses the update whatever the document."""
        if self._fixed_update is not None:
            refused = refused_as_such(self._walk, self._fixed_update, self._array_filters)
            if refused:
                raise refused


class RetryingUpdate(RejectingUpdate):
    """Tries the documents again that earlier attempts have set aside."""

    _count = 0
    """How many documents are set aside. It may be more than the checkpoint counts, after a kill on a standalone."""
    _remaining: Sequence[Any] = ()
    _piece: Sequence[Any] = ()
    """The ``_id``s of the documents that are tried now."""
    _found: Sequence[Any] = ()
    """Those of them that are still there, and match the filter."""
    _not_tried: Sequence[Any] = ()
    _done: Sequence[Any] = ()
    """Those of them that are set aside no longer."""

    def run(self) -> None:
        self._remaining = self._rejecter.resume()
        self._count = len(self._remaining)
        while self._remaining:
            FunctionUpdate.write_next(self)
            self._count -= len(self._done)
            if not self._walk.in_transactions:
                # After the checkpoint: what is set aside and not counted is tried again, the opposite would be lost.
                self._rejecter.remove(self._done, None)
            self._remaining = [*self._not_tried, *self._remaining[len(self._piece) :]]

    def _read(self, session: ClientSession | None, *, keeps_raw: bool) -> Batch:
        self._piece = self._remaining[: self._walk.next_size]
        options = {"keeps_raw": keeps_raw, "takes_unreadable": True}
        batch = self._walk.documents_of([*self._piece], self._projection, session, **options)
        self._found = batch.ids
        return batch

    def _is_enough(self) -> bool:
        return False

    def _set_aside(self, result: BatchResult, session: ClientSession | None) -> BatchResult:
        self._not_tried = self._found[result.documents :]
        left = {_key(id) for id in (*self._not_tried, *(refusal.id for refusal in self._refusals))}
        self._done = [id for id in self._piece if _key(id) not in left]
        self._rejecter.put(self._refusals, session)
        if session:
            self._rejecter.remove(self._done, session)
        return BatchResult(self._walk.checkpoint.last, 0, result.changed, rejected=self._count - len(self._done))
