"""A restore: what it replaces, whether it is complete, and the history that comes with it."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, Callable, Mapping, Sequence

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from ..errors import DumpFailed, ServerFailed, no_server_answers
from ..mongo.concerns import with_majority
from ..mongo.failures import explains_server_errors
from ..terminal.texts import escape, summary

if TYPE_CHECKING:
    from pymongo.database import Database

    from ..store import History, Names
    from .dump import Dump, DumpedCollection

STORED_FUNCTIONS = "system.js"
"""The collection that mongorestore fills without dropping it first."""

BYPASS_ACTIONS = {"bypassDocumentValidation", "anyAction"}
"""With one of these a user may insert what a validator would refuse."""


class Restore:
    """Replaces the contents of ``db`` with a dump.

    The lock and the log stay, because they are about this database. The history always comes from the dump, even if it
    has none there. It is replaced last; until then the database counts as half restored.
    """

    def __init__(
        self, dump: Dump, db: Database[dict[str, Any]], history: History, names: Names, *, address: str
    ) -> None:
        self.address = address
        self._dump = dump
        self._db = with_majority(db)
        self._history = history
        self._names = names
        self._expected_counts = {part.name: sum(1 for _ in part.documents()) for part in dump.collections}

    @property
    def not_for_mongorestore(self) -> list[str]:
        return [self._names.migrations, self._names.log, self._names.lock]

    @explains_server_errors
    def warnings(self) -> list[str]:
        """What a person should know before the collections are replaced."""
        ours = [self._names.migrations, *self._names.others]
        known = {*(part.name for part in self._dump.collections), *ours}
        names = self._db.list_collection_names()
        stay = sorted(name for name in names if name not in known and not name.startswith("system."))
        return [f"These collections are not in the dump and stay unchanged: {', '.join(stay)}."] if stay else []

    @explains_server_errors
    def require_rights(self) -> None:
        """Raises ``DumpFailed`` when the user may not bypass validators and the dump needs that."""
        # mongorestore would find out only when it has restored some collections.
        if not self._dump.needs_bypass:
            return
        user = self._db.command("connectionStatus", showPrivileges=True)["authInfo"]
        actions = {action for privilege in user["authenticatedUserPrivileges"] for action in privilege["actions"]}
        if user["authenticatedUsers"] and not actions & BYPASS_ACTIONS:
            raise DumpFailed(
                "The dump has a collection with a validator, which older documents may not pass, or with encrypted"
                " fields, and the user may not bypass that: grant the action bypassDocumentValidation (the roles"
                " dbAdmin and restore have it). Nothing was restored."
            )

    def run(self, mongorestore: Callable[[], None], confirm: Callable[[], None]) -> None:
        """Restore, and log how it ended. Raises ``DumpFailed`` if something in the dump was not restored.

        ``mongorestore`` runs the tool. ``confirm`` raises ``LockLost`` when the lock may be lost.
        """
        self._history.begin_restore(str(self._dump.root))
        try:
            self._clear()
            mongorestore()
            self._compare()
            confirm()  # another run may have written to the database
        except BaseException as error:
            if not no_server_answers(error):
                with contextlib.suppress(ServerFailed):  # the log has an event for the beginning and none for the end
                    self._history.log("restore failed", None, dump=str(self._dump.root), error=summary(error))
            raise
        self._history.end_restore(str(self._dump.root), self._registrations(), self._logged_until())

    @explains_server_errors
    def _clear(self) -> None:
        """Delete what mongorestore would not replace, and note what it has to replace."""
        listed = list(self._db.list_collections())
        self._before = _uuids(listed)
        for view in listed:
            if view["type"] == "view" and self._dump.collection(view["name"]):
                self._db.drop_collection(view["name"])  # it has no UUID by which to see that it was replaced
        # These are worth nothing without their history. The dump may have its own.
        for name in (self._names.batches, self._names.kept, self._names.rejected):
            self._db.drop_collection(name)
        if self._dump.collection(STORED_FUNCTIONS):
            self._db[STORED_FUNCTIONS].delete_many({})

    @explains_server_errors
    def _compare(self) -> None:
        listed = list(self._db.list_collections())
        names, now = [each["name"] for each in listed], _uuids(listed)
        differences = []
        for part in self._dump.collections:
            if part.name in self.not_for_mongorestore:
                continue
            name = escape(part.name)
            if part.name not in names:
                differences.append(f"{name} is missing")
            elif part.name != STORED_FUNCTIONS and (part.stored_in, now.get(part.stored_in)) in self._before.items():
                differences.append(f"{name} was passed over and is as it was before")
            elif part.file and not self._is_complete(part):
                found = self._db[part.stored_in].count_documents({})
                differences.append(f"{name} has {found} documents instead of {self._expected_counts[part.name]}")
        if differences:
            raise DumpFailed(f"mongorestore did not restore everything in the dump: {'; '.join(differences)}.")

    def _is_complete(self, part: DumpedCollection) -> bool:
        # Some documents may have expired since the dump.
        found, expected = self._db[part.stored_in].count_documents({}), self._expected_counts[part.name]
        return found == expected or (part.expires and found < expected)

    def _registrations(self) -> list[RawBSONDocument]:
        part = self._dump.collection(self._names.migrations)
        return [RawBSONDocument(document) for document in part.documents()] if part else []

    def _logged_until(self) -> datetime | None:
        """The time of the last event in the log of the dump. The restore has undone all later ones."""
        part = self._dump.collection(self._names.log)
        if part is None or self._dump.database != self._db.name:
            return None
        with_zone: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
        events = [bson.decode(document, with_zone) for document in part.documents()]
        return max((event["at"] for event in events if "at" in event), default=None)


def _uuids(listed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The UUID of each collection, which another one of its name does not have. Views have none."""
    return {each["name"]: each["info"]["uuid"] for each in listed if "uuid" in each["info"]}
