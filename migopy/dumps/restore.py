"""A restore: what it replaces, whether all of it is there afterwards, and the history that goes with it."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from ..errors import DumpFailed, ServerFailed, no_server_answers
from ..mongo.concerns import with_majority
from ..mongo.failures import explains_server_errors
from ..terminal.texts import summary

if TYPE_CHECKING:
    from pymongo.database import Database

    from ..store import History, Names
    from .dump import Dump, DumpedCollection

STORED_FUNCTIONS = "system.js"
"""A collection that mongorestore fills and does not drop."""

PAST_VALIDATORS = {"bypassDocumentValidation", "anyAction"}
"""The actions of which a user needs one to insert what a validator would refuse."""


class Restore:
    """Puts a dump in place of what is in ``db``.

    The lock and the log stay: they tell of this database. The history is always that of the dump, none if it has none.
    It comes last, when the data that it tells of are there; until then the database counts as half restored.
    """

    def __init__(
        self, dump: Dump, db: Database[dict[str, Any]], history: History, names: Names, *, address: str
    ) -> None:
        self.address = address
        self._dump = dump
        self._db = with_majority(db)
        self._history = history
        self._names = names
        self._expected = {part.name: sum(1 for _ in part.documents()) for part in dump.collections}

    @property
    def not_for_mongorestore(self) -> list[str]:
        return [self._names.migrations, self._names.log, self._names.lock]

    @explains_server_errors
    def newer(self) -> list[str]:
        """The collections that the dump does not have: they stay as they are."""
        known = {*(part.name for part in self._dump.collections), *self.not_for_mongorestore, self._names.batches}
        names = self._db.list_collection_names()
        return sorted(name for name in names if name not in known and not name.startswith("system."))

    @explains_server_errors
    def require_rights(self) -> None:
        """Raises ``DumpFailed`` when the user may not go past validators: mongorestore would notice it half way."""
        if not self._dump.has_validators:
            return
        user = self._db.command("connectionStatus", showPrivileges=True)["authInfo"]
        actions = {action for privilege in user["authenticatedUserPrivileges"] for action in privilege["actions"]}
        if user["authenticatedUsers"] and not actions & PAST_VALIDATORS:
            raise DumpFailed(
                "The dump has a collection with a validator, which its older documents may not pass, and this user may"
                " not go past it: give him the action bypassDocumentValidation, which the roles dbAdmin and restore"
                " have. Nothing was restored."
            )

    def run(self, mongorestore: Callable[[], None], confirm: Callable[[], None]) -> None:
        """Restore, and write down how it went. Raises ``DumpFailed`` unless all that is in the dump is there then.

        ``confirm`` raises what tells that another run may have the lock: what is there is then not our restore alone.
        """
        self._history.begin_restore(str(self._dump.root))
        try:
            self._make_room()
            mongorestore()
            self._compare()
            confirm()
        except BaseException as error:
            if not no_server_answers(error):
                with contextlib.suppress(ServerFailed):  # that it has begun and not ended stands there all the same
                    self._history.log("restore failed", None, dump=str(self._dump.root), error=summary(error))
            raise
        self._history.end_restore(str(self._dump.root), self._registrations(), self._logged_until())

    @explains_server_errors
    def _make_room(self) -> None:
        """Take away what mongorestore would leave: how far migrations were goes with the history."""
        self._db.drop_collection(self._names.batches)
        if self._dump.named(STORED_FUNCTIONS):
            self._db[STORED_FUNCTIONS].delete_many({})

    @explains_server_errors
    def _compare(self) -> None:
        names = self._db.list_collection_names()
        differences = []
        for part in self._dump.collections:
            if part.name in self.not_for_mongorestore:
                continue
            if part.name not in names:
                differences.append(f"{part.name} is not there")
            elif part.file and not self._is_complete(part):
                found = self._db[part.data].count_documents({})
                differences.append(f"{part.name} has {found} documents, and {self._expected[part.name]} in the dump")
        if differences:
            raise DumpFailed(f"mongorestore has not restored what is in the dump: {'; '.join(differences)}.")

    def _is_complete(self, part: DumpedCollection) -> bool:
        """Whether the documents are there, but for those whose time has come since."""
        found, expected = self._db[part.data].count_documents({}), self._expected[part.name]
        return found == expected or (part.expires and found < expected)

    def _registrations(self) -> list[RawBSONDocument]:
        part = self._dump.named(self._names.migrations)
        return [RawBSONDocument(document) for document in part.documents()] if part else []

    def _logged_until(self) -> datetime | None:
        """When the last event happened that the dump knows of; what came after it, the restore has undone."""
        part = self._dump.named(self._names.log)
        if part is None or self._dump.database != self._db.name:
            return None
        as_read: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
        events = [bson.decode(document, as_read) for document in part.documents()]
        return max((event["at"] for event in events if "at" in event), default=None)
