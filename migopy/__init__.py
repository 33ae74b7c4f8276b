"""MongoDB migrations for teams that deploy with Fabric 1.x.

The map; each module stands above those that it imports:

    manager     MigrationsManager: settings, subtasks, hooks, messages; reads like the README
    rooms       the door to what follows, opened when a subtask needs the database
    subtasks    @task, finding a subtask, its help; the dispatching function; fab_command
    run         one run under the lock: up and down on one road, and the history of it
    planning    what may run, and why not: loading, drift, transactions needed, obstacles
    session     what one subtask finds: files, history, lock; made for it, gone with it
    account     what execute, ignore and rollback tell a program
    report      rows for programs, tables for people
    status      problems, and the way on from each
    inventory   files joined with registrations: which are unregistered, which are meant
    loader      the directory: names, order, checksum, importing one file
    history     the collections migrations and migrations_log
    lock        the lease, and the life of its document
    documents   reading what stands in our collections: anybody may have written it
    settings    which values of the settings cannot be right
    mongo       settings to client and database; PyMongo's errors as sentences
    dump        mongodump and mongorestore
    legacy      the calls of PyMongo 2 and 3 on today's
    options     what the words of a command line mean
    fab         the door to Fabric 1.x, or a sentence where another Fabric is
    console     messages in colours, tables, questions, and the streams that they go to
    trace       the traceback of the team's own code
    texts       texts that can be shown and stored: one line, no control characters, no secrets
    errors      MigopyException and its kinds, StopTaskExecution
"""

from .console import ColorsLogger as ColorsLogger
from .console import Str as Str
from .errors import MigopyException as MigopyException
from .errors import StopTaskExecution as StopTaskExecution
from .manager import MigrationsManager as MigrationsManager
from .subtasks import task as task
from .version import __version__ as __version__
