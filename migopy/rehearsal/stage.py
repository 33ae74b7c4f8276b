"""The stage of a rehearsal: the scratch database, the two clients that reach it, and the guard."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Callable, Iterator, Sequence

from ..errors import ConfigurationError
from ..mongo.client import close, connect
from ..mongo.failures import server_errors
from ..mongo.kind import has_transactions
from ..mongo.server import Server
from ..run.workspace import user_at_host
from ..terminal.wording import byte_size, plural
from .copy_job import Extent
from .scratch.database import Scratch, is_same_server
from .scratch.guard import Guard, Place, addresses, existing_clients

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

    from ..run import Workspace
    from .ahead import OtherDatabase


MAX_NAMES = 5
"""Of the sampled collections that a warning names."""


@contextlib.contextmanager
def open_stage(
    workspace: Workspace, make_client: Callable[..., Any], others: Sequence[OtherDatabase] = (), *, keep: bool
) -> Iterator[Stage]:
    """The stage on the server of ``REHEARSAL_URI``, or without that on the server of the real database.

    ``workspace`` is about the real database; ``make_client`` is ``MongoClient`` of the team's class. ``others`` are the
    databases for which this one stands.
    """
    server, owner = Server.for_rehearsal(workspace.settings), user_at_host(workspace.settings.BY)
    source = workspace.db
    with contextlib.ExitStack() as until_closed:
        ours = source.client
        if workspace.settings.REHEARSAL_URI:
            ours = connect(make_client, server)
            until_closed.callback(close, ours)
        make = functools.partial(connect, make_client, server)
        known = [ours, source.client, *(other.db.client for other in others if other.db is not None)]
        with Stage(source, workspace.address, ours, server, make, known, owner=owner, keep=keep) as stage:
            yield stage


class Stage:
    """The scratch database, reached by two clients: ``scratch`` by ours, ``db`` by one for the team's code.

    ``guard`` sees the commands of the second one. ``source`` is the real database, at ``source_address``. ``server`` is
    where the scratch database is, ``connect`` makes a client for it, and ``ours`` is one that is connected. ``known``
    are all clients that we have.
    """

    def __init__(
        self,
        source: Database[Any],
        source_address: str,
        ours: MongoClient[Any],
        server: Server,
        connect: Callable[[], MongoClient[Any]],
        known: Sequence[MongoClient[Any]],
        *,
        owner: str,
        keep: bool,
    ) -> None:
        self.source = source
        self.source_address = source_address
        self.scratch = Scratch(
            ours[server.database_name()], owner=owner, source=source.name, address=server.address, keep=keep
        )
        self.unguarded_clients = max(0, len(existing_clients()) - len({*map(id, known)}))
        """How many clients of the team's code were made too early for the guard."""
        self._connect = connect
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Stage:
        """Check that the scratch database can be taken, and connect; writes nothing.

        Raises ``ConfigurationError`` or ``LockHeld`` when it cannot be taken.
        """
        scratch, name = self.scratch, self.scratch.db.name
        with server_errors(scratch.address):
            if name == self.source.name and is_same_server(scratch.db, self.source):
                raise ConfigurationError(
                    f"The rehearsal would run in {name} at {scratch.address}, which is the real database: set"
                    " REHEARSAL_DATABASE to another name. Nothing was copied."
                )
            scratch.require_free()
        with contextlib.ExitStack() as undo, server_errors(scratch.address):
            # First the guard, then the client: PyMongo cannot add a listener to an existing client.
            inside = Place(addresses(scratch.db.client.nodes), name)
            self.guard = undo.enter_context(Guard(inside, forbidden=self.source.name))
            client = self._connect()
            undo.callback(close, client)
            if not self.guard.sees(client):
                raise ConfigurationError(
                    "MongoClient of the class in the fabfile returned a client that it had made before: it has to make"
                    " a new one for each call. Nothing was copied."
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
    def state_of_original(self) -> str:
        """What can be said of the real database after the rehearsal."""
        if self.unguarded_clients:
            return "What was sent by clients made before the rehearsal is not known"
        return "The real database is as it was"

    def warnings(self, extent: Extent) -> Iterator[str]:
        """What a person should know before the copying begins."""
        if self.unguarded_clients:
            were_made, them = ("was made", "it") if self.unguarded_clients == 1 else ("were made", "them")
            yield (
                f"{plural(self.unguarded_clients, 'MongoClient')} {were_made} before the rehearsal, by the fabfile or"
                f" something it imports: the rehearsal cannot see or stop what is sent by {them}. To be safe, set"
                " REHEARSAL_URI with a user who may write nowhere else."
            )
        with server_errors(self.scratch.address):
            has_oplog = self.scratch.db.client is self.source.client and has_transactions(self.source.client)
        if has_oplog:
            yield (
                f"The copy is on the same servers as the original, so {byte_size(extent.size)} will go through their"
                " oplog. Set REHEARSAL_URI to use another server."
            )
        if extent.sampled:
            names = ", ".join(extent.sampled[:MAX_NAMES]) + (", ..." if len(extent.sampled) > MAX_NAMES else "")
            yield (
                f"Only a sample of {plural(len(extent.sampled), 'collection')} is copied ({names}): the newest"
                " documents, some at random, and one of every shape. Documents that they refer to may be missing;"
                " documents=all copies everything."
            )
