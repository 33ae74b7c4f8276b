"""MongoDB migrations for teams that deploy with Fabric 1.x.

The map; each module stands above those that it imports:

    manager     MigrationsManager: settings, subtasks, hooks, messages; reads like the README
    rooms       the door to what follows, opened when a subtask needs the database
    subtasks    @task, finding a subtask, its help; the dispatching function; fab_command
    rehearsal_report  what a rehearsal has shown, for programs and for people
    rehearsal   migrations on a copy: up, down and up again, and what they change
    scratch     copying, comparing, the guard: a database of our own, and what happens in it
    run         one run under the lock: up and down on one road, and the history of it
    transactions  one transaction, begun again, committed within a time
    planning    what may run, and why not: loading, drift, transactions needed, obstacles
    session     what one subtask finds: files, history, lock; made for it, gone with it
    account     what execute, ignore and rollback tell a program
    restore     a dump in place of what is there: compared, written down, the history with it
    report      rows for programs, tables for people
    status      problems, and the way on from each
    inventory   files joined with registrations: which are unregistered, which are meant
    batches     going through collections of any size in pieces, and how far each walk is
    loader      the directory: names, order, checksum, importing one file
    history     the collections migrations and migrations_log
    lock        the lease, and the life of its document
    documents   reading what stands in our collections: anybody may have written it
    settings    which values of the settings cannot be right
    mongo       settings to client and database; PyMongo's errors as sentences
    translation the settings of the connection in the words of mongodump and mongorestore
    tools       mongodump and mongorestore: their command lines, and a run that does not outlive ours
    leash       a program of its own, between fab and such a tool
    dump        dumps on disk: a name only for what is whole, and what is in one
    legacy      the calls of PyMongo 2 and 3 on today's
    options     what the words of a command line mean
    progress    how far something is that takes long
    fab         the door to Fabric 1.x, or a sentence where another Fabric is
    signals     Ctrl-C, SIGTERM, a lost terminal, forks: what ends a run, and where
    console     messages in colours, tables, questions, and the streams that they go to
    trace       the traceback of the team's own code
    texts       texts that can be shown and stored: one line, no control characters, no secrets
    errors      MigopyException and its kinds, StopTaskExecution
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import MigopyException as MigopyException
from .errors import StopTaskExecution as StopTaskExecution
from .fab.dispatch import task as task
from .manager import MigrationsManager as MigrationsManager
from .terminal.messages import ColorsLogger as ColorsLogger
from .terminal.messages import Str as Str
from .version import __version__ as __version__

if TYPE_CHECKING:
    from .batches import Batches as Batches


def __getattr__(name: str) -> Any:
    """Importing migopy does not import PyMongo, which ``Batches`` needs."""
    if name == "Batches":
        from . import lazy

        return lazy.batches.Batches
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
