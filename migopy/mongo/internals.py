"""Everything that depends on PyMongo's private names, which are the same in PyMongo 3.13 to 4.20."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, TypeVar

Listener = TypeVar("Listener")


def forget_threads(client: Any) -> None:
    """Keep Python's exit from waiting for the threads of a closed client."""
    # At exit PyMongo joins the threads of all clients (_shutdown_resources in its module monitor). Those of a closed
    # client are idle, but notice the end only after a sleep of up to 0.5 s; most subtasks take less.
    with contextlib.suppress(AttributeError):  # with other names in a later PyMongo, exit waits as without migopy
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
    """Replaces ``join()``."""


def take_idle_sessions(client: Any) -> list[Any]:
    """Take away the server sessions that PyMongo keeps for its next commands, and return them."""
    with contextlib.suppress(AttributeError):
        return list(client._topology.pop_all_sessions())
    return []


def idle_sessions(client: Any) -> list[Any]:
    """The ids of the server sessions that PyMongo keeps for its next commands."""
    with contextlib.suppress(AttributeError):
        return [session.session_id for session in client._topology._session_pool.copy()]
    return []


def content_of(request: Any) -> Any:
    """The document or the update in a request of ``bulk_write()``; None for a delete."""
    return getattr(request, "_doc", None)


def filter_of(request: Any) -> Any:
    """The filter in a request of ``bulk_write()``; None for an insert."""
    return getattr(request, "_filter", None)


def event_listeners_of(client: Any) -> list[Any]:
    """The listeners to which the client reports its commands."""
    return list(client.options.pool_options._event_listeners.event_listeners())


def listener_of(client: Any, kind: type[Listener]) -> Listener | None:
    """The listener of a kind to which the client reports its commands; None if the client was made without one."""
    listeners: list[Any] = []
    with contextlib.suppress(AttributeError):  # the application may have a client of another kind
        listeners = event_listeners_of(client)
    return next((listener for listener in listeners if isinstance(listener, kind)), None)


def argument_of(cursor: Any, name: str) -> Any:
    """An argument that the cursor was made with: its ``spec``, ``limit``, ``hint`` ..."""
    # Before PyMongo 4.9 the attributes are private to the class Cursor.
    attributes = vars(cursor)
    return attributes.get(f"_{name}", attributes.get(f"_Cursor__{name}"))
