"""MongoDB migrations for teams that deploy with Fabric 1.x.

The modules and packages, from top to bottom. Each may import only those below it:

    testing     tests of migrations: MigrationTestCase, and a fixture for pytest
    manager     MigrationsManager: the subtasks and hooks of a fabfile
    lazy        imports the packages that need PyMongo at first use
    databases   runs a subtask in many databases
    rehearsal   tries migrations on a copy of the database
    run         runs migrations: workspace, inventory, status, planning, runner, report
    dumps       calls mongodump and mongorestore
    batches     goes through large collections in batches
    store       what migopy stores in the database: history, log, lock, checkpoints
    legacy      the calls of PyMongo 2 and 3 on today's PyMongo
    files       the migrations directory: finds, names and imports its files
    mongo       reaches MongoDB: server, client, concerns, failures, transactions
    fab         the command line, and the only package that knows Fabric
    terminal    messages, tables, progress, options, signals
    settings    the attributes that a team sets on its class
    errors      MigopyException and its subclasses, StopTaskExecution

The folders of the tests have the same names. The longer documentation is in ``docs``.
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
    if name == "Batches":
        from . import lazy  # Batches needs PyMongo, which importing migopy must not import

        return lazy.batches.Batches
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
