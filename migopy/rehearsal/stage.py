"""The scratch database of a rehearsal, and the two clients that reach it."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Callable, Iterator

from ..errors import ConfigurationError
from ..mongo.client import close, connect
from ..mongo.failures import server_errors
from ..mongo.kind import has_transactions
from ..mongo.server import Server
from ..terminal.wording import byte_size, plural
from .result import Extent
from .scratch.database import Scratch, is_same_server
from .scratch.guard import Guard, Place, addresses, clients

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

    from ..settings import Settings


NAMES = 5
"""How many of the collections are named of which there is a sample."""


@contextlib.contextmanager
def open_stage(
    client: MongoClient[Any], make_client: Callable[..., Any], settings: Settings, owner: str, *, keep: bool
) -> Iterator[Stage]:
    """The scratch database of a rehearsal, on the server of the settings or on the one in ``REHEARSAL_URI``.

    ``client`` is connected to the former; ``make_client`` is ``MongoClient`` of the team's class.
    """
    server = Server.for_rehearsal(settings)
    source = client[Server.from_settings(settings).database_name()]
    with contextlib.ExitStack() as until_closed:
        ours = client
        if settings.REHEARSAL_URI:
            ours = connect(make_client, server)
            until_closed.callback(close, ours)
        with Stage(
            source, ours, server, functools.partial(connect, make_client, server), owner=owner, keep=keep
        ) as stage:
            yield stage


class Stage:
    """The scratch database for a ``with`` block, by two clients: ``scratch`` is ours, ``db`` is for the team's code,
    by a client that ``guard`` sees.

    ``server`` says where the scratch database is, ``connect`` makes a client of it; ``ours`` is one that is connected.
    """

    def __init__(
        self,
        source: Database[Any],
        ours: MongoClient[Any],
        server: Server,
        connect: Callable[[], MongoClient[Any]],
        *,
        owner: str,
        keep: bool,
    ) -> None:
        self.source = source
        self.scratch = Scratch(
            ours[server.database_name()], owner=owner, source=source.name, address=server.address, keep=keep
        )
        self.overlooked = max(0, len(clients()) - len({id(ours), id(source.client)}))
        """How many clients the process had already made, of which no guard can be told."""
        self._connect = connect
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        """Raises, before anything is written, ``ConfigurationError`` or ``LockHeld`` when it cannot be had."""
        scratch, name = self.scratch, self.scratch.db.name
        with server_errors(scratch.address):
            if name == self.source.name and is_same_server(scratch.db, self.source):
                raise ConfigurationError(
                    f"The rehearsal would be in {name} at {scratch.address}, which is the real database: set"
                    " REHEARSAL_DATABASE to another name. Nothing was copied."
                )
            scratch.require_free()
        with contextlib.ExitStack() as undo, server_errors(scratch.address):
            inside = Place(addresses(scratch.db.client.nodes), name)
            self.guard = undo.enter_context(Guard(inside, forbidden=self.source.name))
            client = self._connect()
            undo.callback(close, client)
            if not self.guard.sees(client):
                raise ConfigurationError(
                    "MongoClient of the class in the fabfile gives a client that was made before the rehearsal: it has"
                    " to make one each time it is called. Nothing was copied."
                )
            self.db = client[name]
            self._exit = undo.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._exit.__exit__(*error)

    @property
    def where(self) -> str:
        return f"{self.scratch.db.name} at {self.scratch.address}"

    @property
    def about_the_original(self) -> str:
        """What is known of it in the end."""
        if self.overlooked:
            return "What was sent by the clients that had been made before is not known"
        return "The real database is as it was"

    def warnings(self, extent: Extent) -> Iterator[str]:
        """What a person should know before so much is copied."""
        if self.overlooked:
            yield (
                f"{plural(self.overlooked, 'MongoClient')} had been made before the rehearsal began, by the fabfile or"
                " what it imports: what is sent there cannot be seen. The sure way is a REHEARSAL_URI whose user may"
                " write nowhere else."
            )
        with server_errors(self.scratch.address):
            has_oplog = self.scratch.db.client is self.source.client and has_transactions(self.source.client)
        if has_oplog:
            yield (
                f"The copy is on the servers of the original: {byte_size(extent.size)} go through their oplog."
                " REHEARSAL_URI names another."
            )
        if extent.sampled:
            names = ", ".join(extent.sampled[:NAMES]) + (", ..." if len(extent.sampled) > NAMES else "")
            yield (
                f"Of {plural(len(extent.sampled), 'collection')} a sample ({names}): the newest documents, some"
                " at random, one of every shape. What they refer to may not be in the copy; documents=all copies all."
            )
