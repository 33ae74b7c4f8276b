"""How far the slowest member of a replica set is behind its primary."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Mapping, NamedTuple

from pymongo.errors import OperationFailure

from ..mongo.kind import hello

if TYPE_CHECKING:
    from pymongo.database import Database

# A member that is down, or that makes its first copy of the data, has another state and is not waited for.
SECONDARY = 2  # a state in replSetGetStatus


class Lag(NamedTuple):
    """How far one member is behind."""

    host: str
    seconds: float


class ReplicaSet:
    """The members of a replica set, as the server sees them.

    ``admin`` is the database admin. Where the user may not ask it, PyMongo's heartbeats tell. The delay of a member
    that is delayed on purpose does not count.
    """

    def __init__(self, admin: Database[dict[str, Any]]) -> None:
        self._admin = admin
        self._delays: dict[str, float] | None = None
        with contextlib.suppress(OperationFailure):
            members = admin.command("replSetGetConfig")["config"]["members"]
            self._delays = {member["host"]: _delay(member) for member in members}

    def largest_lag(self) -> Lag | None:
        """The lag of the slowest secondary; None without secondaries."""
        if self._delays is not None:
            with contextlib.suppress(OperationFailure):
                return _largest(self._lags_in_status(self._delays))
        return _largest(self._lags_in_heartbeats())

    def _lags_in_status(self, delays: Mapping[str, float]) -> dict[str, float]:
        members = self._admin.command("replSetGetStatus")["members"]
        newest = max(member["optimeDate"] for member in members if "optimeDate" in member)
        return {
            member["name"]: (newest - member["optimeDate"]).total_seconds() - delays.get(member["name"], 0)
            for member in members
            if member["state"] == SECONDARY
        }

    def _lags_in_heartbeats(self) -> dict[str, float]:
        """By the last write that each member has reported (``hello.lastWrite``)."""
        candidates = hello(self._admin.client).get("hosts", ())
        members = self._admin.client.topology_description.server_descriptions().values()
        # As in the specification of maxStalenessSeconds: the members were not asked at the same moment.
        late = {
            f"{member.address[0]}:{member.address[1]}": member.last_update_time - member.last_write_date
            for member in members
            if member.last_write_date and member.last_update_time
        }
        ahead = min(late.values(), default=0)
        return {host: seconds - ahead for host, seconds in late.items() if host in candidates and seconds > ahead}


def _delay(member: Mapping[str, Any]) -> float:
    return float(member.get("secondaryDelaySecs", member.get("slaveDelay", 0)))


def _largest(lags: Mapping[str, float]) -> Lag | None:
    host = max(lags, key=lambda host: lags[host], default=None)
    return None if host is None else Lag(host, lags[host])
