"""What a server is: standalone, replica set or sharded cluster, and how old."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from .failures import COMMAND_NOT_FOUND

WIRE_VERSION_OF_4_4 = 9
"""The version of the wire protocol that MongoDB 4.4 speaks."""


class ServerKind(NamedTuple):
    """The name of its replica set, if it is in one; whether it is a sharded cluster; how old it is."""

    replica_set: str | None
    is_sharded: bool
    wire_version: int

    @property
    def has_transactions(self) -> bool:
        return bool(self.replica_set or self.is_sharded)

    @property
    def creates_in_transactions(self) -> bool:
        """Whether a transaction may write to a collection that does not exist yet."""
        return self.wire_version >= WIRE_VERSION_OF_4_4

    @property
    def takes_hints_for_deletes(self) -> bool:
        return self.wire_version >= WIRE_VERSION_OF_4_4

    @property
    def has_commit_quorum(self) -> bool:
        """Whether building an index waits for other members, unless it is told not to."""
        return self.has_transactions and self.wire_version >= WIRE_VERSION_OF_4_4


def hello(client: MongoClient[Any]) -> Mapping[str, Any]:
    """The server's answer to ``hello``, or to ``isMaster`` where it does not know that yet."""
    try:
        return client.admin.command("hello")
    except OperationFailure as error:
        # MongoDB knows hello since 4.4.2. Asked first, because the Stable API allows nothing else.
        if error.code != COMMAND_NOT_FOUND:
            raise
        return client.admin.command("isMaster")


def server_kind(client: MongoClient[dict[str, Any]]) -> ServerKind:
    answer = hello(client)
    return ServerKind(answer.get("setName"), answer.get("msg") == "isdbgrid", answer["maxWireVersion"])


def has_transactions(client: MongoClient[dict[str, Any]]) -> bool:
    return server_kind(client).has_transactions


def followed_replica_set(client: MongoClient[dict[str, Any]]) -> str | None:
    """The name of the replica set whose primary the client looks for; None if it stays at one server."""
    name = server_kind(client).replica_set
    return name if client.primary else None
