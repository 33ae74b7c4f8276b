"""What the server is doing for the commands of a client, in words."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from ..terminal.wording import duration
from . import internals
from .concerns import EXACTLY

ASK_MILLISECONDS = 2_000
"""How long the server may take to list its operations."""

MANY_CONFLICTS = 10
"""Write conflicts of one command. So many mean that another transaction keeps its documents."""

UNAUTHORIZED = 13  # src/mongo/base/error_codes.yml

COLLECTION_OPERATIONS = ("insert", "update", "remove", "getmore")
"""Operations that name the collection in ``ns``, and whose ``command`` is only a part of the command."""


class Doing(NamedTuple):
    """What the server is doing for one command: ``what`` it is, its ``state``, and how far it is, if that is known."""

    what: str
    seconds: float
    state: str = ""
    done: int = 0
    total: int | None = None

    def __str__(self) -> str:
        """``createIndexes of users, for 42 s: 43 % (172,000 of 400,000, scanning collection)``"""
        text = f"{self.what}, for {duration(self.seconds)}"
        details = [f"{self.done:,} of {self.total:,}" if self.total else "", self.state]
        if self.total:
            return f"{text}: {100 * self.done // self.total} % ({', '.join(filter(None, details))})"
        return f"{text}: {self.state}" if self.state else text


class Operations:
    """The operations of a client on its server. No right is needed to see one's own."""

    def __init__(self, client: MongoClient[Any]) -> None:
        self._client = client
        self._admin = client.get_database("admin", codec_options=EXACTLY)
        self._sessions: dict[bytes, Any] = {}
        self._sees_all = True

    def look_for_sessions(self, *more: Any) -> None:
        """Remember the client's sessions that are idle now, and these ids of others. No round trip."""
        # A command that is running has taken its session out of those that PyMongo keeps.
        for session in (*internals.idle_sessions(self._client), *more):
            self._sessions.setdefault(bytes(session["id"]), session["id"])

    def longest(self, seconds: float) -> Doing | None:
        """What the server is doing for the command that has run longest; None if none has run for so many seconds."""
        running = self._running()
        commands = [each for each in running if "lsid" in each and _seconds(each) >= seconds]
        if not commands:
            return None
        command = max(commands, key=_seconds)
        # The server builds an index in a thread of its own, with a copy of the command.
        builds = [each for each in running if "lsid" not in each and each.get("ns") == command.get("ns")]
        what = " of ".join(filter(None, _name_and_collection(command)))
        for each in (*builds, command):
            progress = each.get("progress")
            if progress and progress.get("total"):
                return Doing(what, _seconds(command), _phase(each), int(progress["done"]), int(progress["total"]))
        return Doing(what, _seconds(command), self._state(command, bool(builds)))

    def _running(self) -> Sequence[Mapping[str, Any]]:
        ours = {"$in": list(self._sessions.values())}
        match = {"active": True, "$or": [{"lsid.id": ours}, {"command.lsid.id": ours}]}
        pipeline: list[dict[str, Any]] = [{"$currentOp": {"allUsers": self._sees_all}}, {"$match": match}]
        try:
            return list(self._admin.aggregate(pipeline, maxTimeMS=ASK_MILLISECONDS))
        except OperationFailure as error:
            if error.code != UNAUTHORIZED or not self._sees_all:
                raise
            self._sees_all = False  # the threads that build an index are no user's
            return self._running()

    def _state(self, command: Mapping[str, Any], has_build: bool) -> str:
        is_in_set = bool(self._client.topology_description.replica_set_name)
        return _waits_on_server(command) or (self._wait_for_members(command, has_build) if is_in_set else "")

    def _wait_for_members(self, command: Mapping[str, Any], has_build: bool) -> str:
        """What the command waits for in a replica set; empty if that is not known."""
        name, _ = _name_and_collection(command)
        members = f"{' and '.join(self._silent_members()) or 'other members'} of the replica set"
        if name == "createIndexes" and not has_build:
            return f"waiting for {members}" if self._sees_all else f"building it, or waiting for {members}"
        # Its own part is done when the operation is no longer an update, an insert or a remove.
        is_written = name in ("update", "insert", "delete", "findAndModify") and command.get("op") == "command"
        return f"waiting until {members} have it" if is_written and "waitingForLatch" in command else ""

    def _silent_members(self) -> Iterator[str]:
        """The members that do not answer PyMongo's monitor."""
        for (host, port), server in self._client.topology_description.server_descriptions().items():
            if not server.is_server_type_known:
                yield f"{host}:{port}"


def _waits_on_server(command: Mapping[str, Any]) -> str:
    if command.get("waitingForLock"):
        return "waiting for a lock that another command holds"
    if command.get("waitingForFlowControl"):
        return "MongoDB slows it down, because members of the replica set are behind"
    if command.get("writeConflicts", 0) >= MANY_CONFLICTS:
        return f"waiting for another transaction ({command['writeConflicts']:,} conflicts)"
    return ""


def _seconds(operation: Mapping[str, Any]) -> float:
    return float(operation.get("microsecs_running", 0)) / 1_000_000


def _name_and_collection(operation: Mapping[str, Any]) -> tuple[str, str]:
    """``update`` and ``users``; the collection is empty for a command that is about none."""
    command = operation.get("command") or {}
    collection = str(operation.get("ns", "")).partition(".")[2]
    if operation.get("op") in COLLECTION_OPERATIONS and "aggregate" not in command:
        return str(operation["op"]), collection
    name = next(iter(command), str(operation.get("op", "a command")))
    value = command.get(name)
    if not isinstance(value, str):
        return str(name), ""
    # It is sent to the database admin, so the name of the collection has its database in front.
    return str(name), value.partition(".")[2] if name == "renameCollection" else value


def _phase(operation: Mapping[str, Any]) -> str:
    """``scanning collection``, out of ``Index Build: scanning collection: 26268/400000 6%``."""
    found = re.match(r"Index Build(?: \(background\))?: ([a-z ]+)", str(operation.get("msg", "")))
    return found[1].strip() if found else ""
