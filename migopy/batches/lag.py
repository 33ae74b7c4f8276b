"""How far the slowest member of a replica set is behind."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple

from pymongo.errors import OperationFailure

from ..mongo.kind import hello

if TYPE_CHECKING:
    from pymongo.database import Database

SECONDARY = 2  # a state of replSetGetStatus; one that is down, or makes its first copy, is not waited for


class Behind(NamedTuple):
    host: str
    seconds: float


class ReplicaSet:
    """Its members as the server sees them, and where the right to ask for that is missing as PyMongo's monitor does.

    ``admin`` is the database of that name. Of a member that is delayed on purpose the delay does not count.
    """

    def __init__(self, admin: Database[dict[str, Any]]) -> None:
        self._admin = admin
        self._delays: dict[str, float] | None = None
        with contextlib.suppress(OperationFailure):
            members = admin.command("replSetGetConfig")["config"]["members"]
            self._delays = {member["host"]: _delay(member) for member in members}

    def slowest(self) -> Behind | None:
        """The one that is the furthest behind the primary; None without secondaries."""
        if self._delays is not None:
            with contextlib.suppress(OperationFailure):
                return _slowest(self._in_status(self._delays))
        return _slowest(self._by_heartbeats())

    def _in_status(self, delays: Mapping[str, float]) -> dict[str, float]:
        members = self._admin.command("replSetGetStatus")["members"]
        newest = max(member["optimeDate"] for member in members if "optimeDate" in member)
        return {
            member["name"]: (newest - member["optimeDate"]).total_seconds() - delays.get(member["name"], 0)
            for member in members
            if member["state"] == SECONDARY
        }

    def _by_heartbeats(self) -> dict[str, float]:
        """What each member last said of its last write (``hello.lastWrite``), as far as it can become primary.

        The difference is that of the specification of maxStalenessSeconds, which knows that they were not asked at the
        same moment.
        """
        candidates = hello(self._admin.client).get("hosts", ())
        members = self._admin.client.topology_description.server_descriptions().values()
        late = {
            f"{member.address[0]}:{member.address[1]}": member.last_update_time - member.last_write_date
            for member in members
            if member.last_write_date and member.last_update_time
        }
        ahead = min(late.values(), default=0)
        return {host: seconds - ahead for host, seconds in late.items() if host in candidates and seconds > ahead}


def _delay(member: Mapping[str, Any]) -> float:
    return float(member.get("secondaryDelaySecs", member.get("slaveDelay", 0)))


def _slowest(behind: Mapping[str, float]) -> Behind | None:
    host = max(behind, key=lambda host: behind[host], default=None)
    return None if host is None else Behind(host, behind[host])
