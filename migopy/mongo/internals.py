"""All that leans on PyMongo's private names, which are the same in PyMongo 3.13 to 4.20."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator


def forget_threads(client: Any) -> None:
    """Keep Python's exit from waiting for the threads of a closed client.

    At exit PyMongo joins the threads of all clients (``_shutdown_resources`` in its module ``monitor``). Those of a
    closed client have nothing left to do, but notice it only after a sleep of up to 0.5 s, and most subtasks take less.
    """
    # With other names in a later PyMongo the exit waits, as it does without migopy.
    with contextlib.suppress(AttributeError):
        for executor in _executors(client):
            executor.join = _return_at_once


def _executors(client: Any) -> Iterator[Any]:
    """Each runs one daemon thread of the client."""
    yield client._kill_cursors_executor
    topology = client._topology
    if topology._srv_monitor:
        yield topology._srv_monitor._executor
    for server in topology._servers.values():
        yield server._monitor._executor
        yield server._monitor._rtt_monitor._executor


def _return_at_once(timeout: float | None = None) -> None:
    """Replace ``join()``."""


def take_idle_sessions(client: Any) -> list[Any]:
    """Take the server sessions that PyMongo keeps for the next command; it forgets them."""
    with contextlib.suppress(AttributeError):
        return list(client._topology.pop_all_sessions())
    return []


def content_of(request: Any) -> Any:
    """The document, or the update, of a request of ``bulk_write()``; None for a delete."""
    return getattr(request, "_doc", None)


def filter_of(request: Any) -> Any:
    """The filter of a request of ``bulk_write()``; None for an insert."""
    return getattr(request, "_filter", None)


def event_listeners_of(client: Any) -> list[Any]:
    """What the client reports its commands to."""
    return list(client.options.pool_options._event_listeners.event_listeners())


def asked_of(cursor: Any, name: str) -> Any:
    """What a cursor was asked for: its ``spec``, ``limit``, ``hint`` ..."""
    # Before PyMongo 4.9 the attributes are private to the class Cursor.
    attributes = vars(cursor)
    return attributes.get(f"_{name}", attributes.get(f"_Cursor__{name}"))
