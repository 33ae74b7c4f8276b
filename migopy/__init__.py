"""MongoDB migrations for teams that deploy with Fabric 1.x.

The house. Each room stands above those that it imports:

    manager     MigrationsManager: the subtasks and hooks of a fabfile; reads like the README
    lazy        the door to the rooms that import PyMongo, opened when a subtask needs them
    rehearsal   trying migrations on a copy of the database
    run         what runs: what a subtask finds, what may run, the run itself, what is told of it
    dumps       mongodump and mongorestore
    batches     going through collections of any size in batches
    store       what we keep in the database: history, log, lock, checkpoints
    legacy      the calls of PyMongo 2 and 3 on today's PyMongo
    files       the migrations directory: finding, naming and importing its files
    mongo       how MongoDB is reached: server, client, concerns, failures, transactions
    fab         the command line: the only room that knows Fabric
    terminal    what people see, type and press: messages, tables, progress, signals
    settings    what a team sets on its class, checked
    errors      MigopyException and its kinds, StopTaskExecution

To find something: tests mirror the rooms, and the longer documentation is in ``docs``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import MigopyException as MigopyException
from .errors import StopTaskExecution as StopTaskExecution
from .fab.task import task as task
from .manager import MigrationsManager as MigrationsManager
from .terminal import ColorsLogger as ColorsLogger
from .terminal import Str as Str
from .version import __version__ as __version__

if TYPE_CHECKING:
    from .batches import Batches as Batches


def __getattr__(name: str) -> Any:
    """Importing migopy does not import PyMongo, which ``Batches`` needs."""
    if name == "Batches":
        from . import lazy

        return lazy.batches.Batches
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
