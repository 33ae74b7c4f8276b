"""The calls of PyMongo 2 and 3 on today's PyMongo: what a migration of 2014 expects of the ``db`` that ``up`` gets.

Imports mongo, terminal and errors.

``database(db)`` makes a real ``Database``, whose collections and cursors are real ones too. They also answer the calls
that PyMongo 4 removed, with the arguments and the return values of PyMongo 2.6 to 3.13. Each place of such a call warns
once and names today's call. The old calls are made of today's, so they do not depend on the installed PyMongo.

Each file imports only those above it:

    calls        warning about an old call or refusing it; what MongoDB and PyMongo dropped
    arguments, operators, indexes, replies, files     translating arguments, queries, indexes, replies and GridFS
    detection    whether a file is written for PyMongo 2 or 3
    state        what a client, its databases and their collections share
    options      what can be set on a client, a database and a collection
    commands     commands for which PyMongo 4 has no method
    cursors, bulk, collection, database, client     the objects that a migration holds
    advice       what to write instead of a name that a migration takes from PyMongo itself
"""

from .advice import advice as advice
from .calls import LegacyCall as LegacyCall
from .calls import warnings_shown as warnings_shown
from .client import database as database
from .client import database_for as database_for
from .client import plain as plain
